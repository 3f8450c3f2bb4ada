"""The engine of most solvers of Gaussian processes: it executes a table of coefficients."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor

from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE, GaussianSDE
from scoresde.solver.base import State, StepSolver, predict

__all__ = ["Level", "Row", "Table", "TableSolver", "levels"]


class Row(NamedTuple):
    """One network evaluation and what follows from it: x ← keep · start + Σ_k weights[k] p_k + Σ_j noise[j] z_j."""

    t: Tensor
    """The time at which the network is asked about x: shape (), float64, on the CPU."""
    keep: float
    """Of the state at the start of the step."""
    weights: Sequence[float]
    """Of the predictions p_k, the newest first: those of earlier steps too."""
    noise: Sequence[float] = ()
    """Of normal draws z_j, fresh in each step: as many are drawn as its longest row has."""
    skip: float = 0.0
    """p_0 is what the model said less this share of x."""


Table = list[list[Row]]
"""The rows of each step; the last row of a step leads to its target."""


class Level(NamedTuple):
    """A point of the clock of a Gaussian process: x = α x_0 + s ε there."""

    t: Tensor
    alpha: float
    std: float

    @property
    def sigma(self) -> float:
        """σ̂ = s/α."""
        return self.std / self.alpha


class TableSolver(StepSolver):
    """A solver of Gaussian processes whose steps are linear in the state and in the model's predictions.

    A method is the function that makes its `table`, from the levels of noise along the grid. Its last step may go to
    t = 0, which stands for α = 1 and s = 0 exactly: the data.
    """

    needs = GaussianSDE
    denoises = True
    of: Literal["x0", "eps", "v"] = "x0"
    """Which prediction the table weighs."""

    @abstractmethod
    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """The coefficients of a whole grid.

        Args:
            process: what is reversed.
            ts: the grid; its last time may be 0. `levels` has the noise there.

        Returns:
            One list of rows for each step.
        """

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """The table, no predictions yet, and how many of them to keep."""
        table = self.table(cast(GaussianSDE, cast(Reverse, sde).model.sde), ts)
        return table, [], max(len(row.weights) for rows in table for row in rows)

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """Execute the rows of the step."""
        (rows, *rest), past, memory = state
        start = x
        draws = [noise.normal() for _ in range(max(len(row.noise) for row in rows))]
        for row in rows:
            p = getattr(predict(sde, x, row.t), self.of)
            past = [p.sub(x, alpha=row.skip) if row.skip else p, *past[: memory - 1]]
            x = start * row.keep
            for weights, parts in ((row.weights, past), (row.noise, draws)):
                for weight, part in zip(weights, parts, strict=False):
                    if weight:
                        x.add_(part, alpha=weight)
        return x, (rest, past, memory)


def levels(process: GaussianSDE, ts: Tensor) -> list[Level]:
    """α and s at times, shape (n,), where t = 0 stands for the data: α = 1, s = 0 whatever the process says."""
    zero = ts == 0
    alpha, std = torch.where(zero, 1, process.alpha(ts)), torch.where(zero, 0, process.std(ts))
    return [Level(*each) for each in zip(ts, alpha.tolist(), std.tolist(), strict=True)]
