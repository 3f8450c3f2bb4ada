"""Equal steps of √t."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.grid.base import SpacedGrid
from scoresde.sde.base import Process

__all__ = ["Quadratic"]


@dataclass(frozen=True)
class Quadratic(SpacedGrid):
    """Equal steps of √t: t_i = (√t_max + u_i (√t_min − √t_max))², finer towards the data.

    Source: Song, Meng & Ermon 2021, "Denoising diffusion implicit models", appendix D.2 (τ_i = ⌊c i²⌋).
    """

    def spread(self, process: Process, u: Tensor) -> Tensor:
        """Linear in √t, squared."""
        first, last = process.t_max**0.5, process.t_min**0.5
        return (first + u * (last - first)) ** 2
