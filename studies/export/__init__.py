"""``python -m studies.export``: a trained model as an ONNX, torch.export or TorchScript file."""
