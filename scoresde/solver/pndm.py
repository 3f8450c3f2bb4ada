"""PNDM: Adams–Bashforth's weights in DDIM's step, after three steps with those of Runge–Kutta (F-PNDM)."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from scoresde.sde.base import GaussianSDE
from scoresde.solver.coefficients.table import Level, Row, Table, TableSolver, levels

__all__ = ["PNDM"]

_RUNGE_KUTTA = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
_ADAMS_BASHFORTH = (55 / 24, -59 / 24, 37 / 24, -9 / 24)


@dataclass(frozen=True)
class PNDM(TableSolver):
    """x_s = (α_s/α_t) x_t + α_s (σ̂_s − σ̂_t) ε′ with ε′ = (55 ε_t − 59 ε_(t−1) + 37 ε_(t−2) − 9 ε_(t−3))/24, σ̂ = s/α.

    In the first three steps ε′ = (ε_1 + 2 ε_2 + 2 ε_3 + ε_4)/6, with ε at the start, twice in the middle of the time,
    and at the end, each where DDIM's step with the one before arrives: four evaluations instead of one. A step onto the
    data among them is DDIM's.

    The weights are those of fourth order for equal steps of a clock in which σ̂ is straight. For any other grid and
    process, as the paper says of equal steps in its time, the method is of order two.

    Raises:
        InputError: for a process that is not a GaussianSDE.

    Source: Liu et al. 2022, "Pseudo numerical methods for diffusion models on manifolds", eq. 11 to 13, algorithm 2.
    """

    of = "eps"
    order = 2
    facts = ("2", "1/step + 9", "ODE")

    def nfe(self, steps: int) -> int:
        """One a step, and three more in each of the first three."""
        return steps + 3 * min(steps, 3)

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """Four rows in each of the first three steps, then one."""
        path, middle = levels(process, ts), levels(process, (ts[:-1] + ts[1:]) / 2)
        table: Table = []
        asked: list[int] = []  # when each step's first prediction was made
        made = 0
        for (a, b), m in zip(pairwise(path), middle, strict=True):
            asked.append(made)
            if len(asked) > 3:
                weights = [0.0] * (made + 1 - asked[-4])
                for weight, when in zip(_ADAMS_BASHFORTH, reversed(asked), strict=False):
                    weights[made - when] = weight
                rows = [_transfer(a.t, a, b, weights)]
            elif b.std == 0:
                rows = [_transfer(a.t, a, b, [1.0])]
            else:
                rows = [
                    _transfer(a.t, a, m, [1.0]),
                    _transfer(m.t, a, m, [1.0, 0.0]),
                    _transfer(m.t, a, b, [1.0, 0.0, 0.0]),
                    _transfer(b.t, a, b, _RUNGE_KUTTA),
                ]
            table.append(rows)
            made += len(rows)
        return table


def _transfer(t: Tensor, a: Level, b: Level, weights: list[float] | tuple[float, ...]) -> Row:
    """DDIM's step from a to b with a sum of predictions for ε, the newest asked for at t."""
    return Row(t, b.alpha / a.alpha, [b.alpha * (b.sigma - a.sigma) * weight for weight in weights])
