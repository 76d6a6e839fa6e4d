import pickle

import numpy as np
import pytest
import torch
from PIL import Image

import args
from dataset.transforms import BATCH_POLICIES, POLICIES, augmentation, batch_mixing, resized


@pytest.mark.parametrize("size", [(7, 9), (64, 48), (20, 30)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_resizing_agrees_with_pillow(size, mode):
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).convert(mode)
    expected = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR), dtype=int)
    found = resized(picture, size)
    assert found.dtype == torch.uint8 and found.shape == (len(mode), *size)
    assert np.abs(found.permute(1, 2, 0).numpy().reshape(expected.shape).astype(int) - expected).max() <= 1


def test_the_flag_lists_all_policies():
    assert (*POLICIES, *BATCH_POLICIES) == args.AUG_POLICIES


@pytest.mark.parametrize("channels", [1, 3])
def test_true_is_the_augmentation_of_the_published_code(channels):
    stored = torch.randint(256, (60, 40, channels), dtype=torch.uint8, generator=torch.manual_seed(0))
    image, changed = stored.permute(2, 0, 1), 0
    for seed in range(60):
        found = [(torch.manual_seed(seed), augmentation(augment=kind)(image))[1] for kind in (True, "paper")]
        assert torch.equal(*found) and found[0].dtype == torch.uint8 and found[0].shape == image.shape
        changed += not torch.equal(found[0], image)
    assert 48 < changed < 60  # all but 1 in 16


def test_an_augmentation_can_be_sent_to_workers_that_are_not_forked():
    change = augmentation(augment=True, policies=["trivial", "erasing"])
    image = torch.randint(256, (3, 24, 20), dtype=torch.uint8)
    results = [(torch.manual_seed(3), c(image))[1] for c in (change, pickle.loads(pickle.dumps(change)))]
    assert torch.equal(*results)


@pytest.mark.parametrize("channels", [1, 3])
def test_trivial_augment_changes_pictures_and_keeps_their_form(channels):
    image = torch.randint(256, (channels, 24, 20), dtype=torch.uint8, generator=torch.manual_seed(0))
    before, change = image.clone(), augmentation(augment=True, policies=["trivial"])
    outcomes = [change(image) for _ in range(20)]
    assert all(out.shape == image.shape and out.dtype == torch.uint8 for out in outcomes)
    assert len({out.numpy().tobytes() for out in outcomes}) > 10
    assert torch.equal(image, before)  # it may belong to the cache


def test_erasing_blackens_one_rectangle_of_a_quarter_of_the_pictures():
    torch.manual_seed(0)
    white, change = (
        torch.full((3, 40, 40), 255, dtype=torch.uint8),
        augmentation(augment=False, policies=["erasing"]),
    )
    erased = [out for out in (change(white) for _ in range(400)) if out.min() == 0]
    assert 70 < len(erased) < 130
    for out in erased[:20]:
        hole = (out == 0).all(0)
        rows, columns = hole.any(1), hole.any(0)
        assert hole.sum() == rows.sum() * columns.sum() == (out == 0).sum() / 3
    assert (white == 255).all()


@pytest.mark.parametrize("policy", ["mixup", "cutmix"])
def test_mixed_labels_are_the_shares_of_the_pictures(policy):
    torch.manual_seed(0)
    labels = torch.tensor([2, 0, 1, 3])
    images = labels.float().view(4, 1, 1, 1).expand(4, 3, 16, 16)  # a picture is its class everywhere
    for _ in range(20):
        mixed, shares = batch_mixing([policy], 5)(images, labels)
        torch.testing.assert_close(shares.sum(1), torch.ones(4))
        torch.testing.assert_close(mixed.mean((1, 2, 3)), shares @ torch.arange(5.0))


def test_mixup_and_cutmix_together_alternate_at_random():
    torch.manual_seed(0)
    images, labels = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16), torch.arange(4)
    mixing = batch_mixing(["mixup", "cutmix"], 4)
    # Only mixup makes values between those of the pictures.
    kinds = [bool((mixing(images, labels)[0] % 1).any()) for _ in range(40)]
    assert 8 < sum(kinds) < 32


def test_without_a_mixing_policy_there_is_no_mixing():
    assert batch_mixing([], 3) is None and batch_mixing(["trivial"], 3) is None


@pytest.mark.parametrize("make", [lambda n: augmentation(augment=False, policies=n), lambda n: batch_mixing(n, 3)])
def test_an_unknown_policy_is_named_with_the_known_ones(make):
    with pytest.raises(ValueError, match="unknown augmentation 'rand': choose one of trivial, erasing, mixup, cutmix"):
        make(["rand"])
