"""UniPC: a multistep predictor in the predicted data, and a corrector that costs no evaluation of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Literal

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.table import Level, Row, Table, TableSolver, levels

__all__ = ["UniPC"]


@dataclass(frozen=True)
class UniPC(TableSolver):
    """The paper's UniPC-p, of order p + 1: UniP-p goes to y_i, UniC-p improves y_i to x_i by the prediction at y_i.

    Both are x_i = A x_(i−1) + α ∫₀ʰ e^(y−h) x_0(λ + y) dy with a polynomial in λ = log(α/s) for x_0: through the last p
    predictions for UniP-p, through the newest as well for UniC-p. So x_i − y_i is a sum of predictions, and the next
    step one of y_i and of predictions, which is how it is carried out: states between the steps are the predictor's
    y_i. So is the end, where there is no evaluation and hence no corrector: that misses by one local error of UniP-p,
    of order p + 1 too. The first steps use as many predictions as there are. A step onto the data (t = 0, λ = ∞) gives
    the prediction before it, as DDIM's does.

    Args:
        order: p + 1, one more than the number in the paper's name: 2, 3 or 4 for UniPC-1, -2 or -3.
        variant: "B1" (B(h) = h) or "B2" (B(h) = eʰ − 1; its sign turned, as the prediction is of data): the weight of
            a difference between two predictions is B(h)/2. Those between more follow from λ alone.

    Raises:
        InputError: for a value out of range, or a process that is not a GaussianSDE.

    Source: Zhao et al. 2023, "UniPC: a unified predictor-corrector framework for fast sampling of diffusion models",
    algorithms 5 to 8, section 3.3 for B(h).
    """

    order: int = 3
    variant: Literal["B1", "B2"] = "B2"

    def __post_init__(self) -> None:
        """Refuse an order that there is not."""
        typed(self)
        check(self, "order", 2 <= self.order <= 4, "2, 3 or 4: UniPC-p is of order p + 1")

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """One row a step: A (y_i + the correction of y_i) + the predictor's sum."""
        path = levels(process, ts)
        rows, correction = [], [0.0]
        for i, (a, b) in enumerate(pairwise(path)):
            count = 1 if b.std == 0 else min(i + 1, self.order - 1)
            keep, predictor = self._weights(a, b, path[i::-1][:count])
            weights = [keep * c + w for c, w in zip_longest(correction, predictor, fillvalue=0.0)]
            rows.append([Row(a.t, keep, weights)])
            if b.std > 0:
                _, corrector = self._weights(a, b, path[i + 1 :: -1][: count + 1])
                correction = [c - w for c, w in zip(corrector, (0.0, *predictor), strict=True)]
        return rows

    def _weights(self, a: Level, b: Level, nodes: Sequence[Level]) -> tuple[float, Sequence[float]]:
        """A, and the weights of x_0 at some nodes, of which a is one, in the step from a to b."""
        if len(nodes) != 2:
            keep, weights, _ = exponential(a, b, nodes)
            return keep, weights
        keep, (whole,), _ = exponential(a, b, [a])
        h = math.log(a.sigma / b.sigma)
        size = b.alpha * h if self.variant == "B1" else whole
        (other,) = (node for node in nodes if node is not a)
        slope = size / 2 * h / math.log(a.sigma / other.sigma)
        return keep, [slope if node is other else whole - slope for node in nodes]
