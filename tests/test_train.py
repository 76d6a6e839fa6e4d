import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from tools import checkpoint

ROOT = Path(__file__).parents[1]


def load(folder, name="MNIST5k_use_slot_checkpoint.pth"):
    return checkpoint.load(Path(folder) / name)


def assert_same_state(a, b):
    assert a["epoch"] == b["epoch"] and a["metrics"]["lr"] == b["metrics"]["lr"]
    assert all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])
    for one, two in zip(a["optimizer"]["state"].values(), b["optimizer"]["state"].values(), strict=True):
        assert all(torch.equal(torch.as_tensor(one[key]), torch.as_tensor(two[key])) for key in one)


def test_a_run_leaves_checkpoints_a_log_and_curves(tiny_run, records):
    assert {p.name for p in tiny_run.iterdir() if p.is_file()} >= {
        "MNIST5k_use_slot_checkpoint.pth", "MNIST5k_use_slot_checkpoint_best.pth", "curves.png", "log.jsonl",
    }  # fmt: skip
    log = records(tiny_run)
    assert [record["epoch"] for record in log] == [0, 1]
    expected = {"loss", "ce", "attn_mean", "area_loss", "top1", "top5", "lr", "images_per_s", "seconds", "val_top1",
                "val_loss", "val_area", "val_attn_mean"}  # fmt: skip
    for record in log:
        assert expected <= set(record)
        assert all(isinstance(value, int | float | str) for value in record.values())
        assert record["loss"] == pytest.approx(record["ce"] + record["area_loss"], rel=1e-5)
    assert log[1]["ce"] < log[0]["ce"]
    assert Image.open(tiny_run / "curves.png").size[0] > 600


def test_a_checkpoint_brings_its_configuration_in_plain_types(tiny_run):
    state = torch.load(tiny_run / "MNIST5k_use_slot_checkpoint.pth", weights_only=True)
    assert state["model_config"]["backbone"] == "test_resnet" and state["model_config"]["out_stage"] == 2
    assert state["data_config"]["class_names"] == ["0", "1"] and state["data_config"]["mean"] == (0.1307,)
    assert state["train_config"]["lr"] == 2e-3


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "--aug true --num_workers 2 --warmup_epochs 2 --lr_drop 1 --clip_grad 1",
        "--aug_policy trivial,erasing,mixup,cutmix --cache ram --num_workers 1 --channels_last true",
    ],
)
def test_a_resumed_run_equals_the_uninterrupted_one(scripts, tiny, tmp_path, extra, records):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert scripts("train", tiny, extra, f"--epochs 3 --output_dir {whole}")[0] == 0
    assert scripts("train", tiny, extra, f"--epochs 1 --output_dir {parts}")[0] == 0
    code, out, _ = scripts("train", tiny, extra, f"--epochs 3 --output_dir {parts} --resume auto")
    assert code == 0 and "continuing from epoch 1" in out
    assert_same_state(load(whole), load(parts))
    keys = ("epoch", "loss", "top1", "val_top1", "val_loss", "lr")
    both = [[{key: record[key] for key in keys} for record in records(folder)] for folder in (whole, parts)]
    assert both[0] == both[1]


def test_the_direct_form_starts_at_class_means_once_and_resumes(scripts, tiny, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = f"{tiny} @{ROOT}/recipes/direct.txt --hidden_dim 32 --label_smoothing 0.1 --aug true"
    assert scripts("train", flags, f"--epochs 2 --output_dir {whole}")[0] == 0
    assert scripts("train", flags, f"--epochs 1 --output_dir {parts}")[0] == 0
    assert scripts("train", flags, f"--epochs 2 --output_dir {parts} --resume auto")[0] == 0
    assert_same_state(load(whole), load(parts))
    path = whole / "MNIST5k_use_slot_checkpoint.pth"
    assert scripts("test", f"--checkpoint {path} --num_workers 0 --vis true --vis_id 0,1")[0] == 0
    assert "the checkpoint has equal" in scripts("test", f"--checkpoint {path} --value_weighting mean")[2]


def test_a_checkpoint_without_options_is_of_the_published_form_and_continues(scripts, tiny, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "copy")
    path = folder / "MNIST5k_use_slot_checkpoint.pth"
    state = checkpoint.load(path)
    for name in ("value_weighting", "position", "dropout", "salience", "logit_scale", "reference", "slot_init"):
        del state["model_config"][name]
    for name in ("label_smoothing", "temperature"):
        del state["train_config"][name]
    torch.save(state, path)
    assert "--salience 1.0, but the checkpoint has 0.0" in scripts("test", f"--checkpoint {path} --salience 1")[2]
    err = scripts("train", tiny, f"--epochs 3 --reference min --output_dir {folder} --resume auto")[2]
    assert "it has reference none, not min; give the flags that it was trained with" in err
    assert scripts("train", tiny, f"--epochs 3 --output_dir {folder} --resume auto")[0] == 0


@pytest.mark.parametrize(("classes", "hinted"), [(49, False), (50, True)])
def test_many_classes_get_a_hint_with_the_published_form(scripts, tmp_path, picture_writer, classes, hinted):
    for c in range(classes):
        for split in ("train", "val"):
            picture_writer(tmp_path / "data" / split / f"{c:02}" / "0.png", colour=(5 * c, 9, 200), size=(16, 16))
    flags = (
        f"--dataset Folder --dataset_dir {tmp_path}/data --model test_resnet --pre_trained false --out_stage 2 "
        "--img_size 16 --num_workers 0 --batch_size 49 --epochs 1 --device cpu --output_dir ''"
    )
    code, _, err = scripts("train", flags)
    assert code == 0 and ("50 classes: the published form of attention loses accuracy" in err) == hinted
    assert not hinted or "published form" not in scripts("train", flags, "--attention qknorm")[2]


def test_cache_and_memory_format_do_not_change_the_training(scripts, tiny, tmp_path, records):
    logs = []
    for number, extra in enumerate(("", "--cache ram", "--cache ram --num_workers 2", "--channels_last true")):
        assert scripts("train", tiny, extra, f"--epochs 2 --output_dir {tmp_path / str(number)}")[0] == 0
        logs.append([record["ce"] for record in records(tmp_path / str(number))])
    assert logs[0] == logs[1] == logs[2] and logs[3] == pytest.approx(logs[0], rel=0.02)


def test_a_cache_that_does_not_fit_is_one_line(fails, tiny, monkeypatch):
    monkeypatch.setattr("tools.memory_limits.free_memory", lambda: 2**20)
    assert "--cache ram: the resized pictures take" in fails("train", tiny, "--epochs 1 --cache ram")


def test_mixing_two_classes_makes_training_harder_than_validation(scripts, tiny, tmp_path, records):
    # Compared with an unmixed run of the same seed, since accuracy differs between machines.
    harder = []
    for number, policy in enumerate(("", "--aug_policy mixup,cutmix")):
        folder = tmp_path / str(number)
        assert scripts("train", tiny, policy, f"--epochs 3 --output_dir {folder}")[0] == 0
        last = records(folder)[-1]
        assert last["val_top1"] > 0.9
        harder.append(last["ce"] / last["val_ce"])
    assert harder[1] > 2 * harder[0]


def test_each_epoch_has_an_order_of_its_own(scripts, tiny, tmp_path, records):
    # So small a rate moves no weight: only the order, and which pictures the last batch drops, change the loss.
    flags = f"{tiny} --img_size 16 --lr 1e-30 --weight_decay 0 --epochs 2 --output_dir {tmp_path}"
    assert scripts("train", flags)[0] == 0
    first, second = (record["ce"] for record in records(tmp_path))
    assert first != second and first == pytest.approx(second, rel=0.1)


def test_a_run_with_a_later_first_epoch_resumes_alike(scripts, tiny, tmp_path):
    flags = f"{tiny} --img_size 16 --start_epoch 1 --lr_drop 2"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert scripts("train", flags, f"--epochs 4 --output_dir {whole}")[0] == 0
    assert scripts("train", flags, f"--epochs 2 --output_dir {parts}")[0] == 0
    assert scripts("train", flags, f"--epochs 4 --output_dir {parts} --resume auto")[0] == 0
    assert_same_state(load(whole), load(parts))


def test_patience_counts_from_the_first_epoch_of_the_run(scripts, tiny, tmp_path, records):
    flags = f"{tiny} --img_size 16 --start_epoch 3 --patience 2 --epochs 4 --output_dir {tmp_path}"
    assert scripts("train", flags)[0] == 0
    assert [record["epoch"] for record in records(tmp_path)] == [3]


def test_changed_flags_of_a_resumed_run_are_printed_and_take_effect(scripts, tiny, tiny_run, tmp_path, records):
    folder = shutil.copytree(tiny_run, tmp_path / "copy")
    code, out, _ = scripts("train", tiny, f"--epochs 3 --output_dir {folder} --resume auto --lr 1e-5 --batch_size 100")
    assert code == 0 and "changed: lr 1e-05, before 0.002; batch_size 100, before 64" in out
    assert records(folder)[-1]["lr"] == 1e-5 and [r["epoch"] for r in records(folder)] == [0, 1, 2]


def test_resuming_with_other_frozen_layers_is_an_error(scripts, fails, tiny, tmp_path):
    import timm

    torch.save(timm.create_model("test_resnet", in_chans=1).state_dict(), tmp_path / "w.pth")
    flags = f"{tiny} --output_dir {tmp_path} --backbone_weights {tmp_path}/w.pth --img_size 16"
    assert scripts("train", flags, "--epochs 1 --freeze_layers 1")[0] == 0
    line = fails("train", flags, "--epochs 2 --freeze_layers 0 --resume auto")
    assert "the checkpoint trained other layers (--freeze_layers 1)" in line


def test_weights_that_diverge_in_the_last_step_are_not_saved(fails, tiny, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "copy")
    before = {p.name: p.read_bytes() for p in folder.glob("*.pth")}
    line = fails("train", tiny, f"--epochs 3 --output_dir {folder} --batch_size 800 --lr 1e30")
    assert "the loss over 200 pictures is nan: the model's weights are not finite; earlier checkpoints are kept" in line
    assert "try a lower --lr" in line and "test an earlier checkpoint" not in line
    assert {p.name: p.read_bytes() for p in folder.glob("*.pth")} == before


def test_a_seed_may_be_a_time(scripts, tiny, tmp_path):
    assert scripts("train", tiny, f"--epochs 1 --img_size 16 --seed 1700000000000 --output_dir {tmp_path}")[0] == 0


def test_resume_auto_without_a_checkpoint_starts_from_the_beginning(scripts, tiny, tmp_path):
    code, out, _ = scripts("train", tiny, f"--epochs 1 --output_dir {tmp_path} --resume auto")
    assert code == 0 and "epoch 1/1" in out


def test_a_finished_run_is_not_trained_again(scripts, tiny, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "copy")
    code, out, _ = scripts("train", tiny, f"--epochs 2 --output_dir {folder} --resume auto")
    assert code == 0 and "all 2 epochs are done" in out
    assert_same_state(load(folder), load(tiny_run))


def test_resuming_another_model_names_both_values(fails, tiny, tiny_run):
    line = fails("train", tiny, f"--epochs 3 --output_dir {tiny_run} --resume auto --hidden_dim 32")
    assert "hidden_dim 64, not 32" in line


def test_every_tenth_epoch_and_every_drop_leave_a_numbered_copy(scripts, tiny, tmp_path):
    code, _, _ = scripts("train", tiny, f"--epochs 11 --lr_drop 4 --img_size 16 --output_dir {tmp_path} --aug false")
    assert code == 0
    numbered = sorted(p.name for p in tmp_path.glob("*checkpoint0*.pth"))
    assert numbered == [f"MNIST5k_use_slot_checkpoint{epoch:04}.pth" for epoch in (3, 7, 9)]
    assert load(tmp_path, numbered[2])["epoch"] == 9


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("--use_slot false", "MNIST5k_no_slot"),
        ("--loss_status -1", "MNIST5k_use_slot_negative"),
        ("--cal_area_size true --lambda_value 10", "MNIST5k_use_slot_for_area_size_10.0_1"),
    ],
)
def test_checkpoints_are_named_as_in_the_published_code(scripts, tiny, tmp_path, flags, name):
    assert scripts("train", tiny, flags, f"--epochs 1 --output_dir {tmp_path}")[0] == 0
    assert (tmp_path / f"{name}_checkpoint.pth").is_file()
    code, out, _ = scripts("test", tiny, flags, f"--output_dir {tmp_path}")
    assert code == 0 and f"{name}_checkpoint.pth on 200 pictures" in out


def test_an_empty_output_dir_saves_nothing(scripts, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert scripts("train", tiny, "--epochs 1 --output_dir ''")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_use_pre_starts_from_the_plain_classifier_and_freezes(scripts, tiny, tmp_path):
    flags = f"{tiny} --epochs 1 --output_dir {tmp_path}"
    assert scripts("train", flags, "--use_slot false")[0] == 0
    code, _, err = scripts("train", flags, "--use_pre true --freeze_layers 2 --channel 2048")
    assert code == 0 and "--channel 2048: ignored, the feature map of this backbone has 48 channels" in err
    plain, slot = load(tmp_path, "MNIST5k_no_slot_checkpoint.pth")["model"], load(tmp_path)["model"]
    backbone = [key for key in slot if key.startswith("backbone.")]
    assert backbone and all(torch.equal(slot[key], plain[key]) for key in backbone)


def test_use_pre_without_the_plain_classifier_prints_the_command_that_trains_it(scripts, fails, tiny, tmp_path):
    line = fails("train", tiny, f"--epochs 1 --output_dir {tmp_path} --use_pre true")
    assert "MNIST5k_no_slot_checkpoint.pth does not exist" in line
    command = line.partition("train it with: python train.py ")[2].removesuffix(" (see --help)")
    assert scripts("train", command)[0] == 0
    assert scripts("train", tiny, f"--epochs 1 --output_dir {tmp_path} --use_pre true")[0] == 0


def test_backbone_weights_from_a_file(scripts, fails, tiny, tmp_path):
    import timm

    whole = timm.create_model("test_resnet", in_chans=1).state_dict()
    torch.save(whole, tmp_path / "w.pth")
    flags = f"--epochs 1 --output_dir {tmp_path} --backbone_weights {tmp_path}/w.pth --freeze_layers 1"
    code, out, err = scripts("train", tiny, flags)
    assert code == 0 and "its classifier of 1000 classes is left out" in err
    assert f"initial weights of the backbone: {tmp_path}/w.pth" in out
    frozen = load(tmp_path)["model"]["backbone.layer1.0.conv1.weight"]
    assert torch.equal(frozen, whole["layer1.0.conv1.weight"])
    del whole["layer1.0.conv1.weight"]
    torch.save(whole, tmp_path / "w.pth")
    code, _, err = scripts("train", tiny, flags)
    assert code == 0 and "39 of the 40 tensors of the backbone 'test_resnet' are loaded; 1 missing: layer1" in err


def test_the_first_lines_and_the_checkpoint_name_the_pretrained_weights(scripts, tiny, tmp_path, monkeypatch):
    import timm

    create_model = timm.create_model
    monkeypatch.setattr("sloter.backbone.pretrained_source", lambda name: {})
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: create_model(name, **options))
    flags = f"{tiny} --pre_trained true --output_dir {tmp_path}"
    code, out, err = scripts("train", flags, "--epochs 1")
    assert code == 0 and "initial weights of the backbone: test_resnet.r160_in1k\n" in out, err
    assert load(tmp_path)["initial_weights"] == "test_resnet.r160_in1k"
    code, out, err = scripts("train", flags, "--epochs 2 --resume auto")
    assert code == 0 and "initial weights" not in out and load(tmp_path)["epoch"] == 1, err
    assert load(tmp_path)["initial_weights"] == "test_resnet.r160_in1k"


def test_colour_pictures_take_the_statistics_of_pretrained_weights(scripts, tmp_path, picture_writer):
    import timm

    for split in ("train", "val"):
        for name in ("a", "b"):
            for i in range(4):
                picture_writer(tmp_path / split / name / f"{i}.png")
    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), tmp_path / "w.pth")
    flags = (
        f"--dataset Folder --dataset_dir {tmp_path} --model tf_efficientnet_lite0 --img_size 64 --num_workers 0 "
        f"--epochs 1 --batch_size 4 --slots_per_class 1 --device cpu --output_dir {tmp_path}/out"
    )
    code, _, err = scripts("train", flags, f"--backbone_weights {tmp_path}/w.pth")
    assert code == 0, err
    state = load(tmp_path / "out", "Folder_use_slot_checkpoint.pth")
    assert state["data_config"]["mean"] == (0.5, 0.5, 0.5) and state["data_config"]["class_names"] == ["a", "b"]
    assert scripts("train", flags, "--pre_trained false")[0] == 0
    state = load(tmp_path / "out", "Folder_use_slot_checkpoint.pth")
    assert state["data_config"]["mean"] == (0.485, 0.456, 0.406)


def test_a_folder_with_bad_pictures(scripts, fails, tmp_path, picture_writer):
    for name in ("ill", "well"):
        for i in range(6):
            picture_writer(tmp_path / "data" / name / f"{i}.png", colour=(40 * i, 90, 200 if name == "ill" else 10))
    (tmp_path / "data" / "ill" / "5.png").write_bytes(b"")
    flags = (
        f"--dataset Folder --dataset_dir {tmp_path}/data --val_ratio 0.4 --model test_resnet --pre_trained false "
        f"--out_stage 2 --img_size 16 --num_workers 0 --batch_size 4 --epochs 1 --device cpu "
        f"--output_dir {tmp_path}/out"
    )
    assert "5.png (the file is empty)" in fails("train", flags)
    code, out, err = scripts("train", flags, "--bad_images skip")
    assert code == 0 and "2 classes" in out and "pictures are left out" in err and "unequal" not in out
    # --val_ratio comes from the checkpoint, --bad_images does not
    code, out, _ = scripts(
        "test", f"--checkpoint {tmp_path}/out/Folder_use_slot_checkpoint.pth --bad_images skip --num_workers 0"
    )
    assert code == 0 and " on 4 pictures of Folder" in out


def test_classes_of_unequal_size_are_noted_and_can_be_weighted(scripts, tmp_path, picture_writer):
    for name, count in (("rare", 3), ("usual", 12)):
        for i in range(count):
            picture_writer(tmp_path / "data" / name / f"{i}.png", colour=(20 * i, 90, 200 if name == "rare" else 10))
    flags = (
        f"--dataset Folder --dataset_dir {tmp_path}/data --model test_resnet --pre_trained false --out_stage 2 "
        "--img_size 16 --num_workers 0 --batch_size 12 --epochs 1 --device cpu --lr 1e-30 --output_dir ''"
    )
    code, out, _ = scripts("train", flags)
    assert code == 0 and "10 training pictures of usual, 2 of rare; --class_weights balanced weights them in" in out
    code, out, _ = scripts("train", flags, "--class_weights balanced")
    assert code == 0 and "weighted in the loss" in out


def test_thop_prints_the_cost_and_trains_nothing(scripts, tmp_path):
    flags = "--dataset MNIST5k --model resnest26d --pre_trained false --to_k_layer 3 --img_size 64 --thop true"
    code, out, _ = scripts("train", flags, f"--output_dir {tmp_path}")
    assert code == 0 and list(tmp_path.iterdir()) == []
    backbone, head, whole = (line.split() for line in out.splitlines()[1:])
    # one input channel instead of three saves 2 * 32 * 3 * 3 weights of the stem
    assert backbone[1] == f"{15_020_448 - 2 * 32 * 9:,}"
    assert head[1] == f"{131_136 + 64 * 30 + 12_480 + 24_960:,}"
    value = lambda text: int(text.replace(",", ""))  # noqa: E731
    assert value(whole[3]) == value(backbone[3]) + value(head[3])


def test_a_sweep_writes_one_table_and_repeats_no_complete_run(scripts, tiny, tmp_path):
    flags = f"{tiny} --epochs 1 --img_size 16 --slots_per_class 1,2 --iterated_evaluation_num 2 --output_dir {tmp_path}"
    code, out, _ = scripts("train", flags)
    assert code == 0 and "slots_per_class  runs  val_top1  val_top1_std" in out
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["slots_per_class"], row["runs"]) for row in rows] == [("1", "2"), ("2", "2")]
    folder = tmp_path / "slots_per_class=2" / "run1"
    before = (folder / "MNIST5k_use_slot_checkpoint.pth").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "slots_per_class=1" / "run0")
    code, out, _ = scripts("train", flags)
    assert code == 0 and out.count("(complete)") == 3 and out.count("epoch 1/1") == 1
    assert (folder / "MNIST5k_use_slot_checkpoint.pth").stat().st_mtime_ns == before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(fails, tiny, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "copy")
    before = (folder / "MNIST5k_use_slot_checkpoint.pth").read_bytes()
    line = fails("train", tiny, f"--epochs 4 --output_dir {folder} --lr 1e30")
    assert "the loss is not finite in epoch 1, step" in line and "--clip_grad" in line
    assert (folder / "MNIST5k_use_slot_checkpoint.pth").read_bytes() == before


def test_a_dataset_smaller_than_a_batch_is_one_batch(scripts, tiny, tmp_path):
    code, _, err = scripts("train", tiny, f"--epochs 1 --batch_size 5000 --output_dir {tmp_path}")
    assert code == 0 and "less than a batch of 5000: each epoch is one batch of 800 pictures" in err


def start(command):
    return subprocess.Popen(
        [sys.executable, *command.split()], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.is_file():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


def test_ctrl_c_prints_the_command_that_continues(tiny, scripts, tmp_path):
    # A shell lets background jobs ignore the signal, and the processes that the tests start would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(f"train.py {tiny} --epochs 400 --output_dir {tmp_path}")
    signal.signal(signal.SIGINT, before)
    wait_for(tmp_path / "curves.png", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    again = out.partition("continue with: python train.py ")[2]
    assert "--resume auto" in again
    done = load(tmp_path)["epoch"] + 1
    code, out, _ = scripts("train", again, f"--epochs {done + 1}")
    assert code == 0 and f"epoch {done + 1}/{done + 1}" in out


def test_a_kill_at_any_moment_leaves_a_loadable_checkpoint(tiny, tmp_path):
    process = start(f"train.py {tiny} --epochs 400 --img_size 16 --output_dir {tmp_path}")
    wait_for(tmp_path / "curves.png", process)
    for _ in range(20):  # while it saves again and again
        load(tmp_path)
        time.sleep(0.03)
    process.kill()
    process.communicate(timeout=60)
    assert load(tmp_path)["epoch"] >= 0


BAD = [
    ("--model resnet81", "unknown model 'resnet81': did you mean resnet18"),
    ("--dataset MNIST50k", "unknown dataset 'MNIST50k': did you mean MNIST5k?"),
    ("--attention soft", "invalid choice: 'soft'"),
    ("--num_classes 11", "--num_classes 11: MNIST5k has 10 classes here; give 10 or fewer"),
    ("--img_size 8", "--img_size 8x8 is too small: this backbone makes a grid of 1x1 places"),
    ("--out_stage 7", "there is no stage 7"),
    ("--dataset CUB200", "--dataset CUB200 needs its folder: --dataset_dir DIR"),
    ("--dataset CUB200 --dataset_dir /no/such", "--dataset_dir /no/such: no such folder"),
    ("--backbone_weights /no/such.pth", "/no/such.pth: no such file"),
    ("--resume /no/such.pth", "/no/such.pth: no such file"),
    ("--output_dir /dev/null/out", "the folder /dev/null/out cannot be written"),
    ("--epochs many", "'many' is not a whole number"),
    ("--loss_status 2", "invalid choice: 2"),
    ("--sync_bn true", "--sync_bn true: PyTorch synchronises batch norm on GPUs only, not on cpu"),
    ("--world_size 4", "--world_size 4, but no launcher started this process: use torchrun --nproc_per_node=4"),
    ("--device tpu9", "--device tpu9"),
    ("--device meta", "--device meta: not available"),
    ("--lambda_value 1,2 --thop true", "--thop and --resume FILE are for a single run"),
    ("--dataset MNIST --dataset_dir /no/such", "--dataset_dir /no/such: no such folder"),
]


@pytest.mark.parametrize(("flags", "message"), BAD)
def test_wrong_input_is_one_line(fails, tiny, tmp_path, flags, message):
    assert message in fails("train", tiny, f"--output_dir {tmp_path} {flags}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_an_error(fails, tiny):
    assert "--device cuda" in fails("train", tiny, "--device cuda")


def test_resuming_weights_that_are_not_finite_names_the_checkpoint_and_not_the_rate(fails, tiny, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "copy")
    file = folder / "MNIST5k_use_slot_checkpoint.pth"
    state = torch.load(file, weights_only=True)
    state["model"]["conv1x1.weight"][0] = float("nan")
    torch.save(state, file)
    line = fails("train", tiny, f"--epochs 9 --output_dir {folder} --resume auto")
    assert "model conv1x1.weight has values that are not finite numbers" in line and "--lr" not in line
