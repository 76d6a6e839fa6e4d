"""Damage to text files of labels: those of CUB-200 and of the least similar classes."""

import shutil
from collections.abc import Callable
from pathlib import Path

from studies.chaos.scene import CLASSES, REFUSED, Scene, Start

REQUIRED = ("images", "image_class_labels", "train_test_split", "classes")


def write_cub(scene: Scene) -> Path:
    """Write the pictures of a scene in the layout of CUB-200; returns the folder."""
    root = scene.folder / "cub"
    lines: dict[str, list[str]] = {name: [] for name in (*REQUIRED, "bounding_boxes")}
    for label, name in enumerate(CLASSES, start=1):
        own = f"{label:03}.{name}"
        lines["classes"].append(f"{label} {own}")
        (root / "images" / own).mkdir(parents=True)
        for split in ("train", "val"):
            for file in sorted((scene.data / split / name).iterdir()):
                number = len(lines["images"]) + 1
                shutil.copy(file, root / "images" / own / f"{split}{file.name}")
                lines["images"].append(f"{number} {own}/{split}{file.name}")
                lines["image_class_labels"].append(f"{number} {label}")
                lines["train_test_split"].append(f"{number} {int(split == 'train')}")
                lines["bounding_boxes"].append(f"{number} 0.0 0.0 20.0 15.0")
    for name, content in lines.items():
        (root / f"{name}.txt").write_text("".join(f"{line}\n" for line in content))
    return root


def cub(
    change: Callable[[Scene, str], str | bytes], *, names: tuple[str, ...] = REQUIRED, refused: bool = False
) -> Callable[[Scene], Start]:
    """Change of the content of one of the text files of CUB-200, which is read or refused by its name."""

    def damage(scene: Scene) -> Start:
        root = write_cub(scene)
        file = root / f"{scene.random.choice(names)}.txt"
        changed = change(scene, file.read_text())
        file.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
        words = ("--dataset", "CUB200", "--dataset_dir", root, "--num_classes", 3)
        return scene.train(*words, codes=(REFUSED,), says=file.name) if refused else scene.train(*words)

    return damage


def without_line(scene: Scene, text: str) -> str:
    """The text without one of its lines."""
    lines = text.splitlines(keepends=True)
    lines.pop(scene.random.randrange(len(lines)))
    return "".join(lines)


def with_line(*lines: str) -> Callable[[Scene, str], str]:
    """The text with one of these lines in addition."""
    return lambda scene, text: f"{text}{scene.random.choice(lines)}\n"


def least_similar(content: str, *, refused: bool = False) -> Callable[[Scene], Start]:
    """A file for ``--lsc``."""

    def damage(scene: Scene) -> Start:
        file = scene.folder / "lsc.csv"
        file.write_bytes(content.encode())
        words = ("--loss_status", "-1", "--lsc", file)
        return scene.train(*words, codes=(REFUSED,), says=file.name) if refused else scene.train(*words)

    return damage


TABLES: dict[str, Callable[[Scene], Start]] = {
    "CUB-200: byte order mark": cub(lambda scene, text: "\ufeff" + text),
    "CUB-200: semicolons and CRLF": cub(lambda scene, text: text.replace(" ", ";").replace("\n", "\r\n")),
    "CUB-200: UTF-16": cub(lambda scene, text: text.encode("utf-16")),
    "CUB-200: missing line": cub(without_line, names=REQUIRED[1:3], refused=True),
    "CUB-200: missing box": cub(without_line, names=("bounding_boxes",)),
    "CUB-200: malformed line": cub(with_line("one 1", "9" * 5000 + " 1", "\0\0"), refused=True),
    "CUB-200: contradicting line": cub(with_line("1 another", "2 77"), refused=True),
    "least similar classes: mark, semicolons, CRLF": least_similar("\ufeffred;blue\r\nblue;green\r\n\r\ngreen;red\r\n"),
    "least similar classes: missing line": least_similar("red,blue\n", refused=True),
    "least similar classes: unknown class": least_similar("red,blue\nblue,green\ngreen,pink\n", refused=True),
}
