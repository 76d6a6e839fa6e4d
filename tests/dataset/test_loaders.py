import errno
import logging
import multiprocessing
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler

from dataset import DataError, Listing
from dataset.changes import change_pixels
from dataset.check import picture_fault
from dataset.collate import collate_usable
from dataset.loaders import DeviceLoader, EpochSampler, build_loader, collate, normalise, usable_workers
from dataset.pictures import PictureDataset, Sample
from dataset.transforms import augmentation
from tests.png import png_bytes


def numbered(count, augment=False):
    """Pictures whose pixels are their number."""
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    change = augmentation(augment=augment)
    return PictureDataset(
        Listing(images, [0] * count, ["a"]), img_size=(4, 4), in_chans=1, num_classes=1, augment=change
    )


def loader(dataset, **options):
    config = {"batch_size": 4, "train": False, "device": torch.device("cpu"), "mean": (0.0,), "std": (1.0,)}
    return build_loader(dataset, **{**config, **options})


def order(batches):
    return torch.cat([batch.numbers for batch in batches]).tolist()


def test_normalisation_by_hand():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    mean, std = torch.tensor([0.2]).view(1, 1, 1), torch.tensor([0.4]).view(1, 1, 1)
    torch.testing.assert_close(normalise(images, mean, std).flatten(), torch.tensor([-0.5, 0.0, 2.0]))


def test_channels_last_batches_are_the_same_pictures():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)  # as pictures are decoded
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(-1, 1, 1), torch.tensor([0.4, 0.5, 0.6]).view(-1, 1, 1)
    expected = normalise(batch.contiguous(), mean, std)
    found = normalise(batch, mean, std)
    assert torch.equal(found, expected) and expected.is_contiguous()
    assert found.is_contiguous(memory_format=torch.channels_last)
    samples = [Sample(image, 0, 0) for image in batch]
    last, planes = (collate(samples, form)[0] for form in (torch.channels_last, torch.contiguous_format))
    assert torch.equal(last, planes) and planes.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_evaluation_loads_every_picture_once_and_in_order():
    batches = list(loader(numbered(10)))
    assert [len(batch.labels) for batch in batches] == [4, 4, 2] and order(batches) == list(range(10))
    torch.testing.assert_close(batches[1].images[1], torch.full((1, 4, 4), 5 / 255))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_processes_share_an_evaluation_without_repeating_pictures(world_size):
    seen = [order(loader(numbered(10), rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert sorted(n for part in seen for n in part) == list(range(10))


def test_training_drops_the_incomplete_batch_and_changes_its_order_each_epoch():
    batches = loader(numbered(10), train=True, seed=3)
    first = order(batches)
    batches.set_epoch(1)
    second = order(batches)
    batches.set_epoch(0)
    assert len(first) == 8 and len(set(first)) == 8 and first != second and order(batches) == first
    assert order(loader(numbered(10), train=True, seed=4)) != first


def test_processes_share_a_training_step_as_one_process_would_take_it():
    alone = order(loader(numbered(16), train=True, batch_size=4))
    pair = [order(loader(numbered(16), train=True, batch_size=2, rank=r, world_size=2)) for r in (0, 1)]
    for step in range(4):
        together = [n for p in pair for n in p[2 * step : 2 * step + 2]]
        assert sorted(together) == sorted(alone[4 * step : 4 * step + 4])


def augmented(*, on_gpu, count=24, **options):
    """Images of the batches of augmented pictures, changed one by one by the loading processes or as for a GPU."""
    images = np.random.default_rng(0).integers(0, 256, (count, 12, 15), dtype=np.uint8)
    data = PictureDataset(
        Listing(images, [0] * count, ["a"]), img_size=(12, 15), in_chans=1, num_classes=1,
        augment=augmentation(augment=True),
    )  # fmt: skip
    batches = loader(data, train=True, std=(1 / 255,), **options)
    if on_gpu:  # which there may not be
        batches.loader.collate_fn = partial(batches.loader.collate_fn, change=False)
    return torch.cat([batch.images for batch in batches]).round()


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_do_not_change_the_pictures(workers, on_gpu, monkeypatch):
    monkeypatch.setattr("dataset.loaders.usable_workers", lambda number: number)
    found = augmented(on_gpu=on_gpu, num_workers=workers)
    assert torch.equal(found, augmented(on_gpu=on_gpu))


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_a_batch_is_augmented_on_a_gpu_as_picture_by_picture(form):
    wrong = (augmented(on_gpu=True, memory_format=form) - augmented(on_gpu=False)).abs()
    assert wrong.max() <= 1 and (wrong > 0).float().mean() < 1e-3  # of rounding


def test_pictures_in_the_places_of_missing_ones_are_augmented_as_their_own(tmp_path, picture_writer):
    data = damaged(tmp_path, picture_writer, "skip", count=4, bad=(1, 3))
    data.augment = augmentation(augment=True)
    samples = data.__getitems__([(index, 2) for index in range(4)])  # a seed that changes the pictures
    for change in (True, False):
        stack, failed = collate_usable(samples, memory_format=torch.contiguous_format, fill=True, change=change)
        images = stack.images if stack.plan is None else change_pixels(stack.images, stack.plan)
        assert stack.numbers.tolist() == [0, 2, 0, 2] and [number for number, _ in failed] == [1, 3]
        assert torch.equal(images[:2], images[2:]) and (images[0] != data.pixels(0)).any()


def test_batches_are_not_changed_in_place():
    floats = torch.full((2, 1, 3, 3), 51.0)
    normalise(floats, torch.tensor([0.2]).view(1, 1, 1), torch.tensor([0.4]).view(1, 1, 1))
    assert (floats == 51).all()


def load_for_ever(pids):
    """Load with two workers and put their process ids into a queue."""
    batches = loader(numbered(8), num_workers=2)
    while True:
        list(batches)
        pids.put([worker.pid for worker in multiprocessing.active_children()])


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="on other systems workers check for their parent every few seconds")
def test_workers_end_with_a_killed_process_even_if_one_is_stuck():
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=load_for_ever, args=(queue,))
    process.start()
    pids = queue.get()
    assert len(pids) == usable_workers(2) and all(map(lives, pids))
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):  # as sent to the whole group, for the parent
        os.kill(pids[0], number)
    time.sleep(0.1)
    assert all(map(lives, pids))
    os.kill(pids[0], signal.SIGSTOP)
    process.kill()
    process.join()
    end = time.monotonic() + 10
    while any(map(lives, pids)):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_set_smaller_than_a_batch_is_one_batch_and_reported(caplog):
    with caplog.at_level(logging.WARNING):
        batches = list(loader(numbered(3), train=True, batch_size=8))
    assert [len(batch.labels) for batch in batches] == [3]
    assert "less than a batch of 8: each epoch is one batch of 3 pictures" in caplog.text


def test_an_empty_dataset_is_an_error():
    with pytest.raises(DataError, match="no validation pictures"):
        loader(numbered(0))


def test_seeds_differ_between_samples_and_epochs():
    sampler = EpochSampler(6, shuffle=True)
    first = dict(sampler)
    sampler.epoch = 1
    assert len({*first.values(), *dict(sampler).values()}) == 12


@pytest.mark.parametrize(("size", "batch", "world"), [(64, 8, 4), (67, 4, 3), (103, 5, 2)])
def test_the_processes_together_load_the_batches_of_one(size, batch, world):
    def batches(batch_size, **share):
        sampler = EpochSampler(size, shuffle=True, seed=5, **share)
        sampler.epoch = 2
        return list(BatchSampler(sampler, batch_size, drop_last=True))

    alone = batches(batch * world)
    shared = [batches(batch, rank=rank, world_size=world) for rank in range(world)]
    assert [len(own) for own in shared] == [len(alone)] * world  # the remainder is that of the whole
    for step, whole in enumerate(alone):
        # picture and seed: process r has the pictures r, r + world, r + 2 * world and so on
        assert [own[step] for own in shared] == [whole[rank::world] for rank in range(world)]


@pytest.mark.parametrize(("size", "world", "skip"), [(303, 3, 64), (352, 3, 64), (142, 5, 64), (100, 2, 64)])
def test_the_rest_of_a_resumed_epoch_is_shared_equally(size, world, skip):
    shares = []
    for rank in range(world):
        sampler = EpochSampler(size, shuffle=True, rank=rank, world_size=world)
        sampler.skip = skip
        shares.append([index for index, _ in sampler])
        assert len(sampler) == len(shares[-1])
    assert {len(share) for share in shares} == {(size - skip) // world}
    whole = EpochSampler(size, shuffle=True)
    done = {index for index, _ in list(whole)[:skip]}
    assert not done & {index for share in shares for index in share}


ABANDONED = """
import torch
from dataset.loaders import build_loader
from dataset.registry import build_dataset

data = build_dataset("MNIST5k", "val", dataset_dir=None, num_classes=2, img_size=(16, 16))
cpu = torch.device("cpu")
loader = build_loader(data, batch_size=10, train=False, device=cpu, mean=(0.0,), std=(1.0,), num_workers=2)
batches = iter(loader)
next(batches)
print("done", flush=True)
"""


def test_a_process_ends_though_an_epoch_was_abandoned(as_user, tmp_path):
    script = tmp_path / "abandoned.py"
    script.write_text(ABANDONED)
    done = as_user(f"python {script}", PYTHONPATH=".", timeout=60)  # raises if the process hangs at its exit
    assert done.returncode == 0 and done.stdout == "done\n", done.stderr


def damaged(tmp_path, picture_writer, bad_images, *, count=8, bad=(2, 5)):
    """Dataset of pictures that pass the check; the damaged ones cannot be decoded."""
    files = [tmp_path / f"{number}.png" for number in range(count)]
    for number, file in enumerate(files):
        picture_writer(file)
        if number in bad:  # sound checksums, but the stream of pixels ends early
            file.write_bytes(png_bytes(bytes(100), size=(40, 30)))
            assert picture_fault(file) is None
    listing = Listing(files, list(range(count)), [str(number) for number in range(count)])
    return PictureDataset(listing, img_size=(8, 8), in_chans=3, num_classes=count, bad_images=bad_images)


def damaged_loader(data, *, train, workers, batch_size=4):
    statistics = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    return build_loader(
        data, batch_size=batch_size, train=train, device=torch.device("cpu"), num_workers=workers, **statistics
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_decoded_is_an_error_of_one_line(tmp_path, picture_writer, workers):
    data = damaged(tmp_path, picture_writer, "error", bad=(2,))
    with pytest.raises(DataError, match=r"^the picture .*2.png cannot be read: .*--bad_images skip$") as caught:
        list(damaged_loader(data, train=False, workers=workers))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_leaves_out_what_cannot_be_decoded_and_counts_it(tmp_path, picture_writer, caplog, workers):
    data = damaged(tmp_path, picture_writer, "skip", bad=(2, 4, 5, 6, 7))
    loader = damaged_loader(data, train=False, workers=workers)
    for _ in range(2):
        batches = list(loader)
        assert [batch.numbers.tolist() for batch in batches] == [[0, 1, 3]] and len(batches[0].images) == 3
        assert batches[0].labels.tolist() == [0, 1, 3]
    (record,) = [r for r in caplog.records if "cannot be decoded" in r.getMessage()]  # not in the second epoch again
    assert "5 of 8 pictures cannot be decoded and are left out: the picture" in record.getMessage()
    assert "2.png" in record.getMessage() and "\n" not in record.getMessage()


def test_training_fills_the_places_of_what_cannot_be_decoded(tmp_path, picture_writer):
    data = damaged(tmp_path, picture_writer, "skip")
    batches = list(damaged_loader(data, train=True, workers=0))
    assert [len(batch.images) for batch in batches] == [4, 4]
    numbers = [number for batch in batches for number in batch.numbers.tolist()]
    assert set(numbers) == {0, 1, 3, 4, 6, 7}
    for batch in batches:
        assert batch.numbers.tolist() == batch.labels.tolist()


@pytest.mark.parametrize("good", [0, 1, 2, 3])
def test_training_has_as_many_batches_if_nothing_is_left_of_some(tmp_path, picture_writer, good):
    data = damaged(tmp_path, picture_writer, "skip", count=4, bad={0, 1, 2, 3} - {good})
    batches = list(damaged_loader(data, train=True, workers=0, batch_size=1))
    assert [batch.numbers.tolist() for batch in batches] == [[good]] * 4  # wherever the order has it
    assert [len(batch.images) for batch in damaged_loader(data, train=False, workers=0, batch_size=1)] == [1]


@pytest.mark.parametrize("train", [False, True])
def test_pictures_none_of_which_can_be_decoded_are_an_error(tmp_path, picture_writer, train):
    data = damaged(tmp_path, picture_writer, "skip", count=2, bad=(0, 1))
    with pytest.raises(DataError, match="none of the pictures can be decoded"):
        list(damaged_loader(data, train=train, workers=0))


def test_the_note_counts_the_pictures_of_all_processes(tmp_path, picture_writer, caplog):
    data = damaged(tmp_path, picture_writer, "skip", bad=(0, 2, 3, 4, 6))  # rank 0 has none that can be decoded
    shares: list = [None, None]

    def gather(items):
        shares[rank] = items
        return [item for share in shares if share for item in share]

    for rank in (1, 0):
        loader = build_loader(data, batch_size=4, train=False, device=torch.device("cpu"), rank=rank, world_size=2,
                              mean=(0.5,) * 3, std=(0.5,) * 3, gather=gather)  # fmt: skip
        caplog.clear()
        assert [n for batch in loader for n in batch.numbers.tolist()] == [[], [1, 5, 7]][rank]
    assert "5 of 8 pictures cannot be decoded and are left out" in caplog.text


def test_the_policy_for_bad_pictures_is_kept_by_copies(tmp_path, picture_writer):
    data = damaged(tmp_path, picture_writer, "skip")
    assert data.sample(3, seed=0).bad_images == data.plain().bad_images == "skip"


def test_workers_that_cannot_be_started_are_one_line(monkeypatch):
    loader = DeviceLoader(
        SimpleNamespace(num_workers=2), None, device=torch.device("cpu"), mean=torch.zeros(3), std=torch.ones(3)
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def start(loader):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("dataset.loaders.iter", start, raising=False)
    with pytest.raises(DataError, match=r"--num_workers 2: .* cannot be started \(Permission denied\); give .* or 0"):
        loader._start()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


PROGRAM = """
import numpy as np, torch
from dataset import Listing
from dataset.loaders import build_loader
from dataset.pictures import PictureDataset
data = PictureDataset(Listing(np.zeros((8, 8, 8), np.uint8), [0] * 8, ["a", "b"]), img_size=(8, 8), in_chans=1,
                      num_classes=2)
loader = build_loader(data, batch_size=4, train=False, device=torch.device("cpu"), mean=(0.5,), std=(0.5,),
                      num_workers=2)
print(sum(len(batch.labels) for batch in loader))
"""


def test_a_program_of_a_user_ends_silently_with_its_workers(as_user, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = as_user(f"python {tmp_path / 'program.py'}", PYTHONPATH=str(Path(__file__).parents[2]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "8\n", "")
