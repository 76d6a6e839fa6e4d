"""Check of an exported file: its outputs against those of PyTorch, and the sum of its evidence against its logits."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from dataset.given import given_picture
from engine.trained_model import TrainedModel
from studies.export.module import ExportedModel, named_outputs
from tools import ToolError

TOLERANCE = 1e-4  # of the sum of |evidence|; single precision gives up to 3e-5 for deep backbones
RANDOM_PICTURES = 4
# The evidence of a class that is at the reference everywhere is zero but for rounding: such a class is measured by this
# share of the largest sum among the classes of the picture.
LEAST_SHARE = 0.1


def pictures(trained: TrainedModel, files: list[str]) -> Tensor:
    """Pixels (b, ch, H, W) uint8 of pictures or, without files, of random ones: coarse patterns and noise.

    Raises:
        DataError: see :func:`dataset.given.given_picture`.
    """
    if files:
        return torch.stack([trained.pixels(given_picture(Path(file), trained.in_chans)) for file in files])
    generator = torch.Generator().manual_seed(0)
    shape = (RANDOM_PICTURES, trained.in_chans)
    coarse = F.interpolate(torch.rand(*shape, 6, 6, generator=generator), trained.img_size, mode="bilinear")
    noise = torch.rand(*shape, *trained.img_size, generator=generator)
    return (255 * (0.75 * coarse + 0.25 * noise)).to(torch.uint8)


def _sums(maps: Tensor) -> Tensor:
    """Sums (b, c) of the magnitudes of maps (b, c, h, w), at least ``LEAST_SHARE`` of the largest of the picture."""
    sums = maps.abs().sum((2, 3))
    return sums.clamp_min(LEAST_SHARE * sums.amax(1, keepdim=True)).clamp_min(torch.finfo(sums.dtype).tiny)


def differences(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, sign: int) -> dict[str, float]:
    """Largest differences between the outputs of a file and those of PyTorch.

    Args:
        found, expected: outputs of :class:`studies.export.module.ExportedModel` for the same pictures.
        sign: 1 for a positive model, -1 for a negative one.

    Returns:
        ``logits``, ``evidence`` and ``attention``: the largest difference, over pictures, classes and places, relative
        to the sum of the magnitudes of the evidence of the class (for attention: of its attention). ``sum``: the
        largest difference between a logit of the file and the sum of its evidence, relative to the same. Of a plain
        classifier ``logits`` alone, relative to the largest magnitude of the picture's logits.

    Raises:
        ToolError: an output is missing, or has another name or shape.
    """
    shapes, needed = ({name: tuple(value.shape) for name, value in outputs.items()} for outputs in (found, expected))
    if shapes != needed:
        raise ToolError(f"the exported file has the outputs {shapes}, not {needed}: give another --format")
    logits = (found["logits"] - expected["logits"]).abs()  # (b, c)
    if "evidence" not in expected:
        return {"logits": _largest(logits / expected["logits"].abs().amax(1, keepdim=True))}
    scale = _sums(expected["evidence"])  # (b, c)
    evidence, attention = ((found[name] - expected[name]).abs().amax((2, 3)) for name in ("evidence", "attention"))
    return {
        "logits": _largest(logits / scale),
        "evidence": _largest(evidence / scale),
        "attention": _largest(attention / _sums(expected["attention"])),
        "sum": _largest((found["logits"] - sign * found["evidence"].sum((2, 3))).abs() / scale),
    }


def _largest(values: Tensor) -> float:
    return float(values.max())


def largest_differences(
    run: Callable[[Tensor], dict[str, Tensor]], trained: TrainedModel, module: ExportedModel, pixels: Tensor
) -> dict[str, float]:
    """Compare a file with PyTorch on a single picture and on a batch; see :func:`differences`.

    Args:
        run: the file, see :class:`studies.export.formats.Format`.
        trained: the model; it normalises the pictures for PyTorch itself.
        module: what was exported.
        pixels: (b, ch, H, W) uint8.
    """
    worst: dict[str, float] = {}
    sign = -1 if trained.is_negative else 1
    # A batch of another size than the example of the export, even of a single picture.
    for batch in (pixels[:1], pixels if len(pixels) > 2 else pixels.repeat(3, 1, 1, 1)):
        with torch.no_grad():
            expected = named_outputs(trained.model(trained.normalised(batch)))
            found = run(module.batch(batch))
        for name, value in differences(found, expected, sign=sign).items():
            worst[name] = value if not worst.get(name, -1.0) >= value else worst[name]  # also one that is no number
    return worst


def check(worst: Mapping[str, float]) -> None:
    """Raise unless all differences are within the tolerance.

    Raises:
        ToolError: one is larger, or is not a number.
    """
    for name, value in worst.items():
        if not value <= TOLERANCE:
            what = "its logits differ from the sum of its evidence" if name == "sum" else f"its {name} differ"
            of = f"{value:.1e} of the sum of magnitudes, more than {TOLERANCE:g}"
            raise ToolError(f"the exported file does not agree with PyTorch: {what} by {of}; nothing is written: give "
                            "another --format")  # fmt: skip
