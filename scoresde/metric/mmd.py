"""Maximum mean discrepancy with a Gaussian kernel."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.data.base import Samples
from scoresde.errors import InputError, check, typed
from scoresde.metric.base import Metric, halves, rows

__all__ = ["MMD"]


@dataclass(frozen=True)
class MMD(Metric):
    """MMD² = E k(a, a') + E k(b, b') − 2 E k(a, b) with k(x, y) = exp(−|x − y|²/(2h²)).

    The U-statistic: a point is not paired with itself, so that the mean is 0 where the laws are equal, whatever the
    sizes; chance makes it negative half of the time. The figure is MMD², not MMD.

    Args:
        bandwidth: h > 0, in the unit of the data; by default the median distance between two points of the data.
        seed: of the points that the median is of and of the split into halves, in [0, 2⁶³).

    Raises:
        InputError: for a value out of range, or where the median is zero.

    Source: Gretton et al. 2012, "A kernel two-sample test", eq. 3 and section 8.1 (the median).
    """

    bandwidth: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a bandwidth that is not positive."""
        typed(self)
        check(self, "bandwidth", self.bandwidth is None or 0 < self.bandwidth < float("inf"), "a number > 0, or null")
        check(self, "seed", 0 <= self.seed < 2**63, "a whole number in [0, 2**63)")

    def __call__(self, samples: Tensor, data: Samples) -> dict[str, float]:
        """Samples against the data, and one half of the data against the other; see `Metric`."""
        a, b = rows(samples, data)
        h = self.bandwidth or self.median(b)
        name = "squared maximum mean discrepancy"
        floor = self.squared(*halves(b, len(a), self.seed), h)
        return {name: self.squared(a, b, h), f"{name} of two halves of the data": floor}

    def median(self, x: Tensor) -> float:
        """The median distance between two of (at most a thousand of) the points x, shape (N, D).

        Raises:
            InputError: where it is zero.
        """
        h = float(torch.pdist(halves(x, 1000, self.seed)[0]).median())
        if not h > 0:
            raise InputError("the median distance within the data is 0, and no bandwidth: try metric.bandwidth=1")
        return h

    def squared(self, a: Tensor, b: Tensor, bandwidth: float) -> float:
        """MMD² of two sets of equally likely points.

        Args:
            a: shape (n, D), n ≥ 2.
            b: shape (m, D), m ≥ 2.
            bandwidth: h.

        Returns:
            A number in [-2, 2], without unit.
        """
        n, m = len(a), len(b)
        within = sum((_sum(x, x, bandwidth) - len(x)) / (len(x) * (len(x) - 1)) for x in (a, b))
        return within - 2 * _sum(a, b, bandwidth) / (n * m)


def _sum(a: Tensor, b: Tensor, bandwidth: float) -> float:
    """Σ k over all pairs."""
    blocks = (torch.cdist(block, b) / bandwidth for block in torch.split(a, 1024))
    return sum(float(d.square_().mul_(-0.5).exp_().sum()) for d in blocks)
