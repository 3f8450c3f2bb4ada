"""EDM's λ(σ): unit error of the network at every noise level."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.loss.weighting.base import Weighting
from scoresde.sde.base import GaussianSDE

__all__ = ["EDM"]


@dataclass(frozen=True)
class EDM(Weighting):
    """(σ² + σ_d²)/(σ σ_d)² on the error of x_0, where σ = s/α; as λ of the score's error that times (s²/α)².

    Args:
        sigma_data: the data's standard deviation σ_d, > 0; the same as of ``param=edm``.

    Raises:
        InputError: for a value out of range.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a deviation that is not one."""
        typed(self)
        check(self, "sigma_data", 0 < self.sigma_data < float("inf"), "a number > 0")

    def __call__(self, sde: GaussianSDE, t: Tensor) -> Tensor:
        """(1/σ_d² + 1/σ²)(s²/α)²."""
        alpha, var = sde.alpha(t), sde.var(t)
        return (1 / self.sigma_data**2 + alpha**2 / var) * (var / alpha) ** 2
