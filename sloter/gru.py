"""The element-wise part of a GRU cell (Cho et al. 2014), with its gradient written out.

The cell of torch wants state and input of each row of a batch; here the state of the first update is one for all
pictures, and the products are made outside. Written out, the backward pass has a third of the steps that autograd would
take, and keeps four tensors instead of nine.
"""

from typing import Any

import torch
from torch import Tensor


class _GRUGates(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, recurrent: Tensor, state: Tensor) -> Tensor:
        d = state.shape[-1]
        reset_update = (inputs[..., : 2 * d] + recurrent[..., : 2 * d]).sigmoid_()  # (b, k, 2d)
        reset, update = reset_update.split(d, -1)
        kept = recurrent[..., 2 * d :]
        # tanh(x) = 2 sigmoid(2x) - 1, which a CPU computes five times as fast.
        new = torch.addcmul(inputs[..., 2 * d :], reset, kept).mul_(2).sigmoid_().mul_(2).sub_(1)  # (b, k, d)
        ctx.save_for_backward(reset_update, new, kept, state)
        return torch.lerp(new, state.expand_as(new), update)  # (b, k, d)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = gradients
        reset_update, new, kept, state = ctx.saved_tensors
        d = state.shape[-1]
        reset, update = reset_update.split(d, -1)
        to_state = gradient * update
        to_inputs = gradient.new_empty((*gradient.shape[:-1], 3 * d))  # (b, k, 3d), filled piece by piece
        to_both, to_new = to_inputs[..., : 2 * d], to_inputs[..., 2 * d :]
        torch.ops.aten.tanh_backward.grad_input(gradient - to_state, new, grad_input=to_new)
        torch.mul(to_new, kept, out=to_both[..., :d])
        torch.mul(gradient, state - new, out=to_both[..., d:])
        torch.ops.aten.sigmoid_backward.grad_input(to_both, reset_update, grad_input=to_both)
        to_recurrent = to_inputs.clone()  # (b, k, 3d)
        to_recurrent[..., 2 * d :] *= reset
        if state.ndim < to_state.ndim:  # one state for all pictures
            to_recurrent, to_state = to_recurrent.sum(0), to_state.sum(0)
        return to_inputs, to_recurrent, to_state


def gru_gates(inputs: Tensor, recurrent: Tensor, state: Tensor) -> Tensor:
    """The next state of a GRU cell, whose gates are reset, update and new, in the order of ``torch.nn.GRUCell``.

    Args:
        inputs: (b, k, 3d), ``W_i x + b_i``.
        recurrent: (b, k, 3d), ``W_h h + b_h``, or (k, 3d), the same for all pictures.
        state: (b, k, d), ``h``, or (k, d).

    Returns:
        (b, k, d).
    """
    return _GRUGates.apply(inputs, recurrent, state)
