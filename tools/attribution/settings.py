"""How hard each attribution method works: sample counts, steps and sizes that suit two CPU cores."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """All numbers of all methods; what a paper or its authors' code used is said at each."""

    batch_size: int = 64
    """Perturbed pictures in one forward; changes time and memory, never a map."""

    smooth_samples: int = 4
    """SmoothGradCAMpp: noisy copies of a picture; torchcam's default."""
    smooth_std: float = 0.3
    """SmoothGradCAMpp: their noise, in units of the normalised picture; torchcam's default."""

    ss_samples: int = 4
    """SSCAM: noisy masks for each channel; the paper: 35."""
    ss_std: float = 2.0
    """SSCAM: noise of the masks; the paper: 2."""
    is_samples: int = 4
    """ISCAM: steps of the integral for each channel; the paper: 10."""

    ig_steps: int = 50
    """IntegratedGradients: steps of the integral; the paper: 20 to 300."""

    occlusion_window: float = 0.2
    """Occlusion: side of the square, as a share of the picture's; the paper leaves it open."""
    occlusion_stride: float = 0.1
    """Occlusion: steps of the square, as a share of the picture's side."""

    rise_masks: int = 1000
    """RISE: random masks; the paper: 4,000 for VGG16, 8,000 for ResNet-50."""
    rise_grid: int = 7
    """RISE: cells of a mask along each side; the paper: 7."""
    rise_p: float = 0.5
    """RISE: probability that a cell is kept; the paper: 0.5."""

    extremal_area: float = 0.1
    """Extremal: share of the picture that the mask keeps; the paper: several, 0.1 in the authors' code."""
    extremal_steps: int = 100
    """Extremal: gradient steps; the paper: 800."""
    extremal_cells: int = 32
    """Extremal: parameters of the mask along the longer side; the authors' code: one for every 7 of 224 pixels."""

    igos_steps: int = 10
    """IGOS: descent steps; the authors' code: 15 to 20."""
    igos_ig_steps: int = 10
    """IGOS: points of the integrated gradient; the authors' code: 20."""
    igos_cells: int = 28
    """IGOS: parameters of the mask along each side; the paper: 28, among others."""

    iba_beta: float = 10.0
    """IBA: weight of the information against the loss; the paper: 10."""
    iba_steps: int = 10
    """IBA: Adam steps; the paper: 10."""
    iba_samples: int = 10
    """IBA: noisy copies in each step; the paper: 10."""
    iba_pictures: int = 512
    """IBA: pictures of which mean and deviation of the features are taken; the authors' code: 10,000."""
