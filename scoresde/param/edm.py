"""The preconditioning of EDM: a network of unit input, unit target, and errors that are not amplified."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.param.base import Parameterization, Scales, c_noise

__all__ = ["EDM"]


@dataclass(frozen=True)
class EDM(Parameterization):
    """EDM's c_in, c_skip, c_out and c_noise at the noise level σ = s/α, written so that α = 0 is finite.

    Args:
        sigma_data: the data's standard deviation, > 0.

    Raises:
        InputError: for a value out of range.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a deviation that is not one."""
        typed(self)
        check(self, "sigma_data", 0 < self.sigma_data < float("inf"), "a number > 0")

    def scales(self, t: Tensor, alpha: Tensor, std: Tensor) -> Scales:
        """(1, α σ_d²·inp, s σ_d, ·)·inp with inp = 1/√(s² + α² σ_d²), and ¼ log σ."""
        inp = (std**2 + (alpha * self.sigma_data) ** 2).rsqrt()
        return Scales(inp, alpha * (self.sigma_data * inp) ** 2, std * self.sigma_data * inp, c_noise(alpha, std))
