"""Energy distance: how much further apart the two sets are than each is from itself."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.data.base import Samples
from scoresde.errors import check, typed
from scoresde.metric.base import Metric, halves, rows

__all__ = ["Energy"]


@dataclass(frozen=True)
class Energy(Metric):
    """D² = 2 E|a − b| − E|a − a'| − E|b − b'|, zero where the laws are equal and only there.

    The V-statistic: means are over all pairs, also of a point with itself, so that it is never negative and zero for
    equal sets; for finite sets of one law it is above zero, by E|a − a'| (1/n + 1/m)
    on average. The figure is D², not D.

    Args:
        seed: of the split into halves, in [0, 2⁶³).

    Raises:
        InputError: for a value out of range.

    Source: Székely & Rizzo 2013, "Energy statistics: a class of statistics based on distances", eq. 5 and 6.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a negative seed."""
        typed(self)
        check(self, "seed", 0 <= self.seed < 2**63, "a whole number in [0, 2**63)")

    def __call__(self, samples: Tensor, data: Samples) -> dict[str, float]:
        """Samples against the data, and one half of the data against the other; see `Metric`."""
        a, b = rows(samples, data)
        floor = self.distance(*halves(b, len(a), self.seed))
        return {"energy distance": self.distance(a, b), "energy distance of two halves of the data": floor}

    def distance(self, a: Tensor, b: Tensor) -> float:
        """D² of two sets of equally likely points.

        Args:
            a: shape (n, D).
            b: shape (m, D).

        Returns:
            A number ≥ 0, in the unit of the points.
        """
        return max(0.0, 2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b))


def _mean_distance(a: Tensor, b: Tensor) -> float:
    total = sum(torch.cdist(block, b).sum().item() for block in torch.split(a, 1024))
    return total / (len(a) * len(b))
