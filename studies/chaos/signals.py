"""Signals at a random moment."""

import signal
from collections.abc import Callable

from studies.chaos.scene import DONE, INTERRUPTED, PREEMPTED, Scene, Start

EPOCHS = 12
CODES = {
    signal.SIGINT: (DONE, INTERRUPTED),  # success: it was done before
    signal.SIGTERM: (DONE, PREEMPTED),
    signal.SIGUSR1: (DONE, PREEMPTED),
    signal.SIGKILL: (DONE,),
}


def sent(scene: Scene, start: Start, *, number: int = 0, after: str = "", up_to: float = 1.0) -> Start:
    """Send a signal, by default one of those that ask to stop, at a random moment after a line."""
    start.signal = number or scene.random.choice([signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
    start.codes, start.after, start.delay = CODES[signal.Signals(start.signal)], after, scene.random.uniform(0, up_to)
    return start


def in_training(scene: Scene, number: int = 0) -> Start:
    """A signal in training, after which the run is continued to its end."""
    words = ("--epochs", EPOCHS, "--output_dir", scene.folder / "new")
    start = sent(scene, scene.train(*words), number=number, after=scene.random.choice(["training on", "epoch 1/"]))
    start.then = scene.train(*words, "--resume", "auto")
    return start


def in_evaluation(scene: Scene) -> Start:
    """A signal while test.py evaluates and measures."""
    words = ("--explain_metrics", "true", "--metric_steps", 20, "--sensitivity_samples", 2)
    return sent(scene, scene.test(*words), after="val pictures", up_to=2.0)


def in_drawing(scene: Scene) -> Start:
    """A signal while maps are drawn."""
    start = scene.random.choice([scene.test, scene.methods])("--vis_id", "0-8")
    return sent(scene, start, after="picture 0", up_to=2.0)


SIGNALS: dict[str, Callable[[Scene], Start]] = {
    "during import": lambda scene: sent(scene, scene.any_script(), up_to=5.0),
    "early during import": lambda scene: sent(scene, scene.any_script(), up_to=0.5),
    "in training": in_training,
    "SIGKILL in training": lambda scene: in_training(scene, signal.SIGKILL),
    "in evaluation": in_evaluation,
    "in drawing": in_drawing,
    "SIGKILL in drawing": lambda scene: sent(scene, scene.test(), number=signal.SIGKILL, after="val pictures"),
}
