"""Denoising score matching divided by the error that the network itself expects."""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from scoresde.errors import InputError
from scoresde.loss.base import Loss, denoising
from scoresde.loss.time.base import TimeSampler
from scoresde.loss.weighting.base import Weighting
from scoresde.noise import Noise
from scoresde.registry import nested
from scoresde.score import Cond, Denoiser

__all__ = ["Uncertain"]


@dataclass(frozen=True)
class Uncertain(Loss):
    """L/eᵘ + u, where L is the loss of `dsm` and u(t) the logarithm of L that a head of the network learns.

    At its optimum u = log E[L | t]: every noise level then pulls at the weights alike, however hard it is. It needs a
    network with such a head: ``model=edm2`` with ``model.logvar`` > 0.

    Args:
        weighting, time: as for denoising score matching.

    Source: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 2.1 and eq.
    21; Kendall & Gal 2017.
    """

    weighting: Weighting = nested("loss/weighting", "edm")
    time: TimeSampler = nested("loss/time", "log_normal")

    def __call__(self, model: Denoiser, x0: Tensor, noise: Noise, cond: Cond | None = None) -> Tensor:
        """The loss of each sample, shape (B,); see `Loss`."""
        if not hasattr(model.net, "log_variance"):
            name = type(model.net).__name__
            raise InputError(
                f"loss=uncertain needs a network that says how uncertain it is; {name} does not: try model=edm2"
            )
        t, error = denoising(model, x0, noise, cond, self.time, self.weighting)
        told = model.param.scales(t, model.sde.alpha(t), model.sde.std(t)).noise
        expected: Tensor = cast(Any, model.net).log_variance(told)
        return error / expected.exp() + expected
