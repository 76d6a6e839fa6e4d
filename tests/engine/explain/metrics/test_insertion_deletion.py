import pytest
import torch
from torch import nn
from torchcam.methods import CAM
from torchcam.metrics import DeletionInsertionMetric

from engine.explain.metrics.insertion_deletion import insertion_deletion, replacement_curve


class Mean(nn.Module):
    """Classifier of two classes: the logit of class 1 is ten times the mean of the picture, that of class 0 is zero."""

    def forward(self, images):
        return torch.stack([torch.zeros(len(images)), 10 * images.mean((1, 2, 3))], 1)


def test_insertion_and_deletion_by_hand(half_map):
    # White on the marked left half: after half of the pixels nothing changes any more.
    images = half_map()[:, None].expand(1, 3, 8, 8)
    classes = torch.tensor([[1, 0]])
    steps = 64
    _, deletion = insertion_deletion(Mean(), images, half_map(), classes, steps=steps)
    left = torch.tensor([10 * max(0.5 - k / 64, 0) for k in range(steps + 1)])
    expected = torch.trapezoid(left.sigmoid(), dx=1 / steps)
    assert deletion[0, 0].item() == pytest.approx(expected.item(), abs=1e-6)
    assert deletion[0, 1].item() == pytest.approx(1 - expected.item(), abs=1e-6)
    # The blurred start has the same mean except at the border: the class is as likely all along.
    insertion, _ = insertion_deletion(Mean(), torch.ones_like(images), half_map(), classes, steps=steps)
    assert insertion[0, 0].item() == pytest.approx(torch.tensor(10.0).sigmoid().item(), abs=1e-5)


def test_the_right_order_beats_the_wrong_one_and_chance_is_between(half_map):
    images = half_map()[:, None].expand(1, 3, 8, 8)
    noise = torch.rand(1, 8, 8, generator=torch.manual_seed(0))
    scores = [
        torch.stack(insertion_deletion(Mean(), images, maps, torch.tensor([[1]])))[:, 0, 0].tolist()
        for maps in (half_map(), noise, -half_map())
    ]
    insertions, deletions = zip(*scores, strict=True)
    assert insertions[0] > insertions[1] > insertions[2] and deletions[0] < deletions[1] < deletions[2]


def test_a_uniform_map_takes_pixels_in_reading_order():
    images = torch.ones(1, 3, 8, 8)
    fractions, p = replacement_curve(
        Mean(), images, torch.zeros_like(images), torch.ones(1, 8, 8), torch.tensor([[1]]), steps=4, batch_size=2
    )
    torch.testing.assert_close(fractions, torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=fractions.dtype))
    torch.testing.assert_close(p[0, 0], (10 * (1 - torch.tensor([0, 0.25, 0.5, 0.75, 1.0]))).sigmoid())


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_deletion_and_insertion_agree_with_torchcam(batch_size, network):
    model = network().eval()
    images, classes = torch.randn(3, 3, 20, 20), torch.tensor([0, 2, 3])
    with CAM(model, "1", "4") as extractor:
        metric = DeletionInsertionMetric(extractor, lambda out: out.softmax(-1), steps=20)
        metric.update(images, classes.tolist())
        model(images)
        maps = extractor(classes.tolist())[0]
    theirs = metric.summary()
    start = torch.zeros_like(images)
    ours = []
    for first, last in ((start, images), (images, start)):
        fractions, p = replacement_curve(model, first, last, maps, classes[:, None], steps=20, batch_size=batch_size)
        ours.append(torch.trapezoid(p, fractions.float(), dim=2).mean().item())
    assert ours == pytest.approx([theirs["insertion_auc"], theirs["deletion_auc"]], abs=1e-5)
