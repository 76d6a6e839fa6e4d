import pytest
import torch

from studies.head_study.features import Features
from studies.head_study.flags import HEADS
from studies.head_study.heads import SLOT_HEADS, build_head
from studies.head_study.insertion import Scorer
from studies.head_study.train import FeatureLoader, Setting, maps_of, measure_maps, train_head

CPU = torch.device("cpu")


def features(count, *, seed):
    """Three classes, told by the channel that is strong at one of nine places."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    maps = 0.3 * torch.rand(count, 9, 16, generator=generator)
    place = torch.randint(9, (count,), generator=generator)
    maps[torch.arange(count), place, labels] += 4
    boxes = [torch.tensor([[x, y, x + 8, y + 8]]) for x, y in zip(place % 3 * 8, place // 3 * 8, strict=True)]
    return Features(maps.half(), labels, [box.float() for box in boxes], (3, 3), (24, 24), 3)


def build(name, sign=1):
    torch.manual_seed(0)
    return build_head(name, f=16, grid=(3, 3), num_classes=3, sign=sign, changes={})[0].eval()


@pytest.mark.parametrize("name", SLOT_HEADS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_maps_of_slot_heads_are_their_score(name, sign):
    output = build(name, sign)(torch.rand(2, 16, 3, 3))
    evidence = (output.attn.sum(2) * output.values[:, None]).sum((2, 3))
    torch.testing.assert_close(output.logits, sign * evidence)


@pytest.mark.parametrize("name", ["linear", "baseline"])
def test_the_maps_of_the_others_are_the_positive_part_of_their_score(name):
    head, images = build(name), torch.rand(2, 16, 3, 3)
    head.classifier.weight.data.abs_()
    torch.testing.assert_close(head.maps(images).mean((2, 3)) + head.classifier.bias, head(images).logits)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_learns_what_is_easy_and_looks_at_it(name):
    setting = Setting(name, lr=3e-3, epochs=12, batch_size=16, changes={"hidden_dim": 64} if name == "direct" else {})
    head, figures = train_head(features(240, seed=0), features(60, seed=1), setting, CPU)
    if name != "paper":  # which is fragile
        assert figures["top1"] > 0.9 and figures["stable"]
    assert 0 <= figures["area"] <= 1 and 0 <= figures["precision"] <= 1
    if name in ("linear", "baseline", "direct"):
        assert figures["precision"] > 0.3  # a map that is the same everywhere has 1 / 9
    assert maps_of(head, torch.rand(2, 16, 3, 3)).shape == (2, 3, 3, 3)


def test_features_are_batched_whole_and_in_order_to_evaluate():
    data = features(10, seed=0)
    in_order = list(FeatureLoader(data, batch_size=4, shuffle=False, seed=0, device=CPU))
    assert [len(batch.labels) for batch in in_order] == [4, 4, 2]
    torch.testing.assert_close(in_order[1].images[0, :, 1, 2], data.maps[4, 5].float())
    shuffled = list(FeatureLoader(data, batch_size=4, shuffle=True, seed=0, device=CPU))
    assert [len(batch.labels) for batch in shuffled] == [4, 4]


class Corner:
    """A source of black pictures with a white corner."""

    labels, num_classes, img_size = [0, 0], 3, (24, 24)

    def pixels(self, index):
        picture = torch.zeros(3, 24, 24, dtype=torch.uint8)
        picture[:, :8, :8] = 255
        return picture


class Pool(torch.nn.Module):
    def forward_features(self, images):
        return torch.nn.functional.avg_pool2d(images[:, :1], 8).expand(-1, 16, -1, -1)


def test_insertion_runs_from_the_pixels_on():
    head = build("linear")
    head.classifier.weight.data.zero_()
    head.classifier.weight.data[0] = 1.0  # the brighter, the more it is class 0
    scores = Scorer(Pool(), Corner(), statistics={"mean": (0.0,) * 3, "std": (1.0,) * 3}, images=2, device=CPU)(head)
    # its map is the corner, which, put in first, makes the class likely at once, and taken out first unlikely
    assert scores["iauc"] > scores["dauc"]


class Fixed(torch.nn.Module):
    """A head that always finds these maps."""

    def __init__(self, maps):
        super().__init__()
        self.found = torch.tensor(maps)

    def maps(self, features):
        return self.found.expand(len(features), -1, -1, -1)


def test_maps_are_alike_as_far_as_the_true_classs_lies_where_the_others_do():
    data = Features(torch.rand(2, 2, 4), torch.zeros(2, dtype=torch.long), None, (1, 2), (2, 4), 3)
    for own, cosine in (([3.0, 0.0], 0.6), ([0.0, 2.0], 0.8), ([3.0, 4.0], 1.0)):
        head = Fixed([[own], [[2.0, 4.0]], [[4.0, 4.0]]])  # the others' mean is (3, 4)
        assert measure_maps(head, data, CPU, negative=False)["alike"] == pytest.approx(cosine)
