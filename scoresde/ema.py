"""An exponential moving average of a model's weights."""

import copy
from typing import Generic, TypeVar, cast

import torch
from torch import nn

__all__ = ["EMA"]


M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    """θ̄ ← d θ̄ + (1 − d) θ, with d = min(decay, (1 + k)/(10 + k)) at the k-th update, so that the start is forgotten.

    Args:
        model: what is averaged, as it changes; ``ema.model`` is the average, in eval mode, without gradients, and
            ``ema.weights`` are its parameters.
        decay: in [0, 1).

    Source: Song et al. 2021, appendix H.1 and the warm-up of its code; Polyak & Juditsky 1992.
    """

    def __init__(self, model: M, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        # walked through once, not at every step; lists of tensors are lists of numbers to the kernel's signature
        self.weights, self._current = (cast(list[torch.Tensor], list(m.parameters())) for m in (self.model, model))
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self, count: int) -> None:
        """Move towards the model's weights; ``count`` updates have been made before. Buffers are copied."""
        share = 1 - min(self.decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(self.weights, self._current, share)
        for kept, buffer in self._buffers:
            kept.copy_(buffer)
