"""SA-Solver: stochastic Adams methods, a predictor and a corrector of one network evaluation a step."""

from dataclasses import dataclass
from itertools import zip_longest

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.base import falling
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["SASolver"]


@dataclass(frozen=True)
class SASolver(TableSolver):
    """The reverse SDE's exact solution, x_0 in its integral a polynomial in λ through earlier values; τ = η throughout.

    The predictor's polynomial goes through the last values, the corrector's through that at the predicted state also.
    Both weigh the state and the noise alike, so that the corrected state is y_i + Σ_k (c_k − b_k) x_0(y_{i−k}): one row
    takes the predicted state y_i to y_{i+1}, and the correction of a step enters with the next. Weak order two, as soon
    as the order on ODEs is two: along one path x_0 is as rough as Brownian motion. A last step onto the data (t = 0)
    ends on x_0.

    Args:
        predictor_order: values in the predictor's polynomial, 1 to 3.
        corrector_order: earlier values in the corrector's, 1 to 3; 0 for no corrector.
        eta: η of the reverse, the paper's τ: 1 is the reverse SDE, 0 the probability-flow ODE, anything ≥ 0.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Xue et al. 2023, "SA-Solver: stochastic Adams solver for fast sampling of diffusion models", eq. 13 to 17,
    and algorithm 1 (PEC mode).
    """

    facts = ("4/2", "1/step", "ODE or SDE")
    predictor_order: int = 3
    corrector_order: int = 3
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what there is not."""
        typed(self)
        check(self, "predictor_order", 1 <= self.predictor_order <= 3, "a whole number from 1 to 3")
        check(self, "corrector_order", 0 <= self.corrector_order <= 3, "a whole number from 0 to 3")
        check(self, "eta", 0 <= self.eta < float("inf"), "a number >= 0")

    @property
    def order(self) -> int:  # type: ignore[override]
        """At η = 0, on grids whose first steps are graded: one more than the lower of both; a lone predictor's own."""
        return min(self.predictor_order, self.corrector_order or self.predictor_order - 1) + 1

    @property
    def weak_order(self) -> int:  # type: ignore[override]
        """Two at the most."""
        return min(self.order, 2)

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """Correct the step before, then predict: one row."""
        if self.eta:
            falling(self, ts)
        path = levels(process, ts)
        rows, before = [], list[float]()
        for i, end in enumerate(path[1:]):
            count = 1 if end.std == 0 else self.predictor_order
            keep, predictor, std = exponential(path[i], end, path[i::-1][:count], eta=self.eta)
            weights = predictor
            if i and self.corrector_order:
                nodes = path[i::-1][: self.corrector_order + 1]
                _, corrector, _ = exponential(path[i - 1], path[i], nodes, eta=self.eta)
                each = zip_longest(predictor, corrector, [0.0, *before], fillvalue=0.0)
                weights = [b + keep * (c - old) for b, c, old in each]
            before = predictor
            rows.append([Row(path[i].t, keep, weights, [std] if self.eta else [])])
        return rows
