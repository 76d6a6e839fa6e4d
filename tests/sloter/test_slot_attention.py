import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from sloter.config import SlotConfig
from sloter.loss import ScouterLoss
from sloter.slot_attention import EqualValue, PaperNormaliser, QKNormaliser, SlotAttention
from sloter.slot_model import SlotOutput
from tools.original_checkpoint import published_state_dict


def example(attention, *, c=3, s=2, d=8, n=15, b=2, **options):
    torch.manual_seed(0)
    module = SlotAttention(c, s, d, attention=attention, num_positions=n, **options)
    values = torch.rand(b, n, d)
    return module, values + torch.randn(b, n, d), values


def arguments_of(normaliser, slots, keys):
    """Arguments of the sigmoid, (b, k, n)."""
    keys = normaliser.keys(keys)
    return normaliser.shift(normaliser.queries(slots, keys.sum(1, keepdim=True)) @ keys.transpose(1, 2))


def naive(module, keys_in, values, attention):
    """Compute the equations for one picture, slot and place at a time."""
    keys = module.to_k(keys_in)
    b, n, d = values.shape
    k = len(module.initial_slots)
    evidence, maps = torch.zeros(b, k), torch.zeros(b, k, n)
    for i in range(b):
        slots = [module.initial_slots[j] for j in range(k)]
        for iteration in range(module.iters):
            z = torch.zeros(k, n)
            for j in range(k):
                for p in range(n):
                    if attention == "paper":
                        z[j, p] = torch.dot(slots[j], keys[i, p]) / math.sqrt(d)
                    else:
                        z[j, p] = F.cosine_similarity(slots[j], keys[i, p], dim=0) * module.normaliser.log_scale.exp()
                        z[j, p] += module.normaliser.bias
            if attention == "paper":
                z = torch.stack([z[j] / z[j].sum() * z.sum() for j in range(k)])
            a = torch.sigmoid(z)
            updates = [sum(a[j, p] * values[i, p] for p in range(n)) / d for j in range(k)]
            if iteration < module.iters - 1:
                slots = [module.gru(updates[j][None], slots[j][None])[0] for j in range(k)]
        maps[i] = a
        evidence[i] = torch.stack([u.sum() for u in updates])
    s = module.slots_per_class
    return evidence.view(b, -1, s).sum(2), maps.view(b, -1, s, n)


@pytest.mark.parametrize("attention", ["paper", "qknorm"])
@pytest.mark.parametrize(("iters", "to_k_layers"), [(1, 1), (3, 3)])
def test_agrees_with_a_naive_loop(attention, iters, to_k_layers):
    module, keys_in, values = example(attention, iters=iters, to_k_layers=to_k_layers)
    evidence, attn, _ = module(keys_in, values)
    expected_evidence, expected_attn = naive(module, keys_in, values, attention)
    torch.testing.assert_close(evidence, expected_evidence, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attn, expected_attn, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["a", "b"])
def test_agrees_with_the_published_module(golden, case):
    c, s, d, sign, power, layers, iters = golden[f"{case}/cfg"].tolist()
    prefix = f"{case}/sd/"
    published = {f"slot.{k.removeprefix(prefix)}": torch.from_numpy(v) for k, v in golden.items() if prefix in k}
    module = SlotAttention(c, s, d, iters=iters, to_k_layers=layers)
    module.load_state_dict({k.removeprefix("slot."): v for k, v in published_state_dict(published).items()})
    evidence, attn, _ = module(torch.from_numpy(golden[f"{case}/x_pe"]), torch.from_numpy(golden[f"{case}/x"]))
    logits, area_loss = sign * evidence, attn.mean() ** power
    (logits.logsumexp(1).sum() + area_loss).backward()
    for ours, theirs in (
        (logits, golden[f"{case}/logits"]),
        (area_loss, golden[f"{case}/loss"]),
        (module.initial_slots.grad, golden[f"{case}/grad_slots"][0]),
    ):
        theirs = torch.as_tensor(theirs)
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("attention", ["paper", "qknorm"])
@pytest.mark.parametrize("value_weighting", ["mean", "equal"])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_maps_sum_to_the_evidence(attention, value_weighting, autocast):
    module, keys_in, values = example(attention, c=5, s=3, d=64, n=35, to_k_layers=2, value_weighting=value_weighting)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        evidence, attn, weight = module(keys_in, values)
    assert evidence.dtype == torch.float32
    assert evidence.shape == (2, 5) and attn.shape == (2, 5, 3, 35) and weight.shape == (2, 35)
    torch.testing.assert_close((attn.sum(2) * weight[:, None]).sum(-1), evidence, rtol=1e-5, atol=1e-6)
    assert evidence.min() >= 0 and attn.min() >= 0 and attn.max() <= 1


@pytest.mark.parametrize("attention", ["paper", "qknorm"])
def test_half_precision_moves_the_evidence_a_little(attention):
    module, keys_in, values = example(attention, c=5, s=3, d=64, n=35)
    exact = module(keys_in, values)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = module(keys_in, values)[0]
    assert not torch.equal(near, exact) and (near - exact).abs().max() < 0.03 * exact.max()
    with torch.autocast("cpu", dtype=torch.float16):  # would overflow where the published normaliser does not
        assert torch.equal(module(keys_in, values)[0], exact)


@pytest.mark.parametrize(("attention", "value_weighting"), [("paper", "mean"), ("qknorm", "mean"), ("qknorm", "equal")])
@pytest.mark.parametrize("iters", [1, 3])
@pytest.mark.parametrize("reference", ["none", "min"])
def test_every_parameter_receives_a_finite_gradient(attention, value_weighting, iters, reference):
    module, keys_in, values = example(
        attention, iters=iters, to_k_layers=2, value_weighting=value_weighting, reference=reference
    )
    evidence, attn, _ = module(keys_in, values)
    (evidence.square().sum() + attn.mean()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_batch_equals_its_single_pictures():
    module, keys_in, values = example("paper", b=4)
    together = module(keys_in, values)[0]
    alone = torch.cat([module(keys_in[i : i + 1], values[i : i + 1])[0] for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_there_are_no_unused_parameters():
    assert not any(name.startswith("gru") for name, _ in SlotAttention(3, 1, 8, iters=1).named_parameters())
    # slots 64 * k, to_k 3 * 64 * 65, GRU 3 * 2 * (64 * 64 + 64)
    module = SlotAttention(10, 3, 64, to_k_layers=3)
    assert sum(p.numel() for p in module.parameters()) == 64 * 30 + 12_480 + 24_960


@pytest.mark.parametrize("keys", ["opposite", "zero"])
def test_paper_attention_is_finite_where_products_sum_to_zero(keys):
    arguments_for = partial(arguments_of, PaperNormaliser(4, None, SlotConfig()))
    slots = torch.ones(1, 2, 4, requires_grad=True)
    row = torch.ones(4) if keys == "opposite" else torch.zeros(4)
    arguments = arguments_for(slots, torch.stack([row, -row])[None])
    attn = arguments.sigmoid()
    attn.sum().backward()
    assert attn.isfinite().all() and slots.grad.isfinite().all()


def test_paper_normalisation_by_hand():
    arguments_for = partial(arguments_of, PaperNormaliser(4, None, SlotConfig()))
    slots = torch.tensor([[[2.0, 0, 0, 0], [0, -4.0, 0, 0]]])
    keys = torch.tensor([[[1.0, 1, 0, 0], [3.0, 0, 0, 0]]])
    # Z = [[1, 3], [-2, 0]] with 1/sqrt(4); row sums 4 and -2, total 2
    expected = torch.tensor([[[1 / 4 * 2, 3 / 4 * 2], [-2 / -2 * 2, 0.0]]])
    torch.testing.assert_close(arguments_for(slots, keys), expected)


@pytest.mark.parametrize("logit_scale", [10.0, 4.0])
def test_qknorm_starts_at_its_scale_and_minus_log_n(logit_scale):
    arguments_for = partial(arguments_of, QKNormaliser(4, 50, SlotConfig(logit_scale=logit_scale)))
    slots, keys = torch.tensor([[[3.0, 0, 0, 0]]]), torch.tensor([[[0.5, 0, 0, 0], [0, 7.0, 0, 0]]])
    expected = torch.tensor([[[logit_scale - math.log(50), -math.log(50)]]])
    torch.testing.assert_close(arguments_for(slots, keys), expected)


def test_equal_value_weighting():
    weighting = EqualValue(3.0)(torch.rand(2, 5, 8))
    torch.testing.assert_close(weighting, torch.full((2, 5), 3.0))
    module, keys_in, values = example("qknorm", value_weighting="equal", iters=1)
    evidence, attn, _ = module(keys_in, values)
    torch.testing.assert_close(evidence, 128 * attn.sum((2, 3)))


def reference_by_hand(sums, kind):
    """Reference of the sums of the classes at one place, from a sorted list."""
    ordered = sorted(sums, reverse=True)
    return {"min": ordered[-1], "mean": sum(sums) / len(sums), "quantile": ordered[1]}[kind]  # of 4 classes: the second


@pytest.mark.parametrize("kind", ["min", "mean", "quantile"])
@pytest.mark.parametrize("s", [1, 3])
@pytest.mark.parametrize(("attention", "value_weighting"), [("paper", "mean"), ("qknorm", "mean"), ("qknorm", "equal")])
@pytest.mark.parametrize("salient", [False, True])
def test_the_reference_lowers_the_evidence_of_every_class_alike(s, attention, value_weighting, salient, kind):
    module, keys_in, values = example(attention, c=4, s=s, value_weighting=value_weighting, iters=3)
    module.eval()
    salience = torch.rand(2, 15) if salient else None
    evidence, attn, _ = module(keys_in, values, salience)
    module.reference = kind
    lowered, relative, weight = module(keys_in, values, salience)
    reduction = evidence - lowered  # (b, c)
    torch.testing.assert_close(reduction, reduction[:, :1].expand(-1, 4), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(lowered, (relative.sum(2) * weight[:, None]).sum(-1), rtol=1e-5, atol=1e-6)
    for p in range(15):  # iterations before the last have no reference, or the attention would differ
        shared = reference_by_hand(attn[1, :, :, p].sum(1).tolist(), kind)
        torch.testing.assert_close(relative[1, :, :, p], attn[1, :, :, p] - shared / s)


def test_the_reference_changes_no_probability_and_no_gradient_of_the_loss():
    gradients = {}
    for kind in ("none", "min", "mean", "quantile"):
        module, keys_in, values = example("qknorm", c=5, s=2, value_weighting="equal", iters=1, reference=kind)
        module.eval()
        evidence, attn, weight = module(keys_in, values)
        output = SlotOutput(evidence, attn.unflatten(3, (3, 5)), weight.unflatten(1, (3, 5)))
        criterion = ScouterLoss(lambda_value=3, power=1.5, absent_weight=0.7, relative=True)
        loss = criterion(output, torch.tensor([0, 3]))["loss"]
        gradients[kind] = torch.autograd.grad(loss, module.initial_slots)[0]
        probabilities = evidence.softmax(1).detach()
        if kind == "none":
            expected = loss.detach(), probabilities
        torch.testing.assert_close((loss.detach(), probabilities), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradients[kind], gradients["none"], rtol=1e-4, atol=1e-6)
    assert gradients["none"].abs().sum() > 0


def test_training_subtracts_no_reference():
    module, keys_in, values = example("qknorm", c=5, s=2, iters=1, reference="quantile")
    trained = module.train()(keys_in, values)[1].sum(2)  # (b, c, n)
    shown = module.eval()(keys_in, values)[1].sum(2)
    module.reference = "none"
    torch.testing.assert_close(trained, module(keys_in, values)[1].sum(2), rtol=0, atol=0)
    torch.testing.assert_close(shown.sort(1, descending=True).values[:, 1], torch.zeros(2, 15))  # the second largest
    torch.testing.assert_close(trained - trained[:, :1], shown - shown[:, :1])


def test_training_in_bfloat16_keeps_the_identity_and_its_gradients():
    module, keys_in, values = example("qknorm", c=5, s=2, iters=1, value_weighting="equal")
    module.train()
    found = {}
    for low in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            evidence, attn, weight = module(keys_in, values)
        assert attn.dtype == evidence.dtype == torch.float32
        torch.testing.assert_close(evidence, (attn.sum(2) * weight[:, None]).sum(-1), rtol=1e-6, atol=1e-6)
        (gradient,) = torch.autograd.grad(evidence.square().sum(), module.initial_slots)
        found[low] = torch.cat([attn.detach().flatten(), (gradient / gradient.abs().max()).flatten()])
    assert not torch.equal(found[True], found[False])  # its products are rounded,
    torch.testing.assert_close(found[True], found[False], rtol=0.05, atol=0.01)  # to eight binary digits
    module.eval()
    exact = module(keys_in, values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(map(torch.equal, module(keys_in, values), exact))  # evaluation rounds nothing


def test_without_a_key_layer_there_are_no_key_parameters():
    module = SlotAttention(3, 1, 8, iters=1, to_k_layers=0, attention="qknorm", num_positions=4)
    assert {name for name, _ in module.named_parameters()} == {
        "initial_slots",
        "normaliser.log_scale",
        "normaliser.bias",
    }


def test_initial_slots_are_spread_around_a_common_mean():
    torch.manual_seed(1)
    slots = SlotAttention(2000, 1, 64).initial_slots.detach()
    # mu ~ N(0, 1) and sigma ~ |N(0, 1)|, each drawn once a channel: both vary over the channels.
    assert slots.mean(0).std() == pytest.approx(1.0, abs=0.25)
    assert slots.std(0).mean() == pytest.approx(math.sqrt(2 / math.pi), abs=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "softmax"}, "unknown attention 'softmax': choose one of paper, qknorm"),
        ({"attention": "qknorm"}, "needs num_positions"),
        ({"iters": 0}, "iters must be at least 1"),
        ({"value_weighting": "large"}, "unknown value_weighting 'large': choose one of mean, equal"),
    ],
)
def test_wrong_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        SlotAttention(3, 1, 8, **options)


def test_one_product_for_all_pictures_in_training_gives_the_attention_and_the_gradients_of_one_for_each():
    torch.manual_seed(0)
    slot = SlotAttention(7, 2, 16, num_positions=9, iters=1, to_k_layers=0, attention="qknorm")
    found = []
    for mode in (True, False):
        slot.train(mode).zero_grad()
        values = torch.rand(3, 9, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        evidence, attn, _ = slot(values, values)
        (evidence.logsumexp(1).sum() + attn.square().sum()).backward()
        found.append([evidence, attn, values.grad, slot.initial_slots.grad.clone()])
    for training, evaluation in zip(*found, strict=True):
        torch.testing.assert_close(training, evaluation, atol=1e-6, rtol=1e-5)
