"""The published command lines, unchanged and in their order, on small data.

They run in a folder whose ``../data`` and ``./data/mnist`` hold small datasets in the real layouts; flags that shorten
the run are appended.
"""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import ImageNetInfo

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "tests" / "published_commands.txt").read_text().splitlines()
SHORT = "--epochs 1 --img_size 64 --num_workers 0 --pre_trained false --device cpu"
SHORT_METHODS = "--methods CAM,GradCAM,ScoreCAM,DeepLIFT,RISE,IBA --rise_masks 8 --classes 0,1"
RNG = np.random.default_rng(0)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)


def make_imagenet(root):
    for wnid in sorted(ImageNetInfo().label_names())[:10]:
        for split in ("train", "val"):
            picture(root / split / wnid / f"{wnid}_1.JPEG")


def make_mnist(root):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 20), ("t10k", 10)):
        header = (0x803).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28))
        pixels = RNG.integers(0, 256, count * 784, dtype=np.uint8).tobytes()
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + pixels)
        labels = bytes(i % 10 for i in range(count))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(
            (0x801).to_bytes(4, "big") + count.to_bytes(4, "big") + labels
        )


def make_context(root):
    for category in ("Bakery", "Cafe", "Pharmacy"):
        for i in range(5):
            picture(root / f"{category}_{i}.jpg")


def make_cub200(root):
    lines = {name: [] for name in ("classes", "images", "image_class_labels", "train_test_split", "bounding_boxes")}
    for label in range(1, 27):
        lines["classes"].append(f"{label} {label:03}.Bird_{label}")
        for train in (0, 1):
            key, name = 2 * label + train, f"{label:03}.Bird_{label}/Bird_{train}.jpg"
            picture(root / "images" / name)
            lines["images"].append(f"{key} {name}")
            lines["image_class_labels"].append(f"{key} {label}")
            lines["train_test_split"].append(f"{key} {train}")
            lines["bounding_boxes"].append(f"{key} 1.0 2.0 30.0 20.0")
    for name, rows in lines.items():
        (root / f"{name}.txt").write_text("\n".join(rows) + "\n")


MAKERS = {
    "ImageNet": (make_imagenet, "../data/imagenet/ILSVRC/Data/CLS-LOC"),
    "MNIST": (make_mnist, "./data/mnist"),
    "ConText": (make_context, "../data/con-text/JPEGImages"),
    "CUB200": (make_cub200, "../data/bird_200/CUB_200_2011/CUB_200_2011"),
}


@pytest.mark.parametrize("dataset", MAKERS)
def test_the_published_lines_run_in_their_order(scripts, tmp_path, monkeypatch, dataset):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    make, place = MAKERS[dataset]
    make(work / place)
    ran = []
    for line in LINES:
        words = shlex.split(line)
        script = next(word for word in words if word.endswith(".py")).removesuffix(".py")
        if f"--dataset {dataset} " not in line:
            continue
        more = SHORT_METHODS if script == "torchcam_vis" else ""
        code, out, err = scripts(script, line.partition(".py ")[2], SHORT, more)
        assert code == 0, f"{line}\n{err}"
        ran.append((script, "saved" in out, "explanation.png" in out))
    # FC, positive and negative are trained; the slot models are tested and drawn; other methods explain FC
    assert ran == [("train", True, False)] * 3 + [("test", True, True)] * 2 + [("torchcam_vis", True, False)]
    maps = {path.name for path in (work / "saved_model" / "vis" / f"{dataset}_no_slot" / "0").iterdir()}
    methods = ("CAM", "GradCAM", "ScoreCAM", "DeepLIFT", "RISE", "IBA")
    assert maps == {"methods.png"} | {f"{m}_{c}{end}.png" for m in methods for c in (0, 1) for end in ("", "_mask")}
    names = {path.name for path in (work / "saved_model").glob("*_checkpoint.pth")}
    assert names == {f"{dataset}_{kind}_checkpoint.pth" for kind in ("no_slot", "use_slot", "use_slot_negative")}
