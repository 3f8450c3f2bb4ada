"""Equal steps of the noise level σ̂ = s/α."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.grid.base import LevelGrid

__all__ = ["Sigma"]


@dataclass(frozen=True)
class Sigma(LevelGrid):
    """Equal steps of σ̂ = s/α: nearly all of them where there is much noise. The time of the EDM process is σ̂ itself.

    Raises:
        InputError: for a process that is not a GaussianSDE.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", eq. 5 with ρ = 1.
    """

    def scale(self, sigma: Tensor) -> Tensor:
        """σ̂."""
        return sigma

    def level(self, scale: Tensor) -> Tensor:
        """σ̂."""
        return scale
