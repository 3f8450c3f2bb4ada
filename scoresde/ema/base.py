"""What an average of weights is: how much of it each step forgets."""

import copy
from abc import ABC, abstractmethod
from typing import Generic, TypeVar, cast

import torch
from torch import nn

__all__ = ["EMA", "Averaging"]

M = TypeVar("M", bound=nn.Module)


class Averaging(ABC):
    """How averages of the weights are kept."""

    @abstractmethod
    def decays(self, step: int, batch: int) -> tuple[float, ...]:
        """What each average keeps of itself in θ̄ ← d θ̄ + (1 − d) θ; the first is the one that is sampled from.

        Args:
            step: optimizer steps before this one, which has been taken.
            batch: samples a step.

        Returns:
            d in [0, 1] of each average, as many at every step.
        """


class EMA(Generic[M]):
    """Exponential moving averages of a model's weights.

    Args:
        model: what is averaged, as it changes; ``ema.models`` are the averages, in eval mode, without gradients,
            ``ema.model`` the first of them, and ``ema.weights`` the parameters of all.
        how: what each step forgets.

    Source: Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """

    def __init__(self, model: M, how: Averaging) -> None:
        self._how = how
        self.models = [copy.deepcopy(model).eval().requires_grad_(False) for _ in how.decays(0, 1)]
        self.model = self.models[0]
        # walked through once, not at every step; lists of tensors are lists of numbers to the kernel's signature
        self._current = cast(list[torch.Tensor], list(model.parameters()))
        self._averaged = [cast(list[torch.Tensor], list(each.parameters())) for each in self.models]
        self.weights = [weight for averaged in self._averaged for weight in averaged]
        self._buffers = [pair for each in self.models for pair in zip(each.buffers(), model.buffers(), strict=True)]

    @torch.no_grad()
    def update(self, step: int, batch: int) -> None:
        """Move towards the model's weights; ``step`` steps of ``batch`` samples came before. Buffers are copied."""
        for averaged, decay in zip(self._averaged, self._how.decays(step, batch), strict=True):
            torch._foreach_lerp_(averaged, self._current, 1 - decay)
        for kept, buffer in self._buffers:
            kept.copy_(buffer)
