"""Equal steps of log-SNR."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.grid.base import LevelGrid

__all__ = ["LogSNR"]


@dataclass(frozen=True)
class LogSNR(LevelGrid):
    """Equal steps of log(α²/s²) = −2 log σ̂: every step removes the same share of the noise.

    Raises:
        InputError: for a process that is not a GaussianSDE.

    Source: Lu et al. 2022, "DPM-Solver", section 4.1 (uniform λ = ½ log-SNR).
    """

    def scale(self, sigma: Tensor) -> Tensor:
        """Log σ̂."""
        return sigma.log()

    def level(self, scale: Tensor) -> Tensor:
        """The exponential."""
        return scale.exp()
