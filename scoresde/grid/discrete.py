"""DDPM's discrete indices: some of the N noise levels of a chain, by leading, trailing or linspace spacing."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scoresde.errors import InputError, check, typed
from scoresde.grid.base import Grid
from scoresde.sde.base import Process

__all__ = ["Discrete"]


@dataclass(frozen=True)
class Discrete(Grid):
    """Times of the indices k = 1 … N of a chain, t_k = t_min + (k/N)(t_max − t_min), then t_min.

    For S steps, with rounding to whole indices,

        trailing   k = N, N − N/S, N − 2N/S, …, N/S
        linspace   S indices from N to 1
        leading    k = 1 + (S − 1)⌊N/S⌋, …, 1 + ⌊N/S⌋, 1

    so that the network is asked at S indices and the last step leaves the chain, as in DDPM and DDIM. Leading indices
    do not start at N: sampling starts with the noise of the first of them, and what is left of the data there is
    neglected, which is the fault of that spacing that the paper describes.

    Args:
        spacing: "trailing", "linspace" or "leading".
        chain: N ≥ 1, the noise levels that the model was trained with.

    Raises:
        InputError: for a value out of range, or more steps than indices.

    Source: Lin et al. 2023, "Common diffusion noise schedules and sample steps are flawed", section 3.3 and table 2.
    """

    spacing: Literal["trailing", "linspace", "leading"] = "trailing"
    chain: int = 1000

    def __post_init__(self) -> None:
        """Refuse a spacing that there is not, and no chain."""
        typed(self)
        check(self, "chain", self.chain >= 1, "a whole number >= 1")

    def indices(self, steps: int) -> Tensor:
        """The indices that the network is asked at, falling, shape (steps,)."""
        if steps > self.chain:
            raise InputError(f"Discrete cannot make {steps} steps: its chain has {self.chain}; take fewer")
        i = torch.arange(steps, dtype=torch.float64)
        if self.spacing == "leading":
            return 1 + i.flip(0) * (self.chain // steps)
        if self.spacing == "trailing":
            return (self.chain - i * (self.chain / steps)).round()
        return torch.linspace(self.chain, 1, steps, dtype=torch.float64).round()

    def place(self, process: Process, steps: int) -> Tensor:
        """The indices, then 0, on the process's clock."""
        k = torch.cat([self.indices(steps), torch.zeros(1, dtype=torch.float64)])
        # its ends exactly: t_min where k = 0, t_max where k = N
        return process.t_min * (1 - k / self.chain) + process.t_max * (k / self.chain)
