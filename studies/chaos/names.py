"""Unusual names of classes, pictures and folders."""

import os
from collections.abc import Callable

from studies.chaos.scene import DONE, PLAIN, REFUSED, SLOTS, Scene, Start

# Bytes, since the names of a file system need not be text.
UNUSUAL = {
    "formula": rb"$x_^y\frac$",
    "percent": b"%s%(n)d{0}%",
    "markup": b"<b>&amp;<script>",
    "quotes": b'it\'s "red" `ls`',
    "newline": b"two\nlines\tand tab",
    "escapes": b"\x1b[31mred\x07\x1b]0;title\x07",
    "right to left": "\u202egnp.exe\u202c".encode(),
    "not UTF-8": b"\xff\xfe\xe4 red",
    "200 characters": b"a" * 200,
    "Chinese": ("紅色的" * 20).encode(),
    "Arabic and Hebrew": "أحمر אדום".encode(),
    "emoji": "😀👩‍👩‍👧🏽".encode(),
    "dots": b"..png",
    "leading dash": b"-red --lr 1",
    "spaces": b" red ,=@#; ",
}


def drawn(scene: Scene, suffix: str = "") -> str:
    """One of the names, with surrogates for bytes that are no text."""
    return os.fsdecode(UNUSUAL[scene.random.choice(list(UNUSUAL))]) + suffix


def of_class(scene: Scene, *, plain: bool = False) -> Start:
    """A class of this name, which is trained and then drawn, by the script of the model."""
    name = drawn(scene)
    for split in ("train", "val"):
        (scene.data / split / "red").rename(scene.data / split / name)
    new = scene.folder / "new"
    if plain:
        start = scene.train("--use_slot", "false")
        start.then = scene.methods("--checkpoint", new / PLAIN)
    else:
        start = scene.train()
        start.then = scene.test("--checkpoint", new / SLOTS, "--report", scene.folder / "report.html")
    return start


def of_picture(scene: Scene) -> Start:
    """Pictures of this name in every class folder."""
    name = drawn(scene, ".png")
    for split in ("train", "val"):
        file = scene.picture(split)
        file.rename(file.with_name(name))
    return scene.any_script("--vis_id", "0-8")


def of_image(scene: Scene) -> Start:
    """A picture of this name for ``--image``."""
    file = scene.folder / drawn(scene, ".png")
    scene.picture().rename(file)
    return scene.random.choice([scene.test, scene.methods])("--image", file)


def of_damaged_picture(scene: Scene) -> Start:
    """A damaged picture of this name, which is refused in one line whatever the name."""
    scene.picture("val").with_name(drawn(scene, ".png")).write_bytes(b"no picture")
    return scene.any_script(codes=(REFUSED,))


def of_output_folder(scene: Scene) -> Start:
    """A folder of this name for everything that is written."""
    folder = scene.folder / drawn(scene)
    if scene.random.random() < 0.5:
        return scene.train("--output_dir", folder)
    return scene.random.choice([scene.test, scene.methods])("--vis_dir", folder)


def of_data_folder(scene: Scene) -> Start:
    """A dataset in a folder of this name."""
    folder = scene.folder / drawn(scene)
    scene.data.rename(folder)
    scene.data = folder
    return scene.any_script()


def in_flags(scene: Scene) -> Start:
    """The name as the value of a flag that expects another one."""
    flag = scene.random.choice(["--dataset", "--model", "--classes", "--checkpoint", "--resume", "--image", "--lsc"])
    return scene.any_script(f"{flag}={drawn(scene)}", codes=(DONE, REFUSED))


NAMES: dict[str, Callable[[Scene], Start]] = {
    "class, drawn by test.py": of_class,
    "class, drawn by torchcam_vis.py": lambda scene: of_class(scene, plain=True),
    "picture of the dataset": of_picture,
    "picture of --image": of_image,
    "damaged picture": of_damaged_picture,
    "folder of the output": of_output_folder,
    "folder of the data": of_data_folder,
    "value of a flag": in_flags,
}
