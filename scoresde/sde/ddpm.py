"""DDPM's chain of β's, as a variance-preserving SDE."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from scoresde.errors import check
from scoresde.sde.base import GaussianSDE

__all__ = ["DDPM"]


@dataclass(frozen=True)
class DDPM(GaussianSDE):
    """A chain of N steps, x_i = √(1 − β_i) x_{i−1} + √β_i ε, in time: step i = 0, …, N − 1 ends at t = (i+1)/N.

    log ᾱ = Σ log(1 − β_i) is interpolated linearly in between, so that α and s are the chain's at each of its ends and
    β(t) = −N log(1 − β_i) is constant within a step. What networks call the index of x_t is N·t − 1.

    Args:
        schedule: β from beta_start to beta_end linearly, or with √β linear (Rombach et al. 2022), or of the squared
            cosine (Nichol & Dhariwal 2021), at most 0.999, which ignores both.
        beta_start: the first β, > 0.
        beta_end: the last β, in [beta_start, 1).
        steps: N.
        t_min: where training starts and sampling stops; the chain's own is 1/N.
        t_max: the noise end; the chain's own is 1.

    Raises:
        InputError: for a value out of range.

    Source: Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 2 and 4; the defaults are section 4's.
    """

    schedule: Literal["linear", "scaled_linear", "squaredcos"] = "linear"
    beta_start: float = 1e-4
    beta_end: float = 0.02
    steps: int = 1000
    t_min: float = 1e-3
    t_max: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "beta_start", 0 < self.beta_start < 1, "in (0, 1)")
        check(self, "beta_end", self.beta_start <= self.beta_end < 1, f"in [beta_start, 1) = [{self.beta_start}, 1)")
        check(self, "steps", 2 <= self.steps <= 1_000_000, "a whole number in [2, 1000000]")

    def alpha(self, t: Tensor) -> Tensor:
        """√ᾱ."""
        return (self._log_alpha_bar(t) / 2).exp().to(t.dtype)

    def var(self, t: Tensor) -> Tensor:
        """1 − ᾱ, by expm1."""
        return -torch.expm1(self._log_alpha_bar(t)).to(t.dtype)

    def log_snr(self, t: Tensor) -> Tensor:
        """log ᾱ/(1 − ᾱ)."""
        total = self._log_alpha_bar(t)
        return (total - (-torch.expm1(total)).log()).to(t.dtype)

    def time(self, log_snr: Tensor) -> Tensor:
        """log ᾱ = −log(1 + exp(−log_snr)), which the first and the last step go on with beyond the chain."""
        wide = self._wide(log_snr)
        total = -torch.nn.functional.softplus(-wide, threshold=40)
        table = self._table(wide)
        # the table falls, and searchsorted wants what rises
        step = (torch.searchsorted(-table, -total.detach().contiguous()) - 1).clamp(0, self.steps - 1)
        first = table[step]
        return ((step + (total - first) / (table[step + 1] - first)) / self.steps).to(log_snr.dtype)

    def drift_rate(self, t: Tensor) -> Tensor:
        """−½β(t)."""
        return -self.diffusion_squared(t) / 2

    def diffusion_squared(self, t: Tensor) -> Tensor:
        """β(t) = −N log(1 − β_i)."""
        step, _ = self._step(t)
        table = self._table(step)
        return (self.steps * (table[step] - table[step + 1])).to(t.dtype)

    def _log_alpha_bar(self, t: Tensor) -> Tensor:
        step, part = self._step(t)
        table = self._table(t)
        return torch.lerp(table[step], table[step + 1], part.to(table.dtype))

    def _step(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The step that a time lies in, and how far: in float64, for float32 would take the wrong one at its ends."""
        place = self._wide(t) * self.steps
        step = place.detach().floor().clamp(0, self.steps - 1)
        return step.long(), place - step

    def _wide(self, value: Tensor) -> Tensor:
        return value if value.device.type == "mps" else value.double()

    def _table(self, like: Tensor) -> Tensor:
        """log ᾱ at 0, 1/N, …, 1, shape (N + 1,)."""
        return _table(self.schedule, self.beta_start, self.beta_end, self.steps, like.device)


@cache
def _table(schedule: str, beta_start: float, beta_end: float, steps: int, device: torch.device) -> Tensor:
    if schedule == "linear":
        betas = np.linspace(beta_start, beta_end, steps)
    elif schedule == "scaled_linear":
        betas = np.linspace(beta_start**0.5, beta_end**0.5, steps) ** 2
    else:
        angles = (np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2
        betas = np.minimum(1 - (np.cos(angles[1:]) / np.cos(angles[:-1])) ** 2, 0.999)
    total = np.concatenate([[0.0], np.log1p(-betas).cumsum()])
    with torch.inference_mode(False):
        return torch.from_numpy(total).to(device, torch.float32 if device.type == "mps" else torch.float64)
