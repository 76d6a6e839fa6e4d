import numpy as np
import pytest
import torch

from dataset import DataError, Listing, cache
from dataset.cache import cache_pictures
from dataset.loaders import build_loader
from dataset.pictures import PictureDataset

GIB = 2**30


def pictures(count=6, img_size=(8, 8)):
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4), dtype=np.uint8)
    return PictureDataset(Listing(images, [0] * count, ["a"]), img_size=img_size, in_chans=1, num_classes=1)


def batches(data, workers):
    return build_loader(
        data, batch_size=2, train=False, device=torch.device("cpu"), mean=(0.0,), std=(1.0,), num_workers=workers
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_is_resized_once_and_stays_the_same(workers):
    data = pictures()
    expected = torch.cat([batch.images for batch in batches(data, 0)])
    cache_pictures([data], workers=workers)
    loader = batches(data, workers)
    assert torch.equal(torch.cat([batch.images for batch in loader]), expected)
    assert data.cache.filled.all()  # by the workers, in memory shared with this process
    data.cache.pixels[:] = 255 - data.cache.pixels  # visible to all that read the cache
    torch.testing.assert_close(torch.cat([batch.images for batch in loader]), 1 - expected)


def test_a_cache_that_does_not_fit_is_an_error_with_sizes(monkeypatch):
    monkeypatch.setattr(cache, "free_memory", lambda: 3 * GIB)
    data = pictures(count=1000, img_size=(1024, 1024))
    with pytest.raises(DataError, match=r"take 2.0 GiB in 2 processes, more than half of the 3.0 GiB that are free"):
        cache_pictures([data], workers=0, copies=2)
    assert data.cache is None
    cache_pictures([data], workers=0)  # 1.0 GiB, never touched


def test_the_caches_of_all_datasets_are_added_up(monkeypatch):
    monkeypatch.setattr(cache, "free_memory", lambda: 3 * GIB)
    sets = [pictures(count=1000, img_size=(1024, 1024)) for _ in range(2)]
    with pytest.raises(DataError, match=r"take 2\.0 GiB, more than half"):
        cache_pictures(sets, workers=0)


def test_shared_memory_has_its_own_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 64 * 2**20}))
    data = pictures(count=100, img_size=(1024, 1024))
    with pytest.raises(DataError, match=r"more than the 64.0 MiB of .*, which workers share; enlarge it"):
        cache_pictures([data], workers=2)
    cache_pictures([data], workers=0)


def limited(folder, limit, used, cached, *, version=2):
    """Memory files of a control group."""
    names = ("max", "current") if version == 2 else ("limit_in_bytes", "usage_in_bytes")
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / f"memory.{name}").write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{'' if version == 2 else 'total_'}inactive_file {cached}\n")


@pytest.mark.parametrize(
    ("own", "group", "version"),
    [("0::/job/step/task", "", 2), ("0::/job/step/task", "job/step/task", 2), ("0::/job/step/task", "job", 2),
     ("5:cpuset:/other\n4:memory:/job/step", "memory/job", 1)],
)  # fmt: skip
def test_the_free_memory_of_a_job_is_below_the_limits_of_its_control_groups(monkeypatch, tmp_path, own, group, version):
    monkeypatch.setattr("tools.control_groups.CGROUPS", tmp_path)
    monkeypatch.setattr("tools.control_groups.OWN_GROUPS", tmp_path / "own")
    (tmp_path / "own").write_text(own)
    limited(tmp_path / group, 5_000_000, 3_000_000, 1_000_000, version=version)
    assert cache.free_memory() == 3_000_000  # the memory of cached files can be freed
    limited(tmp_path / group, "max", 3_000_000, 0)
    limited(tmp_path / "another", 1_000_000, 0, 0)
    (tmp_path / group / "memory.limit_in_bytes").unlink(missing_ok=True)
    assert cache.free_memory() > 3_000_000
