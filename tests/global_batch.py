"""Losses, gradients and metrics of one global batch and one split, shared by any number of processes.

``python tests/global_batch.py FILE`` or ``torchrun --nproc_per_node=N tests/global_batch.py FILE``; rank 0 writes.
"""

import sys

import torch

from dataset.loaders import build_loader
from dataset.registry import build_dataset
from engine.evaluate import evaluate
from engine.explain.score import score_maps
from engine.explain.settings import MetricSettings
from engine.explain.slots import slot_explainer
from sloter.loss import ScouterLoss
from sloter.slot_model import build_model
from tools import distributed

GLOBAL_BATCH = 8
CPU = torch.device("cpu")


def main(path: str) -> None:
    distributed.join()
    distributed.init(CPU)
    world = distributed.world_size()
    share = {"num_workers": 0, "device": CPU, "mean": (0.1307,), "std": (0.3081,), "rank": distributed.rank(),
             "world_size": world}  # fmt: skip
    data = {"dataset_dir": None, "num_classes": 2, "img_size": (32, 32), "val_ratio": 0.2, "bad_images": "error"}
    torch.manual_seed(0)
    model = build_model(
        backbone="test_resnet", num_classes=2, in_chans=1, img_size=(32, 32), out_stage=2, slots_per_class=2,
        attention="qknorm",
    )  # fmt: skip
    # In training, batch norm would take its statistics over the pictures of one process.
    parallel, criterion = distributed.wrap(model, CPU).eval(), ScouterLoss(lambda_value=10, power=2).train()

    training = build_dataset("MNIST5k", "train", augment=True, **data)
    loader = build_loader(training, batch_size=GLOBAL_BATCH // world, train=True, seed=3, **share)
    batch = next(iter(loader))
    losses = criterion(parallel(batch.images), batch.labels)
    losses["loss"].backward()
    means = {name: float(distributed.sum_over_processes(value.detach().clone())) / world
             for name, value in losses.items()}  # fmt: skip

    held_out = build_dataset("MNIST5k", "val", **data)
    eleven, few = (
        build_loader(held_out.sample(count, seed=0), batch_size=3, train=False, **share) for count in (11, 3)
    )
    settings = MetricSettings(steps=5, infidelity_samples=5, sensitivity_samples=2)
    explainer = slot_explainer(model, "attention")
    scores = score_maps(explainer, lambda images: model(images).logits, eleven, num_classes=2, settings=settings)
    content = {
        "pictures": sorted(distributed.gather(batch.numbers.tolist())),
        "losses": means,
        "gradients": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
        "evaluation": evaluate(model, eleven, criterion.eval(), device=CPU),
        "few": evaluate(model, few, criterion, device=CPU),  # fewer pictures than processes
        "scores": scores,
    }
    if distributed.is_main():
        torch.save(content, path)
    distributed.close()


if __name__ == "__main__":
    main(sys.argv[1])
