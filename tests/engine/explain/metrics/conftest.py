"""A map and a model that the tests of several metrics share."""

import pytest
import torch
from torch import nn


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
