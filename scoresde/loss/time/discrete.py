"""Equally many of a few equal steps in time, as chains are trained."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.loss.time.base import TimeSampler
from scoresde.sde.base import GaussianSDE

__all__ = ["Discrete"]


@dataclass(frozen=True)
class Discrete(TimeSampler):
    """t of equal chance among N times from t_min to t_max, both included, in equal steps; the weight is 1.

    On VE these are N noise levels of equal ratio, as of NCSN; on DDPM's chain with t_min = 1/N its N steps.

    Args:
        count: N, ≥ 2.

    Raises:
        InputError: for a number out of range.

    Source: Ho et al. 2020, algorithm 1; Song & Ermon 2019, eq. 6.
    """

    count: int = 1000

    def __post_init__(self) -> None:
        """Refuse what is no number of times."""
        typed(self)
        check(self, "count", self.count >= 2, "a whole number >= 2")

    def __call__(self, sde: GaussianSDE, u: Tensor) -> tuple[Tensor, Tensor]:
        """The step that the quantile lies in."""
        index = (u * self.count).floor().clamp(0, self.count - 1)
        t = sde.t_min + index / (self.count - 1) * (sde.t_max - sde.t_min)
        return t, torch.ones_like(u)
