"""Equal steps of a power of the noise level σ̂ = s/α."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.grid.base import LevelGrid

__all__ = ["Karras"]


@dataclass(frozen=True)
class Karras(LevelGrid):
    """Equal steps of σ̂^(1/ρ), where σ̂ = s/α: more of them where there is little noise, the more the larger ρ is.

    Args:
        rho: ρ > 0; the paper takes 7. As ρ → ∞ it becomes the grid of equal log-SNR steps.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", eq. 5.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        """Refuse a ρ that is not positive."""
        typed(self)
        check(self, "rho", 0 < self.rho < float("inf"), "a number > 0")

    def scale(self, sigma: Tensor) -> Tensor:
        """σ̂^(1/ρ)."""
        return sigma ** (1 / self.rho)

    def level(self, scale: Tensor) -> Tensor:
        """The power ρ."""
        return scale**self.rho
