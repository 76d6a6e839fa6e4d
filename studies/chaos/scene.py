"""Small dataset and trained checkpoints that a chaos run prepares once, and the copy of them that a start damages."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]
CLASSES = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}
PICTURES = {"train": 8, "val": 3}  # of each class
MODEL = ["--model", "test_resnet", "--pre_trained", "false", "--out_stage", "2", "--img_size", "32"]
MODEL += ["--attention", "qknorm"]
SLOTS, PLAIN = "Folder_use_slot_checkpoint.pth", "Folder_no_slot_checkpoint.pth"
DONE, REFUSED, INTERRUPTED, PREEMPTED = 0, 2, 130, 75  # exit codes
MEANINGS = {DONE: "success", REFUSED: "refusal", INTERRUPTED: "Ctrl-C", PREEMPTED: "resume me"}


@dataclass(kw_only=True)
class Start:
    """One start of a script, and what counts as right.

    Attributes:
        script: its name without suffix.
        words: its flags.
        codes: right exit codes.
        says: a part of standard error that has to be there if it is refused, such as the name of the damaged file.
        limits: resource limits (of the module ``resource``), by name.
        environment: changed variables.
        signal: number of a signal that is sent; 0 for none.
        after: text of standard output that it is sent after; "" for the moment when the script handles signals.
        delay: seconds between the two.
        unwanted: file that must not exist afterwards.
        then: a start that follows.
    """

    script: str
    words: list[str]
    codes: tuple[int, ...] = (DONE,)
    says: str = ""
    limits: dict[str, int] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    signal: int = 0
    after: str = ""
    delay: float = 0.0
    unwanted: Path | None = None
    then: "Start | None" = None

    def command(self) -> list[str]:
        """Words of the command line."""
        return [sys.executable, str(ROOT / f"{self.script}.py"), *self.words]


class Scene:
    """Copy of the prepared folder that a start may damage.

    Attributes:
        folder: holds ``data`` and ``out``, and whatever else a damage needs.
        data: dataset of the reader Folder, with ``train`` and ``val``.
        out: folder of a trained SCOUTER and a trained plain classifier.
        random: source of all choices.
    """

    def __init__(self, folder: Path, random: Random) -> None:
        self.folder, self.random = folder, random
        self.data, self.out = folder / "data", folder / "out"

    def picture(self, split: str = "") -> Path:
        """A picture, by default of any split."""
        split = split or self.random.choice(list(PICTURES))
        return self.random.choice(sorted((self.data / split).rglob("*.png")))

    def train(self, *words: Any, **right: Any) -> Start:
        """Training of a new SCOUTER for one epoch."""
        own = [*MODEL, "--epochs", "1", "--output_dir", self.folder / "new"]
        return self._start("train", [*self._data(), *own, *words], right)

    def test(self, *words: Any, **right: Any) -> Start:
        """Evaluation and maps of the trained SCOUTER."""
        own = ["--checkpoint", self.out / SLOTS, "--vis", "true", "--vis_id", "0,1"]
        return self._start("test", [*self._data(), *own, *words], right)

    def methods(self, *words: Any, **right: Any) -> Start:
        """Maps of an attribution method for the trained plain classifier."""
        own = ["--checkpoint", self.out / PLAIN, "--methods", "CAM", "--vis_id", "0"]
        return self._start("torchcam_vis", [*self._data(), *own, *words], right)

    def any_script(self, *words: Any, **right: Any) -> Start:
        """One of the three."""
        start: Callable[..., Start] = self.random.choice([self.train, self.test, self.methods])
        return start(*words, **right)

    def _data(self) -> list[Any]:
        common = ["--dataset", "Folder", "--device", "cpu", "--batch_size", "8", "--num_workers"]
        return [*common, self.random.choice([0, 1]), "--dataset_dir", self.data]

    def _start(self, script: str, words: list[Any], right: dict[str, Any]) -> Start:
        return Start(script=script, words=[str(word) for word in words], **right)


def write_pictures(folder: Path) -> None:
    """Write the dataset: pictures of 40x30 pixels with a coloured corner, no two the same."""
    for split, count in PICTURES.items():
        for name, colour in CLASSES.items():
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture = Image.effect_noise((40, 30), 60).convert("RGB")
                picture.paste(colour, (0, 0, 20, 15))
                picture.save(folder / split / name / f"{number}.png")


def copy_scene(prepared: Path, folder: Path, random: Random) -> Scene:
    """Copy the prepared folder in place of what an earlier start left."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared, folder)
    return Scene(folder, random)
