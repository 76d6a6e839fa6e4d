"""Sample counts, steps and sizes of the attribution methods, chosen for two CPU cores. Torch-free.

A field made by :func:`sloter.config.option` is also a flag; the others have the value of their paper.
"""

from dataclasses import asdict, dataclass
from typing import Any

from sloter.config import check_options, option

METHOD_NAMES = (
    "CAM", "GradCAM", "GradCAMpp", "SmoothGradCAMpp", "XGradCAM", "LayerCAM", "ScoreCAM", "SSCAM", "ISCAM", "DeepLIFT",
    "IntegratedGradients", "Occlusion", "RISE", "Extremal", "IGOS", "IBA",
)  # fmt: skip


def _count(default: int, help: str) -> int:
    return option(default, help, metavar="N", low=1, high=1_000_000)


@dataclass(frozen=True)
class MethodSettings:
    """Parameters of all methods; descriptions give the value of the paper or of the authors' code."""

    batch_size: int = 64
    """Perturbed pictures in one forward pass; changes time and memory, never a map."""

    smooth_samples: int = _count(4, "SmoothGradCAMpp: noisy copies of the picture; torchcam's default")
    smooth_std: float = 0.3
    """SmoothGradCAMpp: standard deviation of their noise, in units of the normalised picture; torchcam's default."""

    ss_samples: int = _count(4, "SSCAM: noisy masks for each channel; the paper: 35")
    ss_std: float = 2.0
    """SSCAM: standard deviation of the noise of the masks; the paper: 2."""
    is_samples: int = _count(4, "ISCAM: steps of the integral for each channel; the paper: 10")

    ig_steps: int = _count(50, "IntegratedGradients: steps of the integral; the paper: 20 to 300")

    occlusion_window: float = 0.2
    """Occlusion: side of the square, as a share of the picture's side; the paper gives none."""
    occlusion_stride: float = 0.1
    """Occlusion: stride of the square, as a share of the picture's side."""

    rise_masks: int = _count(1000, "RISE: random masks; the paper: 4,000 (VGG16) and 8,000 (ResNet-50)")
    rise_grid: int = 7
    """RISE: cells of a mask along each side; the paper: 7."""
    rise_p: float = 0.5
    """RISE: probability that a cell is kept; the paper: 0.5."""

    extremal_area: float = 0.1
    """Extremal: share of the picture that the mask keeps; the paper: several, the authors' code: 0.1."""
    extremal_steps: int = _count(100, "Extremal: gradient steps; the paper: 800")
    extremal_cells: int = 32
    """Extremal: parameters of the mask along the longer side; the authors' code: one for every 7 of 224 pixels."""

    igos_steps: int = _count(10, "IGOS: descent steps; the authors' code: 15 to 20")
    igos_ig_steps: int = _count(10, "IGOS: points of the integrated gradient; the authors' code: 20")
    igos_cells: int = 28
    """IGOS: parameters of the mask along each side; the paper: 28, among others."""

    iba_beta: float = 10.0
    """IBA: weight of the information in the loss; the paper: 10."""
    iba_steps: int = 10
    """IBA: Adam steps; the paper: 10."""
    iba_samples: int = 10
    """IBA: noisy copies in each step; the paper: 10."""
    iba_pictures: int = 512
    """IBA: pictures for the mean and standard deviation of the features; the authors' code: 10,000."""

    def __post_init__(self) -> None:
        check_options(self, ValueError)

    def of_maps(self) -> dict[str, Any]:
        """The settings that change a map: all but the size of a batch."""
        return {name: value for name, value in asdict(self).items() if name != "batch_size"}
