import logging

import pytest
import timm
import torch

from engine.explain.metrics.grid_game import compose, draw_mosaics, grid_game, shares_of_own, takes
from engine.explain.settings import MetricSettings
from sloter.slot_model import build_model


def test_a_mosaic_is_arranged_row_by_row():
    pictures = torch.arange(4.0).view(4, 1, 1, 1).expand(-1, 2, 2, 3)
    mosaic = compose(pictures, 2, shrink=False)
    assert mosaic.shape == (1, 2, 4, 6)
    assert mosaic[0, 1].tolist() == 2 * [[0, 0, 0, 1, 1, 1]] + 2 * [[2, 2, 2, 3, 3, 3]]
    large = torch.arange(9.0).view(9, 1, 1, 1).expand(-1, 1, 12, 12)
    small = compose(large, 3, shrink=True)
    assert small.shape == (1, 1, 12, 12) and small[0, 0, 1::4, 1::4].flatten().tolist() == pytest.approx([*range(9)])


def test_the_share_of_a_map_on_its_own_picture_by_hand():
    maps = torch.zeros(4, 2, 2)
    maps[0] = torch.tensor([[3.0, 1], [0, 0]])  # 3 of 4 on tile 0
    maps[1] = torch.tensor([[1.0, -9], [0, 0]])  # none on tile 1; what is negative does not count
    maps[3] = torch.ones(2, 2)
    assert shares_of_own(maps, 2).tolist() == [0.75, 0, 0, 0.25]  # an empty map has 0
    # Of three columns the middle one belongs to both tiles by half: (2 + 4/2) of 2 + 4 + 1.
    row = torch.tensor([[2.0, 4, 1]]).expand(4, 3, 3)
    assert shares_of_own(row, 2).tolist() == pytest.approx([0.5 * 4 / 7, 0.5 * 3 / 7] * 2)


def test_mosaics_take_the_most_confident_pictures_and_all_classes_alike():
    # Class c has the pictures 10 c + 0 to 10 c + 3, the last one the most confident.
    confident = [(0.5 + 0.1 * i, c, 10 * c + i) for c in range(6) for i in range(4)]
    mosaics = draw_mosaics(confident, side=2, mosaics=500, seed=0)
    assert mosaics.shape == (6, 4)  # 24 pictures
    assert len(set(mosaics.flatten().tolist())) == 24
    for row in mosaics.tolist():
        assert len({number // 10 for number in row}) == 4
    for c in range(6):
        assert [n for n in mosaics.flatten().tolist() if n // 10 == c] == [10 * c + i for i in (3, 2, 1, 0)]
    assert torch.equal(draw_mosaics(confident, side=2, mosaics=2, seed=0), mosaics[:2])
    assert not torch.equal(draw_mosaics(confident, side=2, mosaics=6, seed=1), mosaics)
    assert draw_mosaics(confident, side=3, mosaics=5, seed=0).shape == (0, 9)


def test_only_pictures_that_are_classified_right_are_played_with(planted):
    planted.labels[:9] = (planted.labels[:9] + 1) % 9  # half of the pictures are wrong now
    records = grid_game(planted.subject(planted.truth))
    played = {record["number"] for record in records if len(record) > 1}
    assert played == set(range(9, 18))
    assert {record["number"] for record in records} == set(range(18))
    assert all(record["grid_3x3"] == 1 for record in records if "grid_3x3" in record)


def test_a_side_with_too_few_classes_is_left_out_with_a_note(planted, caplog):
    planted.labels[planted.labels > 4] = 4  # five classes are left
    with caplog.at_level(logging.WARNING):
        records = grid_game(planted.subject(planted.truth))
    assert "grid_3x3 is left out: it needs pictures of 9 classes that are classified right, and there are 5" in (
        caplog.text
    )
    assert any("grid_2x2" in record for record in records) and not any("grid_3x3" in record for record in records)


def test_empty_maps_of_a_negative_model_are_left_out(planted):
    def one(images, targets):  # a map of class 0 alone
        return torch.where(targets[..., None, None] == 0, planted.truth(images, targets), 0.0)

    both = planted.subject(one), planted.subject(one, explained=torch.arange(9).roll(1))
    positive, negative = ([record["grid_3x3"] for record in grid_game(own) if "grid_3x3" in record] for own in both)
    assert sorted(positive) == [0] * 16 + [1] * 2 and negative == [1, 1]


def test_a_model_of_one_size_gets_a_mosaic_of_that_size(planted, caplog):
    seen = []

    def fixed(images):
        assert images.shape[-2:] == (12, 12), "Input height doesn't match model"
        seen.append(images)
        return planted.logits(images)

    built = []

    def rebuild(pictures):
        built.append(next(iter(pictures)).images.shape)
        return planted.truth

    records = grid_game(planted.subject(planted.truth, logits=fixed, rebuild=rebuild))
    assert built == [(1, 18, 12, 12)] * 2
    assert "the model takes pictures of one size only" in caplog.text
    # Tiles of 6x6 and 4x4 pixels are mixed with their neighbours at the borders.
    assert min(record["grid_2x2"] for record in records if "grid_2x2" in record) > 0.7
    built.clear()
    grid_game(planted.subject(planted.truth, rebuild=rebuild))
    assert built == [(1, 18, 24, 24), (1, 18, 36, 36)]


def test_a_method_that_needs_pictures_gets_several_of_a_single_mosaic(planted):
    seen = []

    def rebuild(pictures):
        seen.extend(batch.images for batch in pictures)
        return planted.truth

    settings = MetricSettings(grid_mosaics=1)
    grid_game(planted.subject(planted.truth, rebuild=rebuild, settings=settings))
    assert [len(images) for images in seen] == [1] * 4  # two of 2x2, two of 3x3
    first, second = seen[:2]
    assert torch.equal(first[..., :12, :12], second[..., 12:, 12:]) and not torch.equal(first, second)


def test_which_models_take_a_larger_picture():
    large = torch.zeros(1, 3, 320, 320)
    taken = [
        takes(timm.create_model(name).eval(), large) for name in ("test_resnet", "test_vit", "vit_tiny_patch16_224")
    ]
    assert taken == [True, True, False]  # timm's test_vit interpolates its position embedding
    slots = {"num_classes": 3, "img_size": (32, 32), "backbone": "test_resnet", "out_stage": 2}
    assert takes(lambda images: build_model(**slots, position="sine")(images).logits, large)
