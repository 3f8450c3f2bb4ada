"""Equal steps of the angle φ = arctan(s/α): the noise levels of the cosine schedule, whatever the process."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.grid.base import LevelGrid

__all__ = ["Cosine"]


@dataclass(frozen=True)
class Cosine(LevelGrid):
    """Equal steps of φ = arctan σ̂, where α = r cos φ and s = r sin φ.

    They are the noise levels that a process with α = cos(πt/2), s = sin(πt/2) has at equal steps of time, and DDIM's
    rotations by equal angles.

    Raises:
        InputError: for a process that is not a GaussianSDE.

    Source: Salimans & Ho 2022, "Progressive distillation for fast sampling of diffusion models", section 4 and
    appendix D; Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", eq. 17, without its offset.
    """

    def scale(self, sigma: Tensor) -> Tensor:
        """φ."""
        return sigma.arctan()

    def level(self, scale: Tensor) -> Tensor:
        """Tan φ."""
        return scale.tan()
