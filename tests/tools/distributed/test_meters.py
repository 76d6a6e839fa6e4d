import pytest
import torch

from tools.distributed.meters import SampleMeans


def test_means_are_over_samples():
    meter = SampleMeans(("a", "b"), torch.device("cpu"))
    meter.add({"a": torch.tensor(6.0), "b": torch.tensor(2)}, 3)
    meter.add({"a": torch.tensor(4.0), "b": torch.tensor(0), "ignored": torch.tensor(1)}, 1)
    assert meter.local() == {"a": pytest.approx(2.5), "b": 0.5}
    assert meter.compute() == ({"a": 2.5, "b": 0.5}, 4)
