import pytest
import torch

from studies.head_study.features import Features
from studies.head_study.flags import HEADS
from studies.head_study.heads import SLOT_HEADS, build_head, maps_of
from studies.head_study.insertion import InsertionDeletion
from studies.head_study.loader import FeatureLoader
from studies.head_study.measure import measure_maps, random_head
from studies.head_study.train import Setting, train_head

CPU = torch.device("cpu")


def features(count, *, seed):
    """Three classes, each with its own channel that is strong at one of nine places."""
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
def test_the_evidence_of_slot_heads_sums_to_the_logits(name, sign):
    output = build(name, sign)(torch.rand(2, 16, 3, 3))
    evidence = (output.attn.sum(2) * output.values[:, None]).sum((2, 3))
    torch.testing.assert_close(output.logits, sign * evidence)


@pytest.mark.parametrize("name", ["linear", "baseline"])
def test_the_maps_of_the_others_are_the_positive_part_of_their_logits(name):
    head, images = build(name), torch.rand(2, 16, 3, 3)
    head.classifier.weight.data.abs_()
    torch.testing.assert_close(maps_of(head, images).mean((2, 3)) + head.classifier.bias, head(images).logits)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_learns_an_easy_task_and_its_maps_find_the_object(name):
    setting = Setting(name, lr=3e-3, epochs=12, batch_size=16, changes={"hidden_dim": 64} if name == "direct" else {})
    head, metrics = train_head(features(240, seed=0), features(60, seed=1), setting, CPU)
    if name != "paper":  # which is fragile
        assert metrics["top1"] > 0.9 and metrics["stable"]
    assert 0 <= metrics["area"] <= 1 and 0 <= metrics["precision"] <= 1
    if name in ("linear", "baseline", "direct"):
        assert metrics["precision"] > 0.3  # a map that is the same everywhere has 1 / 9
    assert maps_of(head, torch.rand(2, 16, 3, 3)).shape == (2, 3, 3, 3)


def test_evaluation_batches_every_picture_in_order_and_training_whole_batches():
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


def test_insertion_changes_pixels_and_computes_their_features():
    head = build("linear")
    head.classifier.weight.data.zero_()
    head.classifier.weight.data[0] = 1.0  # the brighter, the more it is class 0
    statistics = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    scores = InsertionDeletion(Pool(), Corner(), statistics=statistics, images=2, device=CPU)(head)
    # its map is the corner: inserted first it makes the class likely at once, deleted first unlikely
    assert scores["iauc"] > scores["dauc"]


class Fixed(torch.nn.Module):
    """A head whose contributions are always these."""

    def __init__(self, maps):
        super().__init__()
        self.found, self.classifier = torch.tensor(maps), torch.nn.Linear(4, 3)

    def contributions(self, features):
        return self.found.expand(len(features), -1, -1, -1)


def test_alike_is_the_cosine_of_the_true_class_and_the_others():
    data = Features(torch.rand(2, 2, 4), torch.zeros(2, dtype=torch.long), None, (1, 2), (2, 4), 3)
    for own, cosine in (([3.0, 0.0], 0.6), ([0.0, 2.0], 0.8), ([3.0, 4.0], 1.0)):
        head = Fixed([[own], [[2.0, 4.0]], [[4.0, 4.0]]])  # the others' mean is (3, 4)
        assert measure_maps(head, data, CPU, negative=False)["alike"] == pytest.approx(cosine)


def test_empty_maps_and_evidence_against_absent_classes_are_measured():
    data = Features(torch.rand(2, 2, 4), torch.tensor([0, 1]), None, (1, 2), (2, 4), 3)
    found = measure_maps(Fixed([[[1.0, 0.0]], [[-3.0, -4.0]], [[-1.0, 0.0]]]), data, CPU, negative=False)
    assert found["empty"] == 0.5 and found["gini"] == pytest.approx(0.25)  # a single place of two has 1/2, no place 0
    # Against classes 1 and 2 on the first picture (3, 4) and (1, 0); on the second, 2 and 0, nothing is against 0.
    assert found["why_not_alike"] == pytest.approx(0.6 / 2)


class OfRow(torch.nn.Module):
    """A head whose map of a class is row c of its class weights or, if constant, always the same."""

    def __init__(self, constant):
        super().__init__()
        self.constant, self.classifier = constant, torch.nn.Linear(400, 3)

    def contributions(self, features):
        rows = torch.linspace(0, 1, 400).expand(3, -1) if self.constant else self.classifier.weight
        return rows.view(1, 3, 20, 20).expand(len(features), -1, -1, -1)


@pytest.mark.parametrize("constant", [True, False])
def test_the_random_head_check_finds_maps_that_ignore_the_weights(constant):
    torch.manual_seed(0)
    data = Features(torch.rand(4, 400, 2), torch.tensor([0, 1, 2, 0]), None, (20, 20), (20, 20), 3)
    head = OfRow(constant)
    before = head.classifier.weight.detach().clone()
    found = random_head(head, data, CPU)
    assert torch.equal(head.classifier.weight, before)
    assert found == pytest.approx(1.0) if constant else abs(found) < 0.1
