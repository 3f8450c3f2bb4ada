"""Euler's method on the probability-flow ODE."""

from dataclasses import dataclass

from scoresde.solver.coefficients.tableau import TableauSolver

__all__ = ["Euler"]


@dataclass(frozen=True)
class Euler(TableauSolver):
    """x_s = x_t + a(x_t, t)(s − t), for the drift a of an SDE without noise. One evaluation a step, of order one.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", eq. 13; Euler 1768.
    """

    facts = ("1", "1/step + 1", "ODE")
    a = ()
    b = (1.0,)
