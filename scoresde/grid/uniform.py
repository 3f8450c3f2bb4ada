"""Equal steps of time."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.grid.base import SpacedGrid
from scoresde.sde.base import Process

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform(SpacedGrid):
    """Equal steps of time: t_i = t_max + u_i (t_min − t_max).

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", appendix D.1.
    """

    def spread(self, process: Process, u: Tensor) -> Tensor:
        """Linear in u."""
        return process.t_max + u * (process.t_min - process.t_max)
