"""A nonlinear process: a particle in a double well, with noise that depends on where it is."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from scoresde.errors import check
from scoresde.sde.base import Process

__all__ = ["DoubleWell"]


@dataclass(frozen=True)
class DoubleWell(Process):
    """dx = (D′(x) − D(x) V′(x)) dt + √(2 D(x)) dw in each coordinate, with V = barrier (x² − 1)².

    The mobility D(x) = 1 + spread/(1 + x²) makes the noise state-dependent; the drift is what leaves the two-mode law
    p ∝ exp(−V) stationary, whatever D is. There is no closed kernel: the process can be simulated and reversed, but a
    denoiser cannot be trained on it by sampling its kernel.

    Args:
        barrier: height of V between the wells, > 0.
        spread: how much stronger the noise is at 0 than far away, ≥ 0; 0 is additive noise.
        t_min, t_max: where training starts and sampling stops; the noise end, by when p is reached.

    Raises:
        InputError: for a value out of range.

    Source: Pavliotis 2014, "Stochastic processes and applications", section 4.5 (zero flux: a p = (D p)′).
    """

    barrier: float = 1.0
    spread: float = 1.0
    t_min: float = 1e-3
    t_max: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "barrier", 0 < self.barrier < float("inf"), "a number > 0")
        check(self, "spread", 0 <= self.spread < float("inf"), "a number >= 0")

    def mobility(self, x: Tensor) -> Tensor:
        """D(x) = ½σ²."""
        return 1 + self.spread / (1 + x**2)

    def mobility_slope(self, x: Tensor) -> Tensor:
        """D′(x)."""
        return -2 * self.spread * x / (1 + x**2) ** 2

    def score(self, x: Tensor) -> Tensor:
        """∇ log p(x) = −V′(x) of the stationary law."""
        return -4 * self.barrier * x * (x**2 - 1)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """D′ − D V′."""
        return self.mobility_slope(x) + self.mobility(x) * self.score(x)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        """√(2D)."""
        return (2 * self.mobility(x)).sqrt()

    def gram_divergence(self, x: Tensor, t: Tensor) -> Tensor:
        """(σ²)′ = 2D′."""
        return 2 * self.mobility_slope(x)

    def prior(
        self, shape: tuple[int, ...], device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Distribution:
        """The stationary law, p ∝ exp(−V) in each coordinate."""
        return _Boltzmann(self.barrier, torch.zeros(shape, device=device, dtype=dtype))


class _Boltzmann(Distribution):
    """p ∝ exp(−barrier (x² − 1)²), independent over coordinates, by a table of its distribution function."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  torch declares it so
    support = constraints.real

    def __init__(self, barrier: float, like: Tensor) -> None:
        super().__init__(like.shape, validate_args=False)
        self.barrier, self.like = barrier, like
        reach = math.sqrt(1 + math.sqrt(45 / barrier))  # where exp(−V) is below float64's rounding of the total
        self.x = torch.linspace(-reach, reach, 20_001, dtype=torch.float64, device=like.device)
        density = torch.exp(-barrier * (self.x**2 - 1) ** 2)
        mass = torch.cumulative_trapezoid(density, self.x)
        self.log_total = mass[-1].log()
        self._quantiles = torch.cat([mass.new_zeros(1), mass / mass[-1]])

    def icdf(self, value: Tensor) -> Tensor:
        u = value.double()
        i = torch.searchsorted(self._quantiles, u.contiguous()).clamp(1, len(self.x) - 1)
        share = (u - self._quantiles[i - 1]) / (self._quantiles[i] - self._quantiles[i - 1])
        return torch.lerp(self.x[i - 1], self.x[i], share).to(self.like.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return -self.barrier * (value**2 - 1) ** 2 - self.log_total.to(value.dtype)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008  torch's signature
        shape = self._extended_shape(sample_shape)
        return self.icdf(torch.rand(shape, dtype=torch.float64, device=self.like.device))
