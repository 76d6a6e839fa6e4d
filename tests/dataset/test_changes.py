import pytest
import torch

from dataset.affine import AffineMap, affine_lines, affine_mapped
from dataset.blur import Blur, blur_bands, blurred
from dataset.changes import Change, change_pixels, changed, plan_changes, to_device
from dataset.paper_augmentation import draw_affine, draw_blur, draw_change

MAP = AffineMap(angle=10, scale=(0.8, 0.9), shift=(0.1, -0.05))


def noise(count, channels=3, height=33, width=40):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def drawn(count):
    """Change that is drawn for each seed."""
    return [(torch.manual_seed(seed), draw_change())[1] for seed in range(count)]


def assert_rounded_alike(found, expected):
    wrong = (found.int() - expected.int()).abs()
    assert wrong.max() <= 1 and (wrong > 0).float().mean() < 1e-3


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_changed_as_its_pictures_one_by_one(channels, form):
    pixels, changes = noise(60, channels).contiguous(memory_format=form), drawn(60)
    before = pixels.clone()
    plan = to_device(plan_changes(changes, (33, 40)), torch.device("cpu"))
    assert all(0 < len(step.pictures) < 60 for step in plan)
    found = change_pixels(pixels, plan)
    assert torch.equal(found, found.round())
    assert_rounded_alike(found, torch.stack([changed(*each) for each in zip(pixels, changes, strict=True)]))
    assert torch.equal(pixels, before)  # they may belong to a cache


def test_nothing_waits_for_the_device():
    """Tensors of the meta device have no values: whoever asked for one would raise."""
    meta = torch.device("meta")
    found = change_pixels(noise(60).to(meta), to_device(plan_changes(drawn(60), (33, 40)), meta))
    assert found.shape == (60, 3, 33, 40) and found.dtype == torch.float32 and found.device == meta


def in_drawn_order(pixels):
    """Draw as :func:`draw_change` does, and take each step (1, ch, H, W) where it is drawn."""
    for number in torch.randperm(4).tolist():
        if torch.rand(()) < 0.5:
            if number < 2:
                pixels = pixels.flip(3 - number)
            elif number == 2:
                pixels = affine_mapped(pixels, *affine_lines([draw_affine()], (33, 40)))
            elif blur := draw_blur():
                pixels = blurred(pixels, *blur_bands([blur], (33, 40)))
    return pixels


def test_steps_are_taken_as_in_the_drawn_order():
    pixels, kinds = noise(200), set()
    for seed, change in enumerate(drawn(200)):
        torch.manual_seed(seed)
        assert_rounded_alike(changed(pixels[seed], change), in_drawn_order(pixels[seed][None])[0])
        kinds.add(tuple(map(bool, change)))
    assert len(kinds) == 20  # sets of steps, of which the four with a blur and a map have two orders of these


def test_a_seed_draws_what_it_has_always_drawn():
    assert [tuple(map(bool, change)) for change in drawn(7)[3:]] == [
        (False, True, False, True, False), (False, False, False, True, True), (True, False, False, True, False),
        (False, True, True, False, False),
    ]  # fmt: skip
    angle, scale, shift = drawn(4)[3].affine
    assert angle == 10  # -10, and then mirrored by the flip
    assert scale == pytest.approx((0.8120232820510864, 0.9543731808662415))
    assert shift == pytest.approx((0.07436993718147278, -0.018884241580963135))
    assert drawn(7)[6].blur_before == (pytest.approx(2.0230090618133545), 7)


def test_a_flip_after_a_map_mirrors_it():
    change = Change().then_map(MAP)
    assert change.then_flip_left_right() == Change(left_right=True, affine=AffineMap(-10, (0.8, 0.9), (-0.1, -0.05)))
    assert change.then_flip_top_bottom() == Change(top_bottom=True, affine=AffineMap(-10, (0.8, 0.9), (0.1, 0.05)))
    assert Change().then_flip_left_right().then_map(MAP).affine == MAP
    pixels = noise(1)
    mapped = changed(pixels[0], change)
    assert_rounded_alike(changed(pixels[0], change.then_flip_left_right()), mapped.flip(-1))
    assert_rounded_alike(changed(pixels[0], change.then_flip_top_bottom()), mapped.flip(-2))


def test_a_blur_keeps_its_place_before_or_after_the_map():
    blur = Blur(1.5, 5)
    assert Change().then_blur(blur).then_map(MAP) == Change(blur_before=blur, affine=MAP)
    assert Change().then_map(MAP).then_blur(blur) == Change(affine=MAP, blur_after=blur)
    assert Change().then_blur(None) == Change()


def test_pictures_without_a_change_stay_as_they_are():
    pixels = noise(3)
    plan = plan_changes([Change(), Change(affine=MAP), Change(left_right=True)], (33, 40))
    found = change_pixels(pixels, plan)
    assert torch.equal(found[0], pixels[0].float()) and torch.equal(found[2], pixels[2].flip(-1).float())
    assert (found[1] != pixels[1]).any()
    assert torch.equal(changed(pixels[0], Change()), pixels[0])
    assert change_pixels(pixels, plan_changes([Change()] * 3, (33, 40))).dtype == torch.uint8
