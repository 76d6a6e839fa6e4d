"""ONNX files, written by PyTorch's exporter and run by onnxruntime; both are optional packages."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tools import ToolError
from tools.text import size_text

LARGEST = 2**31 - 2**20  # bytes of the weights: an ONNX file, a protocol buffer, has at most 2 GiB


def _copysign(magnitude: Any, sign: Any) -> Any:
    """Operators for ``torch.copysign``, of the published normalisation, which PyTorch's exporter does not know."""
    from onnxscript import opset18 as op

    return op.Where(op.Less(sign, 0.0), op.Neg(op.Abs(magnitude)), op.Abs(magnitude))


def onnx_bytes(program: torch.export.ExportedProgram, entries: Mapping[str, Any]) -> bytes:
    """Content of an ONNX file of a graph, which has one input, ``images``.

    Args:
        program: the graph; its output is a dict.
        entries: metadata; each becomes an entry of ``metadata_props``, its value in JSON.

    Raises:
        ToolError: the weights are too large for one file.
    """
    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    if size > LARGEST:
        raise ToolError(f"the weights take {size_text(size)}, and an ONNX file has at most 2 GiB: give --format "
                        "torch_export")  # fmt: skip
    spec = program.call_spec.out_spec
    place = spec.unflatten(range(spec.num_leaves))  # of each output, by its name
    converted = torch.onnx.export(
        program, dynamo=True, input_names=["images"], output_names=sorted(place, key=place.__getitem__),
        dynamic_shapes=({0: "b"},), custom_translation_table={torch.ops.aten.copysign.Tensor: _copysign}, verbose=False,
    )  # fmt: skip
    assert converted is not None
    converted.model.metadata_props.update({name: json.dumps(value) for name, value in entries.items()})
    return converted.model_proto.SerializeToString()


def open_onnx(content: bytes) -> Callable[[Tensor], dict[str, Tensor]]:
    """Function that runs an ONNX file with onnxruntime on the CPU: an input (b, ...) to the outputs by their names."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> dict[str, Tensor]:
        arrays = session.run(names, {"images": images.numpy()})
        return {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}

    return run
