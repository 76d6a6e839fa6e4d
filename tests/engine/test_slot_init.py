from typing import NamedTuple

import pytest
import torch

from engine.slot_init import set_class_means


class Batch(NamedTuple):
    images: torch.Tensor
    labels: torch.Tensor


class Model(torch.nn.Module):
    """Model whose keys are its pictures, doubled in training mode."""

    def mean_keys(self, images):
        return images * (2 if self.training else 1)

    def start_slots(self, means, counts):
        self.means, self.counts = means, counts


def test_means_are_over_the_pictures_of_a_class_for_any_batches():
    model = Model()
    batches = [
        Batch(torch.tensor([[1.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 2])),
        Batch(torch.tensor([[3.0, 0.0]]), torch.tensor([0])),
    ]
    set_class_means(model, batches, num_classes=4)
    assert model.means.tolist() == [[2.0, 0.0], [0.0, 0.0], [0.0, 4.0], [0.0, 0.0]]
    assert model.counts.tolist() == [2, 0, 1, 0] and model.training


def test_the_means_carry_no_gradient():
    model = Model()
    images = torch.ones(1, 2, requires_grad=True)
    set_class_means(model, [Batch(images, torch.tensor([0]))], num_classes=1)
    assert not model.means.requires_grad and model.means[0].tolist() == pytest.approx([1, 1])
