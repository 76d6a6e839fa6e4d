from types import SimpleNamespace

import pytest
import torch

from engine.least_similar import least_similar_by_features
from tools import ToolError


def test_the_least_similar_class_by_features():
    features = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 1, 0.2], [0, 0.9, 0.3]])
    labels = torch.tensor([0, 1, 2, 2])
    loader = [SimpleNamespace(images=features[i : i + 2, :, None, None], labels=labels[i : i + 2]) for i in (0, 2)]
    # The last of 4 classes has no picture: it is the least similar class of none.
    assert least_similar_by_features(lambda images: images, loader, 4)[:3] == [2, 2, 0]
    with pytest.raises(ToolError, match=r"of one class, .* --lsc FILE"):
        least_similar_by_features(lambda images: images, loader[1:], 4)
