"""Log-normal noise levels, as EDM trains."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.errors import InputError, check, typed
from scoresde.loss.time.base import TimeSampler
from scoresde.sde.base import GaussianSDE

__all__ = ["LogNormal"]


@dataclass(frozen=True)
class LogNormal(TimeSampler):
    """log σ ~ N(mean, std²) with σ = s/α, cut to the process's noise levels: most where learning pays most.

    The density is part of the objective: the weight is 1.

    Args:
        mean: P_mean of the paper.
        std: P_std of the paper, > 0.

    Raises:
        InputError: for a value out of range, or a law that lies outside the process's noise levels.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", table 1.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        """Refuse what is no normal law."""
        typed(self)
        check(self, "mean", abs(self.mean) < float("inf"), "a number")
        check(self, "std", 0 < self.std < float("inf"), "a number > 0")

    def __call__(self, sde: GaussianSDE, u: Tensor) -> tuple[Tensor, Tensor]:
        """Quantiles of the normal law between the process's ends, weight 1."""
        ends = -sde.log_snr(torch.tensor([sde.t_min, sde.t_max], dtype=torch.float64)) / 2
        z = (ends - self.mean) / self.std
        sign = 1.0 if z.sum() < 0 else -1.0  # in the lower tail probabilities do not round to 1
        low, high = torch.special.ndtr(sign * z).tolist()
        if low == high:
            first, last = ends.tolist()
            raise InputError(
                f"LogNormal.mean = {self.mean:g} is too far from {type(sde).__name__}, "
                f"whose log noise levels are [{first:.3g}, {last:.3g}]: try a mean between them"
            )
        log_sigma = self.mean + self.std * sign * torch.special.ndtri(low + u * (high - low))
        return sde.time(-2 * log_sigma).clamp(sde.t_min, sde.t_max), torch.ones_like(u)
