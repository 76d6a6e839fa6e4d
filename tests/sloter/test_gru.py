import pytest
import torch

from sloter.gru import gru_gates
from sloter.slot_attention import SlotAttention


def cell_and_example(*, b=2, k=3, d=4, shared=False):
    torch.manual_seed(0)
    cell = torch.nn.GRUCell(d, d).double()
    inputs = torch.randn(b, k, d, dtype=torch.float64)
    state = torch.randn((k, d) if shared else (b, k, d), dtype=torch.float64)
    return cell, inputs, state


@pytest.mark.parametrize("shared", [False, True])
def test_agrees_with_torchs_cell(shared):
    cell, inputs, state = cell_and_example(shared=shared)
    ours = gru_gates(
        inputs @ cell.weight_ih.T + cell.bias_ih, state @ cell.weight_hh.T + cell.bias_hh, state
    )  # fmt: skip
    theirs = cell(inputs.flatten(0, 1), state.expand_as(inputs).flatten(0, 1)).view_as(inputs)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shared", [False, True])
def test_its_gradient_agrees_with_finite_differences(shared):
    _, _, state = cell_and_example(shared=shared)
    gates = torch.randn(2, 3, 12, dtype=torch.float64, requires_grad=True)
    recurrent = torch.randn(*state.shape[:-1], 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gru_gates, (gates, recurrent, state.requires_grad_()))


@pytest.mark.parametrize("shared", [False, True])
def test_without_gradients_the_bits_are_the_same(shared):
    _, _, state = cell_and_example(shared=shared)
    gates, recurrent = torch.randn(2, 3, 12), torch.randn(*state.shape[:-1], 12)
    with_gradients = gru_gates(gates, recurrent, state.float())
    with torch.no_grad():
        assert gru_gates(gates, recurrent, state.float()).equal(with_gradients)


def kept_for_backward(c, *, b):
    """Bytes that a forward pass of the head stores for the backward pass."""
    sizes = {}

    def keep(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        held.append(tensor)
        return tensor

    held = []
    head = SlotAttention(c, 1, 64, to_k_layers=3)
    values = torch.rand(b, 81, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        head(values, values)
    return sum(sizes.values())


def test_memory_grows_linearly_with_the_slots_by_a_known_amount():
    one, two, three = (kept_for_backward(c, b=4) for c in (200, 400, 600))
    assert three - two == pytest.approx(two - one, rel=1e-3)
    # Floats per slot and picture: the attention of three iterations, that of the last one also summed over the slots of
    # a class; gates, state, query and update of two updates.
    assert (two - one) / (200 * 4) / 4 < 4 * 81 + 18 * 64
