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
    cache_pictures([data], workers=workers, free=3 * GIB)
    loader = batches(data, workers)
    assert torch.equal(torch.cat([batch.images for batch in loader]), expected)
    assert data.cache.filled.all()  # by the workers, in memory shared with this process
    data.cache.pixels[:] = 255 - data.cache.pixels  # visible to all that read the cache
    torch.testing.assert_close(torch.cat([batch.images for batch in loader]), 1 - expected)


def test_a_cache_that_does_not_fit_is_an_error_with_sizes():
    data = pictures(count=1000, img_size=(1024, 1024))
    with pytest.raises(DataError, match=r"take 2.0 GiB in 2 processes, more than half of the 3.0 GiB that are free"):
        cache_pictures([data], workers=0, free=3 * GIB, copies=2)
    assert data.cache is None
    cache_pictures([data], workers=0, free=3 * GIB)  # 1.0 GiB, never touched


def test_the_caches_of_all_datasets_are_added_up():
    sets = [pictures(count=1000, img_size=(1024, 1024)) for _ in range(2)]
    with pytest.raises(DataError, match=r"take 2\.0 GiB, more than half"):
        cache_pictures(sets, workers=0, free=3 * GIB)


def test_shared_memory_has_its_own_limit(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 64 * 2**20}))
    shared = cache.free_shared_memory()
    data = pictures(count=100, img_size=(1024, 1024))
    with pytest.raises(DataError, match=r"more than the 64.0 MiB of .*, which workers share; enlarge it"):
        cache_pictures([data], workers=2, free=3 * GIB, shared=shared)
    cache_pictures([data], workers=0, free=3 * GIB, shared=shared)
    monkeypatch.setattr(cache, "SHARED_MEMORY", tmp_path / "missing")
    assert cache.free_shared_memory() is None
