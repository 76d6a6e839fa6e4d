"""The quickstart at the top of the README, as a user types it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


def commands():
    """The two commands that follow the installation."""
    block = re.search(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    return [part.strip() for part in block.strip().splitlines()[-1].split("&&") if part.strip().startswith("python t")]


def test_the_quickstart_trains_evaluates_and_explains(as_user, tmp_path):
    train, test = commands()
    assert train == "python train.py @recipes/quickstart.txt" and test.startswith("python test.py --checkpoint ")
    folder = tmp_path / "out"
    done = as_user(f"{train} --epochs 3 --lr 1e-3 --output_dir {folder}")
    assert done.returncode == 0, done.stderr
    test = re.sub(r"--checkpoint \S+/", f"--checkpoint {folder}/", test)
    done = as_user(test)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "results.json").read_text())
    assert results["top1"] > 0.8 and results["images"] == 1000
    figures = sorted((folder / "vis").rglob("explanation.png"))
    assert len(figures) == 10 and all(Image.open(figure).size[0] > 800 for figure in figures)
    # A readable map is bright on the digit: its share there is larger than the share of pixels there.
    shares = []
    for digit in range(10):
        place = folder / "vis" / "MNIST5k_use_slot" / str(digit)
        stroke = np.asarray(Image.open(place / "image.png").convert("L").resize((7, 7), Image.Resampling.BOX)) > 40
        attention = np.asarray(Image.open(place / f"slot_{digit}.png")).astype(float)
        shares.append((attention[stroke].sum() / max(attention.sum(), 1)) / stroke.mean())
    assert np.mean(shares) > 1.2


@pytest.mark.slow
def test_the_whole_quickstart_reaches_97_percent_in_five_minutes(as_user, tmp_path):
    import time

    train, test = commands()
    start = time.monotonic()
    for command in (
        f"{train} --output_dir {tmp_path}",
        re.sub(r"--checkpoint \S+/", f"--checkpoint {tmp_path}/", test),
    ):
        done = as_user(command)
        assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 300  # two minutes on a faster machine
    assert json.loads((tmp_path / "results.json").read_text())["top1"] >= 0.97
    shutil.rmtree(tmp_path)
