"""Exponential Runge–Kutta steps, which ask the network between the times of the grid too."""

from itertools import pairwise
from typing import Literal

from torch import Tensor

from scoresde.sde.base import GaussianSDE
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.table import Row, Table, levels

__all__ = ["singlestep"]

_BETWEEN = {1: [], 2: [1 / 2], 3: [1 / 3, 2 / 3]}


def singlestep(process: GaussianSDE, ts: Tensor, order: int, of: Literal["x0", "eps"]) -> Table:
    """The rows of singlestep DPM-Solver (ε) and DPM-Solver++ (x_0) of order 1, 2 or 3, of as many evaluations a step.

    With λ = −log σ̂, h the step in λ and u_r the state at λ_t + r h, each state is the exact solution under a prediction
    that is, in λ,

        order 1   p(x_t)
        order 2   p(x_t) up to u_½, p(u_½) over the whole step
        order 3   p(x_t) up to u_⅓; the line through p(x_t) and p(u_⅓) up to u_⅔; that through p(x_t) and p(u_⅔) beyond

    A step onto the data (s = 0) has no middle in λ and is of order 1.
    """
    path = levels(process, ts)
    half = process.log_snr(ts) / 2
    between = [levels(process, process.time(2 * (half[:-1] + r * half.diff()))) for r in _BETWEEN[order]]
    table: Table = []
    for (a, b), *inside in zip(pairwise(path), *between, strict=True):
        keep, (whole,), _ = exponential(a, b, [a], of)
        if not inside or b.std == 0:
            table.append([Row(a.t, keep, [whole])])
            continue
        rows = [Row(a.t, *exponential(a, inside[0], [a], of)[:2])]
        if order == 2:
            rows.append(Row(inside[0].t, keep, [whole, 0.0]))
        else:
            rows.append(Row(inside[0].t, *exponential(a, inside[1], [inside[0], a], of)[:2]))
            last, first = exponential(a, b, [inside[1], a], of)[1]
            rows.append(Row(inside[1].t, keep, [last, 0.0, first]))
        table.append(rows)
    return table
