"""Outputs that cannot be written, foreign files in their place, and scarce resources."""

import os
from collections.abc import Callable
from pathlib import Path

from studies.chaos.scene import DONE, PLAIN, REFUSED, SLOTS, Scene, Start

EITHER = (DONE, REFUSED)


def writes_into(scene: Scene, path: Path, codes: tuple[int, ...] = (REFUSED,)) -> Start:
    """A start that shall write into a folder."""
    start = scene.random.choice([lambda: scene.train("--output_dir", path, codes=codes),
                                 lambda: scene.test("--vis_dir", path, codes=codes),
                                 lambda: scene.methods("--vis_dir", path, codes=codes)])  # fmt: skip
    return start()


def unwritable(scene: Scene) -> Start:
    """A folder in which nobody can write."""
    return writes_into(scene, scene.random.choice([Path("/proc/output"), Path("/sys/kernel/output")]))


def file_in_its_place(scene: Scene) -> Start:
    """A file of the folder's name, or of that of the folder above it."""
    file = scene.folder / "file"
    file.write_text("mine")
    return writes_into(scene, scene.random.choice([file, file / "below"]))


def device(scene: Scene) -> Start:
    """A device or a pipe of the folder's name."""
    pipe = scene.folder / "pipe"
    os.mkfifo(pipe)
    return writes_into(scene, scene.random.choice([pipe, Path("/dev/null")]))


def report_is_special(scene: Scene) -> Start:
    """A report into a device, a pipe or a folder."""
    pipe = scene.folder / "pipe"
    os.mkfifo(pipe)
    return scene.test("--report", scene.random.choice([pipe, "/dev/null", scene.out]), codes=(REFUSED,))


def small_files(scene: Scene) -> Start:
    """A limit on the size of files, as on a full disk, while an earlier checkpoint is there."""
    limits = {"FSIZE": 1024 * scene.random.choice([1, 4, 16, 64, 256])}
    train = scene.train("--output_dir", scene.out, codes=EITHER, limits=limits)
    return scene.random.choice([train, scene.any_script(codes=EITHER, limits=limits)])


def foreign_files(scene: Scene) -> Start:
    """Folders and text under the names of files that are written."""
    start = scene.any_script(codes=EITHER)
    names = {
        "train": (SLOTS, "log.jsonl", "curves.png", "Folder_use_slot_checkpoint_best.pth"),
        "test": ("results.json", "Folder_use_slot_confusion.png", "vis"),
        "torchcam_vis": ("metrics.json", "vis"),
    }[start.script]
    folder = scene.folder / "new" if start.script == "train" else scene.out
    path = folder / scene.random.choice(names)
    folder.mkdir(exist_ok=True)
    if scene.random.random() < 0.5:
        path.mkdir(exist_ok=True)
        (path / "mine.txt").write_text("mine")
    else:
        path.write_text("mine")
    return start


def pipe_in_the_way(scene: Scene) -> Start:
    """A pipe under the name of a file that is read or written."""
    (scene.folder / "new").mkdir()
    os.mkfifo(scene.folder / "new" / scene.random.choice([SLOTS, PLAIN, "log.jsonl", "curves.png"]))
    return scene.train(codes=EITHER)


def few_open_files(scene: Scene) -> Start:
    """A limit on the number of open files."""
    return scene.any_script("--num_workers", 1, codes=EITHER, limits={"NOFILE": 24})


def no_home(scene: Scene) -> Start:
    """Folders for caches and temporary files that cannot be used."""
    names = scene.random.sample(["HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCH_HOME"], 2)
    place = scene.random.choice(["/nowhere", "/proc/nowhere", "/dev/null", ""])
    return scene.any_script(codes=EITHER, environment=dict.fromkeys(names, place))


DISK: dict[str, Callable[[Scene], Start]] = {
    "output cannot be written": unwritable,
    "file in place of the output": file_in_its_place,
    "device in place of the output": device,
    "report into a device, pipe or folder": report_is_special,
    "limit on the size of files": small_files,
    "foreign files": foreign_files,
    "pipe in place of a file": pipe_in_the_way,
    "24 open files": few_open_files,
    "no HOME or TMPDIR": no_home,
}
