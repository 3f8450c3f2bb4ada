"""EDM: Heun's method in the noise level, with the noise raised before each step if wanted (churn)."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE, GaussianSDE
from scoresde.solver.base import State, falling
from scoresde.solver.coefficients.table import Level, Row, Table, TableSolver, levels

__all__ = ["EDM"]


@dataclass(frozen=True)
class EDM(TableSolver):
    """Noise is added from σ̂ to σ̂′ = (1 + γ) σ̂, then x/α goes down to the next σ̂ by Heun's method: d(x/α) = ε dσ̂.

    With σ̂ = s/α this is the paper's sampler for any Gaussian process. γ = min(churn/steps, √2 − 1), and no more than
    leads to t_max. Without churn it is a method of the probability-flow ODE. A step onto the data (t = 0) is Euler's,
    one evaluation instead of two. With churn it draws its own noise, on a `Reverse` of η = 0, and has the law of the
    reverse SDE's samples all the same, to second order.

    Args:
        churn: S_churn ≥ 0, the sum of γ over the grid; 0 for none.
        churn_min, churn_max: S_tmin and S_tmax, the σ̂ between which noise is added.
        churn_noise: S_noise > 0, the deviation of the noise: only 1 has the right law for an exact score; the paper
            takes up to 1.007 where a network removes too much.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", algorithm 2.
    """

    order = 2
    weak_order = 2
    cost = 2
    of = "eps"
    churn: float = 0.0
    churn_min: float = 0.0
    churn_max: float = math.inf
    churn_noise: float = 1.0

    def __post_init__(self) -> None:
        """Refuse noise that is none."""
        typed(self)
        check(self, "churn", 0 <= self.churn < math.inf, "a number >= 0")
        check(self, "churn_min", self.churn_min >= 0, "a number >= 0")
        check(self, "churn_max", self.churn_max >= self.churn_min, f"a number >= churn_min = {self.churn_min}")
        check(self, "churn_noise", 0 < self.churn_noise < math.inf, "a number > 0")

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """What raises the noise before each step, and the state of the table."""
        if self.churn:
            falling(self, ts)
        process = cast(GaussianSDE, cast(Reverse, sde).model.sde)
        kicks = []
        for a, up in zip(levels(process, ts), self._raised(process, ts), strict=False):
            added = math.sqrt(max(up.sigma**2 - a.sigma**2, 0.0))
            kicks.append((up.alpha / a.alpha, up.alpha * self.churn_noise * added))
        return kicks, super().init(sde, x, ts)

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """Raise the noise, then execute the rows of the step."""
        ((keep, std), *rest), table = state
        if std > 0:
            x = x * keep + noise.normal() * std
        x, table = super().step(sde, x, t, s, noise, table)
        return x, (rest, table)

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """Euler's row and Heun's, from the raised noise."""
        table = []
        for a, b in zip(self._raised(process, ts), levels(process, ts)[1:], strict=True):
            keep, weight = b.alpha / a.alpha, b.alpha * (b.sigma - a.sigma)
            heun = [Row(b.t, keep, [weight / 2, weight / 2])] if b.std > 0 else []
            table.append([Row(a.t, keep, [weight]), *heun])
        return table

    def _raised(self, process: GaussianSDE, ts: Tensor) -> list[Level]:
        """Where each step starts once its noise is added: shape (steps,)."""
        path = levels(process, ts)
        gamma = min(self.churn / (len(ts) - 1), math.sqrt(2) - 1)
        top = levels(process, torch.tensor([process.t_max], dtype=torch.float64))[0].sigma
        raised = []
        for level, _ in pairwise(path):
            sigma = min(level.sigma * (1 + gamma), top)
            if gamma == 0 or not self.churn_min <= level.sigma <= self.churn_max:
                raised.append(level)
            else:
                t = process.time(torch.tensor([-2 * math.log(sigma)], dtype=torch.float64))
                raised += levels(process, t)
        return raised
