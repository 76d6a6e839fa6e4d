"""Maps, models and explainers that the tests of several metrics share."""

import pytest
import torch
from torch import nn

from dataset.loaders import Batch
from engine.explain.metrics.subject import Subject
from engine.explain.settings import MetricSettings


@pytest.fixture
def half_map():
    """Builds a map (1, size, size) that marks the left half."""

    def build(size=8):
        maps = torch.zeros(1, size, size)
        maps[:, :, : size // 2] = 1
        return maps

    return build


@pytest.fixture
def network():
    """Builds a small convolutional classifier of four classes."""

    def build():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
        )

    return build


CLASSES, SIZE = 9, 12


class Planted:
    """A classifier whose decision is known, and pictures for it.

    A picture of class c has channel c at 1 in its left half; its right half is noise in 9 other channels, which the
    trained weights ignore. A logit is ten times the mean of its channel.
    """

    box = torch.tensor([[0.0, 0, SIZE / 2, SIZE]])

    def __init__(self):
        self.model = nn.Conv2d(2 * CLASSES, CLASSES, 1, bias=False).requires_grad_(False)
        self.model.weight.zero_()
        self.model.weight[:, :CLASSES, 0, 0] = 10 * torch.eye(CLASSES)
        self.labels = torch.arange(2 * CLASSES) % CLASSES
        generator = torch.manual_seed(0)
        self.images = torch.zeros(len(self.labels), 2 * CLASSES, SIZE, SIZE)
        for image, label in zip(self.images, self.labels.tolist(), strict=True):
            image[label, :, : SIZE // 2] = 1
            image[CLASSES:, :, SIZE // 2 :] = torch.rand(CLASSES, SIZE, SIZE // 2, generator=generator)

    def logits(self, images):
        return self.model(images).mean((2, 3))

    def truth(self, images, targets):
        """The explainer that knows what the model does."""
        maps = self.model(images)  # (b, c, H, W)
        return maps.gather(1, targets[:, :, None, None].expand(-1, -1, *maps.shape[2:]))

    def constant(self, images, targets):
        return torch.ones(*targets.shape, *images.shape[2:])

    def nothing(self, images, targets):
        return torch.zeros(*targets.shape, *images.shape[2:])

    def subject(self, explainer, **changes):
        numbers = torch.arange(len(self.labels))
        parts = zip(self.images.split(5), self.labels.split(5), numbers.split(5), strict=True)
        fields = {
            "explainer": explainer, "rebuild": lambda pictures: explainer, "logits": self.logits, "module": self.model,
            "class_weights": [self.model.weight], "loader": [Batch(*part) for part in parts],
            "pictures": lambda chosen: self.images[chosen], "explained": None, "title": "test",
            "settings": MetricSettings(steps=4, infidelity_samples=4, sensitivity_samples=2, blur_sigma=1),
            "batch_size": 8, **changes,
        }  # fmt: skip
        return Subject(**fields)


@pytest.fixture
def planted():
    return Planted()
