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
        factor: what the network is told of the noise level, over ¼ log σ, > 0. Our sinusoidal features multiply it by
            250 and our Fourier features by 4; EDM's read ¼ log σ itself, so that they have factor = 1/250 and 1/4.

    Raises:
        InputError: for a value out of range.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1.
    """

    sigma_data: float = 0.5
    factor: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is not a positive number."""
        typed(self)
        check(self, "sigma_data", 0 < self.sigma_data < float("inf"), "a number > 0")
        check(self, "factor", 0 < self.factor < float("inf"), "a number > 0")

    def scales(self, t: Tensor, alpha: Tensor, std: Tensor) -> Scales:
        """(1, α σ_d²·inp, s σ_d, ·)·inp with inp = 1/√(s² + α² σ_d²), and factor · ¼ log σ."""
        inp = (std**2 + (alpha * self.sigma_data) ** 2).rsqrt()
        noise = self.factor * c_noise(alpha, std)
        return Scales(inp, alpha * (self.sigma_data * inp) ** 2, std * self.sigma_data * inp, noise)
