"""Equal steps of log((σ̂ + c)/(σ̂ + C)): of log-SNR between two noise levels, fewer beyond them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.grid.base import LevelGrid

__all__ = ["Regular"]


@dataclass(frozen=True)
class Regular(LevelGrid):
    """Equal steps of log((σ̂ + c)/(σ̂ + C)), where σ̂ = s/α: of log σ̂ between c and C, of σ̂ below, of 1/σ̂ above.

    So few steps go to noise too little to see and to noise so large that the data cannot be told from its mean, both of
    which the log-SNR alone would have without end.

    Args:
        floor: c > 0, for data of deviation about ½.
        ceiling: C > c.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: scoresde's own; as c → 0 and C → ∞ it becomes Lu et al. 2022, "DPM-Solver", section 4.1.
    """

    floor: float = 0.08
    ceiling: float = 25.0

    def __post_init__(self) -> None:
        """Refuse ends that are none."""
        typed(self)
        check(self, "floor", 0 < self.floor < float("inf"), "a number > 0")
        check(self, "ceiling", self.floor < self.ceiling < float("inf"), f"a number > floor = {self.floor}")

    def scale(self, sigma: Tensor) -> Tensor:
        """log((σ̂ + c)/(σ̂ + C))."""
        return ((sigma + self.floor) / (sigma + self.ceiling)).log()

    def level(self, scale: Tensor) -> Tensor:
        """(C e^scale − c)/(1 − e^scale), where neither difference cancels."""
        return self.floor * torch.expm1(scale - math.log(self.floor / self.ceiling)) / -torch.expm1(scale)
