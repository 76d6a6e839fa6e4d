"""Several processes on this machine: started as the README says, with figures that do not depend on how many."""

import json

import pytest

from tools import checkpoint

LAUNCHERS = {
    "launch": "python -m torch.distributed.launch --nproc_per_node=2 --use_env train.py --world_size 2",
    "torchrun": "python -m torch.distributed.run --nproc_per_node=2 train.py",
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_train_one_run(as_user, tiny, tmp_path, records, launcher):
    done = as_user(f"{LAUNCHERS[launcher]} {tiny} --batch_size 32 --epochs 2 --output_dir {tmp_path}")
    assert done.returncode == 0, done.stderr
    # one process prints and writes
    assert done.stdout.count("epoch 2/2") == 1 and "2 processes" in done.stdout
    assert [record["epoch"] for record in records(tmp_path)] == [0, 1]
    # the figures of two processes are those of one that tests the same checkpoint
    path = tmp_path / "MNIST5k_use_slot_checkpoint.pth"
    assert as_user(f"python test.py --checkpoint {path} --device cpu --num_workers 0").returncode == 0
    alone, last = json.loads((tmp_path / "results.json").read_text()), records(tmp_path)[-1]
    for key in ("top1", "loss", "attn_mean", "area"):
        assert alone[key] == pytest.approx(last[f"val_{key}"], rel=1e-4)
    assert checkpoint.load(path)["epoch"] == 1


def test_an_evaluation_counts_each_sample_once_over_three_processes(as_user, tiny_run, tmp_path):
    import shutil

    folder = shutil.copytree(tiny_run, tmp_path / "copy")
    command = f"--checkpoint {folder}/MNIST5k_use_slot_checkpoint.pth --device cpu --num_workers 0"
    results = []
    for launch in ("python test.py", "python -m torch.distributed.run --nproc_per_node=3 test.py"):
        done = as_user(f"{launch} {command}")
        assert done.returncode == 0, done.stderr
        results.append(json.loads((folder / "results.json").read_text()))
    assert results[0]["images"] == results[1]["images"] == 200
    for key in ("top1", "top5", "loss", "attn_mean", "area"):
        assert results[0][key] == pytest.approx(results[1][key], rel=1e-6)


def test_the_area_term_is_that_of_the_global_batch(as_user, tmp_path):
    program = tmp_path / "loss.py"
    program.write_text(
        "import torch, torch.distributed as dist\n"
        "from sloter.loss import ScouterLoss\n"
        "from sloter.slot_model import SlotOutput\n"
        "dist.init_process_group('gloo')\n"
        "attn = torch.full((2, 3, 1, 2, 2), 0.2 if dist.get_rank() else 0.6, requires_grad=True)\n"
        "losses = ScouterLoss(lambda_value=1, power=2)(SlotOutput(torch.zeros(2, 3), attn), torch.tensor([0, 1]))\n"
        "losses['loss'].backward()\n"
        "area, gradient = losses['area_loss'].item(), attn.grad.sum().item()\n"
        "print(f'[{area:.4f} {gradient:.4f}]', flush=True)\n"
        "dist.destroy_process_group()\n"
    )
    done = as_user(f"python -m torch.distributed.run --nproc_per_node=2 {program}", PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    # mean attention .4: area .16; its derivative 2 * .4 towards the local mean on both
    assert done.stdout.count("[0.1600 0.8000]") == 2


def test_an_error_of_all_processes_ends_the_launch(as_user, tiny):
    done = as_user(f"python -m torch.distributed.run --nproc_per_node=2 train.py {tiny} --num_classes 11", timeout=100)
    assert done.returncode != 0 and "train.py: error: --num_classes 11" in done.stderr
    assert 'File "/' not in done.stderr.partition("train.py: error")[0]
