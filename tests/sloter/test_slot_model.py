import pytest
import torch

from sloter import ModelError
from sloter.loss import ScouterLoss
from sloter.slot_model import build_model, feature_salience


def tiny(**options):
    torch.manual_seed(0)
    config = {"backbone": "test_resnet", "num_classes": 5, "in_chans": 1, "img_size": (64, 96), "slots_per_class": 2}
    return build_model(**{**config, **options})


@pytest.mark.parametrize("attention", ["paper", "qknorm"])
@pytest.mark.parametrize("loss_status", [1, -1])
def test_the_maps_sum_to_the_logits(attention, loss_status):
    model = tiny(attention=attention, loss_status=loss_status, out_stage=3).eval()
    output = model(torch.randn(3, 1, 64, 96))
    assert output.attn.shape == (3, 5, 2, 4, 6) and output.values.shape == (3, 4, 6)
    summed = loss_status * (output.attn.sum(2) * output.values[:, None]).sum((-2, -1))
    torch.testing.assert_close(summed, output.logits, rtol=1e-5, atol=1e-6)
    assert (output.logits * loss_status >= 0).all() and output.logits.abs().sum() > 0


@pytest.mark.parametrize("attention", ["paper", "qknorm"])
@pytest.mark.parametrize("loss_status", [1, -1])
def test_every_trainable_parameter_receives_a_finite_gradient(attention, loss_status):
    model = tiny(attention=attention, loss_status=loss_status, to_k_layers=3)
    output = model(torch.randn(4, 1, 64, 96))
    loss = torch.nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 2, 3])) + output.attn.mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_a_picture_of_another_size_has_its_own_grid():
    model = tiny(attention="qknorm", out_stage=2).eval()
    assert model(torch.randn(1, 1, 64, 96)).attn.shape[-2:] == (8, 12)
    assert model(torch.randn(1, 1, 48, 80)).attn.shape[-2:] == (6, 10)


def test_the_plain_classifier_gives_logits_only():
    output = tiny(use_slot=False)(torch.randn(2, 1, 64, 96))
    assert output.logits.shape == (2, 5) and output.attn is None and output.values is None


def test_exact_parameter_counts_of_the_paper():
    model = build_model(backbone="resnest26d", num_classes=10, slots_per_class=3, to_k_layers=3, img_size=(64, 64))
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(model.backbone) == 15_020_448
    assert count(model.conv1x1) == 131_136
    assert model.slot.initial_slots.numel() == 64 * 30
    assert count(model.slot.to_k) == 12_480
    assert count(model.slot.gru) == 24_960


def test_the_published_grid_at_260_pixels_is_9x9():
    model = build_model(backbone="resnet18", num_classes=2, slots_per_class=1, img_size=(260, 260))
    assert model.position.shape == (1, 64, 9, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_size": (32, 32)}, "--img_size 32x32 is too small: this backbone makes a grid of 1x1 places"),
        ({"backbone": "resnet81"}, "unknown model 'resnet81': did you mean resnet18"),
        ({"backbone": "resnet18.b9"}, "unknown weights 'b9' of 'resnet18': choose one of a1_in1k, a2_in1k"),
        ({"backbone": "test_resnet.b9"}, "unknown weights 'b9' of 'test_resnet': choose one of r160_in1k"),
        ({"out_stage": 5}, "there is no stage 5"),
    ],
)
def test_a_model_that_cannot_be_built_is_an_error(options, message):
    with pytest.raises(ModelError, match=message):
        tiny(**options)


def test_state_dict_names_are_those_of_the_published_code():
    names = set(tiny(to_k_layers=2).state_dict())
    assert {"backbone.conv1.0.weight", "conv1x1.weight", "slot.initial_slots", "slot.to_k.0.weight"} <= names
    assert {"slot.to_k.2.bias", "slot.gru.weight_ih"} <= names
    assert not any("position" in name or "to_q" in name for name in names)


DIRECT = {"attention": "qknorm", "value_weighting": "equal", "position": "none", "to_k_layers": 0, "iters": 1,
          "hidden_dim": 32, "salience": 3.0, "logit_scale": 4.0, "reference": "min"}  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
def test_slots_start_at_the_difference_of_their_class_from_the_mean(sign):
    model = tiny(**DIRECT, loss_status=sign, slots_per_class=1)
    before = model.slot.initial_slots.detach().clone()
    means = torch.randn(5, 32)
    model.start_slots(means, torch.tensor([3, 1, 0, 2, 2]))  # no picture of class 2
    slots, known = model.slot.initial_slots.detach(), torch.tensor([0, 1, 3, 4])
    difference = sign * (means - means[known].mean(0))
    cosine = torch.nn.functional.cosine_similarity(slots, difference, dim=1)
    torch.testing.assert_close(cosine[known], torch.ones(4))
    assert torch.equal(slots[2], before[2]) and model.slot.initial_slots.requires_grad


def test_several_slots_of_a_class_start_similar_but_not_equal():
    model = tiny(**DIRECT, slots_per_class=2)
    model.start_slots(torch.randn(5, 32), torch.ones(5))
    one, two = model.slot.initial_slots.detach().view(5, 2, 32).unbind(1)
    cosine = torch.nn.functional.cosine_similarity(one, two, dim=1)
    assert (cosine > 0.3).all() and (cosine < 0.99).all()


def test_dropout_drops_whole_channels_in_training_only():
    model = tiny(**DIRECT, dropout=0.5)
    dropped = model.dropout(torch.ones(2, 48, 3, 3))
    assert all(len(channel.unique()) == 1 for channel in dropped.flatten(0, 1)) and 0 in dropped
    assert torch.equal(model.eval().dropout(torch.ones(2, 48, 3, 3)), torch.ones(2, 48, 3, 3))


def test_without_position_encoding_logits_do_not_depend_on_the_place():
    features = torch.rand(1, 48, 4, 6)
    turned = features.flip(2, 3)
    for position, alike in (("none", True), ("sine", False)):
        model = tiny(**{**DIRECT, "position": position}, out_stage=2).eval()
        logits, other = (model.explain_features(x).logits for x in (features, turned))
        assert torch.allclose(logits, other, atol=1e-5) == alike


def test_salience_by_hand():
    features = torch.zeros(2, 2, 1, 3)
    features[0, :, 0, 0], features[0, :, 0, 1] = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 10.0])  # lengths 5, 10, 0
    expected = torch.tensor([[0.125, 1.0, 0.0], [0.0, 0.0, 0.0]])  # (5 / 10) ** 3; a picture without features
    torch.testing.assert_close(feature_salience(features, 3.0), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(feature_salience(7 * features, 1.0)[0], torch.tensor([0.5, 1.0, 0.0]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("power", [0.5, 3.0])
def test_salience_of_places_without_features_has_a_finite_gradient(power):
    features = torch.zeros(2, 4, 2, 2)
    features[0, :, 0, 0] = 1.0
    features.requires_grad_()
    feature_salience(features, power).sum().backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("iters", [1, 3])
def test_salience_scales_attention_and_the_maps_still_sum_to_the_logits(iters):
    features = torch.rand(2, 48, 3, 3)
    features[:, :, 0, 0] = 0.0
    model = tiny(**{**DIRECT, "iters": iters}, out_stage=2, loss_status=-1).eval()
    logits, attn, values = model.explain_features(features)
    torch.testing.assert_close(logits, -(attn.sum(2) * values[:, None]).sum((2, 3)), rtol=1e-5, atol=1e-6)
    # Where there are features, all classes except the smallest are above the reference.
    assert attn[..., 0, 0].max() < 1e-6 < attn[..., 1, 1].sum(2).sort(1).values[:, 1:].min()
    if iters == 1:
        model.salience = 0.0
        whole = model.explain_features(features).attn
        salience = feature_salience(features, 3.0).view(2, 1, 1, 3, 3)
        torch.testing.assert_close(attn, whole * salience)


def test_an_unknown_position_is_an_error():
    with pytest.raises(ValueError, match="unknown position 'learned': choose one of sine, none"):
        tiny(position="learned")


def test_the_slots_of_a_single_class_stay_random_and_finite():
    model = build_model(backbone="test_resnet", num_classes=2, img_size=(64, 64), slots_per_class=2, hidden_dim=8)
    before = model.slot.initial_slots.detach().clone()
    model.start_slots(torch.randn(2, 8), torch.tensor([5, 0]))  # the second class has no pictures
    assert torch.equal(model.slot.initial_slots, before)
    model.start_slots(torch.randn(2, 8), torch.tensor([5, 1]))
    assert model.slot.initial_slots.isfinite().all() and not torch.equal(model.slot.initial_slots, before)


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_direct_form_on_other_families_trains_and_splits_its_logits(backbone, sign):
    torch.manual_seed(0)
    options = {**DIRECT, "reference": "quantile", "loss_status": sign, "hidden_dim": 32, "slots_per_class": 2}
    model = build_model(backbone=backbone, num_classes=6, img_size=(160, 160), **options)
    criterion = ScouterLoss(lambda_value=1, power=1.5, absent_weight=0.3, relative=True, loss_status=sign)
    images = torch.randn(2, 3, 160, 160)
    criterion(model(images), torch.tensor([1, 4]))["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for n, p in model.named_parameters() if "slot" in n)
    output = model.eval()(images)
    why, why_not, common = model.parts(output)
    torch.testing.assert_close((why - why_not + common).sum((2, 3)), output.logits, rtol=1e-4, atol=1e-4)
    assert (why > 0).sum(1).amax() <= 1 and (why_not > 0).sum(1).amax() <= 1  # of 6 classes, the largest, the smallest
