"""The classical Runge–Kutta method of fourth order on the probability-flow ODE."""

from dataclasses import dataclass

from scoresde.solver.coefficients.tableau import TableauSolver

__all__ = ["RK4"]


@dataclass(frozen=True)
class RK4(TableauSolver):
    """x_s = x_t + (s − t)(k_1 + 2 k_2 + 2 k_3 + k_4)/6: slopes at the start, twice in the middle, at the end.

    Four evaluations a step, of order four.

    Source: Kutta 1901; Hairer, Nørsett & Wanner 1993, "Solving ordinary differential equations I", table II.1.2.
    """

    facts = ("4", "4/step + 1", "ODE")
    a = (1 / 2, 0.0, 1 / 2, 0.0, 0.0, 1.0)
    b = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
