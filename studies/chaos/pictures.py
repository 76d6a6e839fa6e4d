"""Damage to pictures and to the folders of a dataset."""

import io
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from studies.chaos.scene import DONE, REFUSED, Scene, Start

NOISE = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)


def encoded(file_format: str, pixels: np.ndarray = NOISE, mode: str | None = None, **options: object) -> bytes:
    """A picture file."""
    stream = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(stream, format=file_format, **options)
    return stream.getvalue()


def unusable(suffix: str, content: Callable[[Scene], bytes], *, sound_header: bool = False) -> Callable[[Scene], Start]:
    """Damage by a file that is no usable picture: refused by name, or left out with ``--bad_images skip``.

    With a sound header it is found by the scripts that decode all pictures.
    """

    def damage(scene: Scene) -> Start:
        file = scene.picture("val").with_name(f"bad{suffix}")
        file.write_bytes(content(scene))
        start = scene.random.choice([scene.train, scene.test]) if sound_header else scene.any_script
        if scene.random.random() < 0.5:
            return start("--bad_images", "skip")
        return start(codes=(REFUSED,), says=file.name)

    return damage


def unusual(suffix: str, content: bytes) -> Callable[[Scene], Start]:
    """A usable picture of an unusual kind."""

    def damage(scene: Scene) -> Start:
        for split in ("train", "val"):
            scene.picture(split).with_name(f"00{suffix}").write_bytes(content)
        return scene.any_script()

    return damage


def cut(content: bytes) -> Callable[[Scene], bytes]:
    """A part of a file, at least an eighth and at most three quarters."""
    return lambda scene: content[: scene.random.randrange(len(content) // 8, len(content) * 3 // 4)]


def png(width: int, height: int, data: bytes) -> bytes:
    """A grey PNG file of this size and these compressed pixels, with right checksums."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def animation() -> bytes:
    """A GIF of three pictures."""
    pictures = [Image.fromarray(NOISE // n) for n in (1, 2, 3)]
    stream = io.BytesIO()
    pictures[0].save(stream, format="GIF", save_all=True, append_images=pictures[1:])
    return stream.getvalue()


def same_in_two_classes(scene: Scene) -> Start:
    """The same file in two class folders: a note."""
    shutil.copy(scene.data / "train" / "red" / "0.png", scene.data / "train" / "blue" / "copy.png")
    return scene.train()


def empty_class(scene: Scene) -> Start:
    """A class folder without pictures is no class."""
    for split in ("train", "val"):
        (scene.data / split / "yellow").mkdir()
    return scene.any_script()


def system_folders(scene: Scene) -> Start:
    """Folders and files that archives and systems leave."""
    for name in ("__MACOSX", "@eaDir", ".cache"):
        for split in ("train", "val"):
            (scene.data / split / name).mkdir()
            (scene.data / split / name / "._0.png").write_bytes(b"Mac OS X")
            (scene.data / split / "red" / name).mkdir()
            (scene.data / split / "red" / name / "._0.png").write_bytes(b"Mac OS X")
    (scene.data / "train" / "red" / "Thumbs.db").write_bytes(b"\0" * 64)
    return scene.any_script()


def nested(scene: Scene) -> Start:
    """A folder around the data, and folders within a class."""
    (scene.folder / "archive").mkdir()
    inside = scene.data / "val" / "red" / "more" / "still more"
    inside.mkdir(parents=True)
    shutil.move(scene.data / "val" / "red" / "0.png", inside / "0.png")
    shutil.move(scene.data, scene.folder / "archive" / "pictures")
    scene.data = scene.folder / "archive"
    return scene.any_script()


def upper_case(scene: Scene) -> Start:
    """All suffixes in upper case."""
    for file in [*scene.data.rglob("*.png")]:
        file.rename(file.with_suffix(".PNG"))
    return scene.any_script()


def links(scene: Scene) -> Start:
    """A link to a picture that does not exist."""
    file = scene.picture("val").with_name("link.png")
    file.symlink_to(Path("nowhere.png"))
    return scene.any_script(codes=(DONE, REFUSED), says="link.png")


GREY16 = (NOISE[..., 0].astype(np.uint16) << 6) + 3
PICTURES: dict[str, Callable[[Scene], Start]] = {
    "JPEG cut short": unusable(".jpg", cut(encoded("JPEG"))),
    "PNG cut short": unusable(".png", cut(encoded("PNG"))),
    "GIF cut short": unusable(".gif", cut(encoded("GIF"))),
    "TIFF cut short": unusable(".tif", cut(encoded("TIFF"))),
    "empty file": unusable(".png", lambda scene: b""),
    "text named .jpg": unusable(".jpg", lambda scene: b"no picture\n" * 20),
    "header of 100000x100000 pixels": unusable(".png", lambda scene: png(10**5, 10**5, zlib.compress(b"\0" * 99))),
    "PNG with damaged pixels": unusable(".png", lambda scene: png(40, 30, b"no pixels"), sound_header=True),
    "animated GIF": unusual(".gif", animation()),
    "16-bit PNG": unusual(".png", encoded("PNG", GREY16)),
    "16-bit TIFF": unusual(".tiff", encoded("TIFF", GREY16)),
    "floating-point TIFF": unusual(".tif", encoded("TIFF", np.where(NOISE[..., 0] < 9, np.nan, NOISE[..., 0] * 1e30))),
    "CMYK JPEG": unusual(".jpeg", encoded("JPEG", mode="CMYK")),
    "1xN picture": unusual(".png", encoded("PNG", NOISE[:1])),
    "Nx1 picture": unusual(".webp", encoded("WEBP", NOISE[:, :1], lossless=True)),
    "same picture in two classes": same_in_two_classes,
    "empty class folder": empty_class,
    "folders of systems": system_folders,
    "nested folders": nested,
    "upper-case suffixes": upper_case,
    "broken link": links,
}
