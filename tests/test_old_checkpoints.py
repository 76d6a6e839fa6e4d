"""Checkpoints of version 0.1.0, with old names of options, still load, compute the same numbers and continue.

``tests/old_checkpoints`` has one of each form, with the outputs that version 0.1.0 computed for four pictures of noise.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sloter.config import SlotConfig
from sloter.slot_model import restore_model
from tools import VERSION, checkpoint

FOLDER = Path(__file__).parent / "old_checkpoints"
FLAGS = (
    "--dataset MNIST5k --num_classes 3 --model mobilenetv3_small_050 --pre_trained false --out_stage 1 --img_size 16 "
    "--num_workers 0 --device cpu --hidden_dim 8 --batch_size 100 --lr 1e-3"
)
DIRECT = (
    "--attention qknorm --logit_scale 4 --salience 2.5 --reference min --value_weighting equal --position none "
    "--iters 1 --to_k_layer 0 --slots_per_class 1 --slot_init means --dropout 0.3 --label_smoothing 0.2 --temperature 2"
)
OLD_DIRECT = DIRECT.replace("--logit_scale", "--tau").replace("--reference min", "--floor true")
OLD_DIRECT = OLD_DIRECT.replace("--value_weighting", "--worth")


@pytest.mark.parametrize("form", ["paper", "qknorm", "direct"])
def test_an_old_checkpoint_computes_the_same_numbers(form):
    torch.set_num_threads(1)  # as when the numbers were computed; another order of sums rounds differently
    state = checkpoint.load(FOLDER / f"{form}.pth")
    model = restore_model(state["model_config"], state["model"], img_size=(16, 16), source=form)
    images = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = model(images)
    with np.load(FOLDER / f"{form}.npz") as expected:
        for name, value in output._asdict().items():
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=2e-6, atol=1e-7)


def test_old_names_become_the_present_ones():
    config = checkpoint.load(FOLDER / "direct.pth")["model_config"]
    options = {name: config[name] for name in SlotConfig.__dataclass_fields__ if name in config}
    assert options == {
        "hidden_dim": 8, "slots_per_class": 1, "iters": 1, "to_k_layers": 0, "attention": "qknorm", "logit_scale": 4.0,
        "value_weighting": "equal", "position": "none", "dropout": 0.3, "salience": 2.5, "reference": "min",
        "loss_status": 1,
    }  # fmt: skip
    assert not set(config) & {"worth", "tau", "floor"}


def test_a_missing_option_means_the_published_form():
    state = checkpoint.load(FOLDER / "paper.pth")
    config = {k: v for k, v in state["model_config"].items() if k not in ("value_weighting", "position", "reference")}
    restore_model(config, state["model"], img_size=(16, 16), source="paper")  # its weights fit


def test_a_resumed_run_keeps_what_matters_only_at_its_start(scripts, tmp_path):
    shutil.copy(FOLDER / "direct.pth", tmp_path / "MNIST5k_use_slot_checkpoint.pth")
    flags = DIRECT.replace("--logit_scale 4", "--logit_scale 9")
    code, _, err = scripts("train", f"{FLAGS} {flags} --epochs 1 --resume auto --output_dir {tmp_path}")
    assert code == 0, err  # nothing to do: all epochs are done
    code, _, err = scripts("train", f"{FLAGS} {flags} --epochs 2 --resume auto --output_dir {tmp_path}")
    assert code == 0, err
    assert checkpoint.load(tmp_path / "MNIST5k_use_slot_checkpoint.pth")["model_config"]["logit_scale"] == 4.0


@pytest.mark.parametrize("flags", [DIRECT, OLD_DIRECT])
def test_an_old_run_continues_under_old_and_new_names(scripts, tmp_path, flags):
    shutil.copy(FOLDER / "direct.pth", tmp_path / "MNIST5k_use_slot_checkpoint.pth")
    code, out, err = scripts("train", f"{FLAGS} {flags} --epochs 2 --resume auto --output_dir {tmp_path}")
    assert code == 0, err
    assert "continuing from epoch 1 (changed: epochs 2, before 1)\n" in out
    hints = [line for line in err.splitlines() if "is now" in line]
    assert len(hints) == (3 if flags == OLD_DIRECT else 0)
    assert flags == DIRECT or "train.py: note: --floor is now --reference min" in hints
    written = torch.load(tmp_path / "MNIST5k_use_slot_checkpoint.pth", weights_only=True)
    assert written["version"] == VERSION and written["epoch"] == 1
    assert "slot.value_weighting.log_gamma" in written["model"]


def test_the_version_is_that_of_the_package():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{VERSION}"\n' in text
