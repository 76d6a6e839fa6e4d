"""Names and parameters of the explanation metrics. Torch-free, since the flags are derived from them."""

from collections.abc import Collection
from dataclasses import dataclass

from sloter.config import check_options, option

METRIC_NAMES = (
    "area", "on_object", "insertion_deletion", "infidelity", "sensitivity", "grid_game", "random_head", "mprt",
    "completeness", "road", "confidence", "rank", "complexity", "stability",
)  # fmt: skip
DEFAULT_METRICS = METRIC_NAMES[:5]
"""Those of the paper, which are measured if none are chosen."""
NONE_LEFT = "argument --metrics: with --sensitivity_samples 0 there is no sensitivity: choose another metric"


def metrics_of(chosen: Collection[str], *, sensitivity_samples: int) -> list[str]:
    """Metrics to measure, of those chosen or of ``all``, in the order of their names; no sensitivity without samples.

    If none is left, :data:`NONE_LEFT` says why.
    """
    names = METRIC_NAMES if "all" in chosen else chosen
    return [name for name in METRIC_NAMES if name in names and (name != "sensitivity" or sensitivity_samples)]


@dataclass(frozen=True)
class MetricSettings:
    """Parameters of the explanation metrics; ``seed`` seeds everything that is drawn at random.

    Raises:
        ValueError: a value of the wrong type or out of bounds.
    """

    steps: int = option(
        100, "steps of insertion and deletion; with 100, a step is one percent of the pixels", flag="metric_steps",
        metavar="N", low=1, high=100_000,
    )  # fmt: skip
    blur_sigma: float = option(
        5.0, "standard deviation of the blur that insertion starts from", metavar="PIXELS", above=0, high=1000
    )
    infidelity_samples: int = option(50, "number of squares that infidelity removes", metavar="N", low=1, high=100_000)
    infidelity_side: float = option(
        0.25, "side of the squares, as a share of the picture's shorter side", metavar="X", above=0, high=1
    )
    sensitivity_samples: int = option(
        10, "random changes of the picture that sensitivity tries; 0 skips sensitivity", metavar="N", low=0,
        high=100_000,
    )  # fmt: skip
    sensitivity_radius: float = option(
        0.02, "largest random change of a pixel, in units of the normalised picture", metavar="X", above=0, high=100
    )
    grid_mosaics: int = option(
        500, "grid_game: largest number of mosaics of each size", metavar="N", low=1, high=1_000_000
    )
    jpeg_quality: int = option(75, "stability: quality of the JPEG files", metavar="N", low=1, high=100)
    seed: int = 0
    road_steps: int = 9
    """ROAD: shares of the pixels that are removed, .1 to .9."""
    road_noise: float = 0.01
    """ROAD: standard deviation of the noise, in units of the normalised picture; the paper: .01."""
    shift: float = 0.02
    """Stability: shift of the picture, as a share of its shorter side; at least one pixel."""

    def __post_init__(self) -> None:
        check_options(self, ValueError)
