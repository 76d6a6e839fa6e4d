import pytest
import timm
import torch
from torch import nn

from engine.explain.metrics.exchange import class_weights, exchanged, random_state, state_of
from sloter.slot_model import build_model
from tools import ToolError


def small():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    model.train()(torch.randn(8, 3, 4, 4))  # batch norm now has statistics
    model.scale = nn.Parameter(torch.tensor(7.0))
    model.slots = nn.Parameter(10 + torch.randn(40, 30))
    return model


def test_values_are_exchanged_in_place_and_come_back_after_an_error():
    model = small()
    before = [tensor.clone() for tensor in state_of(model)]
    places = [tensor.data_ptr() for tensor in state_of(model)]
    with pytest.raises(ArithmeticError), exchanged(state_of(model), [torch.zeros_like(own) for own in before]):
        assert all((tensor == 0).all() for tensor in state_of(model))
        raise ArithmeticError("broken")
    assert all(torch.equal(one, two) for one, two in zip(before, state_of(model), strict=True))
    assert [tensor.data_ptr() for tensor in state_of(model)] == places
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_autocast_computes_with_the_exchanged_values():
    model, images = small().eval(), torch.randn(2, 3, 4, 4, generator=torch.manual_seed(0))
    values = random_state(model, seed=0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = model(images)  # autocast keeps copies of the weights in bfloat16
        with exchanged(state_of(model), values):
            inside = model(images)
        after = model(images)
    with torch.no_grad(), exchanged(state_of(model), values):
        expected = model(images)
    assert torch.equal(before, after) and not torch.allclose(expected, before.float(), rtol=0.1)
    torch.testing.assert_close(inside.float(), expected, rtol=0.05, atol=0.05)


def test_the_random_state_is_one_of_an_untrained_model():
    model = small()
    before, random = [tensor.clone() for tensor in state_of(model)], torch.get_rng_state()
    values = dict(zip([id(tensor) for tensor in state_of(model)], random_state(model, seed=1), strict=True))
    assert all(torch.equal(one, two) for one, two in zip(before, state_of(model), strict=True))
    assert torch.equal(torch.get_rng_state(), random)
    for parameter in (model[0].weight, model[3].weight, model[3].bias, model.slots):
        assert not torch.equal(values[id(parameter)], parameter)
    assert (values[id(model[1].running_mean)] == 0).all() and (model[1].running_mean != 0).all()
    assert values[id(model.slots)].mean().item() == pytest.approx(10, abs=0.2)
    assert values[id(model.scale)] == 7
    again, other = random_state(model, seed=1), random_state(model, seed=2)
    assert all(torch.equal(one, two) for one, two in zip(values.values(), again, strict=True))
    assert not torch.equal(other[1], again[1])  # the slots


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_class_weights_are_those_of_the_classifier(name):
    model = timm.create_model(name, num_classes=7)
    (weights,) = class_weights(model, 7)
    assert weights is model.get_classifier().weight and weights.shape[0] == 7
    with pytest.raises(ToolError, match=r"has no weights of single classes.*leave it out of --metrics"):
        class_weights(model, 6)


def test_a_slot_model_changes_with_its_random_state():
    model = build_model(backbone="test_resnet", num_classes=3, img_size=(32, 32), out_stage=2).eval()
    image = torch.randn(1, 3, 32, 32)
    before = model(image).logits
    with exchanged(state_of(model), random_state(model, seed=0)):
        assert not torch.allclose(model(image).logits, before)
    assert torch.equal(model(image).logits, before)
