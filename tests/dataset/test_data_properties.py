"""What holds of orders, batches and boxes whatever the sizes, the processes and how the camera was held."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from dataset import Listing
from dataset.boxes import boxes_in_frame
from dataset.loaders import EpochSampler, build_loader
from dataset.pictures import PictureDataset

QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=60)
SMALL, WORLD = st.integers(1, 40), st.integers(1, 5)


def shares(size, world, *, shuffle, seed=0, epoch=0, skip=0):
    """What each process gets: pairs of a sample and the seed of its augmentation."""
    found = []
    for rank in range(world):
        sampler = EpochSampler(size, shuffle=shuffle, seed=seed, rank=rank, world_size=world)
        sampler.epoch, sampler.skip = epoch, skip
        found.append(list(sampler))
        assert len(sampler) == len(found[-1])
    return found


def merged(parts):
    """The shares of processes as one order: the first of each, the second of each, and so on."""
    longest = max(map(len, parts))
    return [part[i] for i in range(longest) for part in parts if i < len(part)]


@QUICK
@given(SMALL, WORLD)
def test_in_order_every_sample_is_somewhere_once(size, world):
    parts = shares(size, world, shuffle=False)
    assert [index for index, _ in merged(parts)] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@QUICK
@given(SMALL, WORLD, st.integers(0, 5), st.integers(0, 5))
def test_shuffled_the_shares_are_equal_disjoint_and_of_one_order(size, world, seed, epoch):
    parts = shares(size, world, shuffle=True, seed=seed, epoch=epoch)
    (whole,) = shares(size, 1, shuffle=True, seed=seed, epoch=epoch)
    assert sorted(index for index, _ in whole) == list(range(size))
    assert {len(part) for part in parts} == {size // world}
    assert merged(parts) == whole[: size // world * world]  # seeds of augmentation included


@QUICK
@given(SMALL, st.integers(1, 8), WORLD, WORLD, st.integers(0, 5), st.data())
def test_a_resumed_epoch_goes_on_behind_what_was_done_with_any_processes(size, batch, before, after, epoch, data):
    steps = data.draw(st.integers(0, size // before // batch), "steps")
    done = [part[: steps * batch] for part in shares(size, before, shuffle=True, epoch=epoch)]
    skip = before * batch * steps
    assert sum(map(len, done)) == skip
    rest = shares(size, after, shuffle=True, epoch=epoch, skip=skip)
    (whole,) = shares(size, 1, shuffle=True, epoch=epoch)
    count = (size - skip) // after
    assert {len(part) for part in rest} == {count}
    assert merged(rest) == whole[skip : skip + count * after]
    assert merged(done) == whole[:skip]


@QUICK
@given(st.integers(20, 60), st.tuples(*4 * [st.integers(0, 8)]))
def test_each_seed_and_epoch_has_an_order_and_an_augmentation_of_its_own(size, drawn):
    first, second = drawn[:2], drawn[2:]
    (one,), (other,) = (shares(size, 1, shuffle=True, seed=seed, epoch=epoch) for seed, epoch in (first, second))
    assert ([i for i, _ in one] == [i for i, _ in other]) == (first == second)
    assert (dict(one) == dict(other)) == (first == second)
    assert len({seed for _, seed in one}) == size


@QUICK
@given(SMALL, st.integers(1, 9), WORLD, st.booleans())
def test_batches_have_every_picture_once_and_with_its_own_label(size, batch, world, train):
    # The grey of a picture is its number, from which its label follows.
    pixels = np.arange(size, dtype=np.uint8)[:, None, None].repeat(16, 1).reshape(size, 4, 4)
    labels = [(7 * number) % 5 for number in range(size)]
    data = PictureDataset(
        Listing(pixels, labels, [str(c) for c in range(5)]), img_size=(4, 4), in_chans=1, num_classes=5
    )
    if train and size < world:
        return  # nothing to share, which is told
    seen, found = [], {}
    for rank in range(world):
        loader = build_loader(
            data, batch_size=batch, train=train, device=torch.device("cpu"), mean=(0.5,), std=(0.25,), rank=rank,
            world_size=world,
        )  # fmt: skip
        batches = list(loader)
        assert len(loader) == len(batches)
        share = size // world
        if train:  # whole batches alone, or all of it as one
            sizes = [batch] * (share // batch) if share >= batch else [share]
            assert [len(part.labels) for part in batches] == sizes
        for part in batches:
            numbers = part.numbers.tolist()
            seen += numbers
            assert part.labels.tolist() == [labels[number] for number in numbers]
            grey = (part.images.mean((1, 2, 3)) * 0.25 + 0.5) * 255
            found |= dict(zip(numbers, grey.tolist(), strict=True))
    assert len(set(seen)) == len(seen)
    assert train or sorted(seen) == list(range(size))
    assert found == {number: pytest.approx(number, abs=1e-3) for number in seen}


def drawn_boxes(boxes, size):
    """The edges of what each box covers of a picture of this (width, height), None where that is nothing."""
    for left, top, right, bottom in boxes:
        pixels = np.zeros(size[::-1], np.uint8)
        pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 255
        yield pixels if pixels.any() else None


@pytest.mark.parametrize("orientation", range(1, 9))
@settings(QUICK, max_examples=20)
@given(
    st.tuples(st.integers(2, 30), st.integers(2, 30)),
    st.lists(st.tuples(*2 * [st.integers(-5, 35)], *2 * [st.integers(1, 20)]), min_size=1, max_size=3),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.booleans(),
)
def test_boxes_lie_where_a_drawn_one_does_once_the_picture_is_upright(
    tmp_path_factory, orientation, size, drawn, factors, as_file
):
    boxes = [(left, top, left + width, top + height) for left, top, width, height in drawn]
    expected, img_size = [], None
    for pixels in drawn_boxes(boxes, size):
        picture = Image.fromarray(np.zeros(size[::-1], np.uint8) if pixels is None else pixels)
        picture.getexif()[ExifTags.Base.Orientation] = orientation
        upright = np.asarray(ImageOps.exif_transpose(picture)).repeat(factors[0], 0).repeat(factors[1], 1)
        img_size = upright.shape
        rows, columns = np.nonzero(upright)
        if len(rows):
            expected.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    if as_file:
        path = tmp_path_factory.mktemp("boxes") / "a.xml"
        fields = ("xmin", "ymin", "xmax", "ymax")
        objects = ["".join(f"<{f}>{v}</{f}>" for f, v in zip(fields, box, strict=True)) for box in boxes]
        path.write_text(
            f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>"
            + "".join(f"<object><bndbox>{text}</bndbox></object>" for text in objects)
            + "</annotation>"
        )
        # The file brings its own size, whatever the picture that is at hand.
        found = boxes_in_frame(path, stored_size=(1, 1), orientation=orientation, img_size=img_size)
    else:
        found = torch.cat([
            boxes_in_frame(box, stored_size=size, orientation=orientation, img_size=img_size) for box in boxes
        ])  # fmt: skip
    np.testing.assert_allclose(found.numpy(), np.reshape(expected, (-1, 4)), atol=1e-4)
