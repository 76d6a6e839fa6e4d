"""Compilation of a model for batches of one size (``--compile``)."""

from itertools import count

import torch
from torch import Tensor, nn

from sloter.slot_model import SlotOutput

# torch compiles the forward function, which all models share, for at most 8 graphs and runs the rest uncompiled.
MODELS_BEFORE_RESET = 4  # of two graphs each, such as those of a sweep over numbers of classes
_models = count(1)


class CompiledModel(nn.Module):
    """Model that ``torch.compile`` compiles once for training and once for evaluation.

    Another size of a batch would be compiled again, which takes a minute. A batch of evaluation that is smaller than an
    earlier one, such as the last of a split, is therefore filled up with zeros; batches of training have one size. The
    model itself stays as it is: a direct call, for example to draw the maps of a few pictures, compiles nothing.

    Args:
        model: a classifier that returns a :class:`SlotOutput`, in :attr:`module`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if next(_models) % MODELS_BEFORE_RESET == 0:
            torch.compiler.reset()
        self.module = model
        self.compiled = torch.compile(model.forward, dynamic=False)
        self.largest = 0  # number of pictures of the largest batch of evaluation so far

    def forward(self, images: Tensor) -> SlotOutput:  # (b, ch, H, W)
        """Compute the output of a batch."""
        if self.training:
            return self.compiled(images)
        self.largest = max(self.largest, len(images))
        missing = self.largest - len(images)
        if not missing:
            return self.compiled(images)
        # With the same strides, since another memory format would be compiled again, too.
        filled = images.new_empty_strided((self.largest, *images.shape[1:]), images.stride())
        filled[:-missing], filled[-missing:] = images, 0
        logits, *maps = self.compiled(filled)
        return SlotOutput(logits[:-missing], *(None if part is None else part[:-missing] for part in maps))
