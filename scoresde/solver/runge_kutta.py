"""Any explicit Runge–Kutta method on the probability-flow ODE, from its tableau."""

import math
from dataclasses import dataclass

from scoresde.errors import check, typed
from scoresde.solver.coefficients.tableau import TableauSolver

__all__ = ["RungeKutta"]


@dataclass(frozen=True)
class RungeKutta(TableauSolver):
    """k_i = f(x_t + h Σ_j a_ij k_j, t + c_i h) and x_s = x_t + h Σ_i b_i k_i, where c_i = Σ_j a_ij.

    As many evaluations a step as there are weights. The order is read off the tableau, up to 4. By default Kutta's
    method of third order.

    Args:
        a: the rows of a_ij below the diagonal, one after the other: a_21, a_31, a_32, … Each c_i must lie in [0, 1].
        b: the weights of the stages, whose sum is 1.

    Raises:
        InputError: for numbers that are no tableau.

    Source: Kutta 1901; Hairer, Nørsett & Wanner 1993, "Solving ordinary differential equations I", section II.1.
    """

    facts = ("3", "3/step + 1", "ODE")
    a: tuple[float, ...] = (1 / 2, -1.0, 2.0)
    b: tuple[float, ...] = (1 / 6, 2 / 3, 1 / 6)

    def __post_init__(self) -> None:
        """Refuse what is no explicit method, or looks beyond its step."""
        typed(self)
        for field in ("a", "b"):
            numbers = isinstance(getattr(self, field), tuple) and all(
                isinstance(w, float | int) and math.isfinite(w) for w in getattr(self, field)
            )
            check(self, field, numbers, "a tuple of finite numbers")
        check(self, "b", abs(sum(self.b) - 1) < 1e-8, "weights with the sum 1")
        count = len(self.b) * (len(self.b) - 1) // 2
        check(self, "a", len(self.a) == count, f"{count} numbers, a_21, a_31, a_32, …, for {len(self.b)} weights in b")
        within = all(-1e-8 < sum(row) < 1 + 1e-8 for row in self._rows())
        check(self, "a", within, "rows with sums in [0, 1], so that no stage looks beyond its step")
