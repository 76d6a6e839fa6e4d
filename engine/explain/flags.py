"""The flags of explanations, metrics and attribution methods. Torch-free, so that ``--help`` is instant."""

from collections.abc import Callable
from typing import Any

from engine.explain.attribution.settings import METHOD_NAMES, MethodSettings
from engine.explain.settings import DEFAULT_METRICS, METRIC_NAMES, MetricSettings
from sloter.config import options_of
from tools.flags import comma_list, file_or_true, numbers, of_field, one_of, real, switch, whole

VIS_FORMATS = ("png", "jpg")


# fmt: off
def explanation_flags(add: Callable[..., Any]) -> None:
    """Add the flags of test.py and torchcam_vis.py that draw, measure and report, and those of predictions."""
    add("--vis", **switch(False),
        help="draw explanations; train.py ignores it")
    add("--vis_id", type=numbers, default="0", metavar="N[,N|-N...]",
        help="numbers of the validation pictures to explain, such as 0,4,10-19")
    add("--image", nargs="+", metavar="FILE",
        help="explain these pictures, or all pictures in these folders, instead of --vis_id, without evaluation")
    add("--predictions", type=file_or_true, metavar="FILE|true",
        help="test.py: write a table of the split: a row for each picture with its file, true and predicted class and "
             "the probability of each class; true: predictions.csv next to the checkpoint")
    add("--predict", nargs="+", metavar="FILE",
        help="test.py: predict these pictures, or all pictures in these folders, which have no labels; writes the "
             "table of --predictions, by default to predicted.csv next to the checkpoint, and nothing else")
    add("--classes", type=comma_list(str), metavar="NAME[,NAME...]",
        help="explain only these classes, given by name or number")
    add("--versus", type=comma_list(str), metavar="NAME[,NAME...]",
        help="also show why a slot model predicts its class rather than each of these, given by name or number; if not "
             "given, test.py shows why not the true class where the prediction is wrong")
    add("--vis_dir", metavar="DIR",
        help="folder for the drawn explanations; vis/<run> next to the checkpoint if not given")
    add("--vis_format", choices=VIS_FORMATS, default="png",
        help="format of the drawn explanations in colour; grey maps, which hold values, are PNG. JPEG is smaller")
    add("--grad", **switch(False),
        help="accepted without effect: the published code needed it to keep the classifier for attribution methods")
    add("--map", choices=("attention", "evidence"), default="attention",
        help="map of a slot model to measure or to draw next to other methods; the evidence sums to the logit")
    add("--explain_metrics", **switch(False),
        help="measure how good the maps are, by the metrics of --metrics")
    add("--metrics", type=comma_list(one_of(*METRIC_NAMES, "all")), default=",".join(DEFAULT_METRICS),
        metavar="NAME[,NAME...]",
        help=f"explanation metrics, from {', '.join(METRIC_NAMES)}, or all; given alone, it means --explain_metrics "
             "true")
    add("--metric_images", **whole(None, low=1, high=10**9),
        help="measure the maps of N pictures, a fixed random sample; the whole split if not given")
    add("--lsc", metavar="FILE",
        help="file of the class that a negative model explains for each class, as lines 'class,least similar class'; "
             "if not given, from WordNet or else from the backbone's features")
    add_options(add, MetricSettings)
    add("--sensitivity_of_all", **switch(False),
        help="measure the sensitivity of SSCAM and ISCAM too, which takes long")
    add("--report", metavar="FILE",
        help="test.py: write a page with accuracy, curves, metrics and maps of 60 pictures, or of those of --vis_id")
    add("--grad_min_level", **real(0.0, low=0, high=1),
        help="set values of a drawn attribution map, scaled to 0..1, below this to 0; slot maps are unchanged")
    add("--cal_area_size", **switch(False),
        help="put lambda and slots per class into the checkpoint's name; the area itself is always measured")
    add("--thop", **switch(False),
        help="print the number of parameters and, for one picture, of multiply-adds, and stop")


def method_flags(add: Callable[..., Any]) -> None:
    """Add the flags of the attribution methods."""
    add("--methods", type=comma_list(one_of(*METHOD_NAMES)), metavar="NAME[,NAME...]",
        help=f"attribution methods, from {', '.join(METHOD_NAMES)}; all if not given")
    add("--cam_layer", metavar="NAME",
        help="layer of the backbone whose feature map the methods explain; the last one if not given")
    add_options(add, MethodSettings)
# fmt: on


def add_options(add: Callable[..., Any], config: Any) -> None:
    """Add a flag for each option of a configuration."""
    for field in options_of(config):
        add(f"--{field.metadata['flag'] or field.name}", **of_field(field))
