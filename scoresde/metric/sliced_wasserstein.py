"""Sliced Wasserstein distance: optimal transport along random lines."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.data.base import Samples
from scoresde.errors import check, typed
from scoresde.metric.base import Metric, halves, rows

__all__ = ["SlicedWasserstein"]


@dataclass(frozen=True)
class SlicedWasserstein(Metric):
    """SW₂ = √(mean over unit vectors θ of W₂²(θ·a, θ·b)), where W₂² = ∫₀¹ |F_a⁻¹(q) − F_b⁻¹(q)|² dq on a line.

    W₂ on a line is exact, also where the sets differ in size. For a shift by v it is |v|/√D.

    Args:
        projections: how many directions θ, ≥ 1.
        seed: of the directions and of the split into halves, in [0, 2⁶³).

    Raises:
        InputError: for a value out of range.

    Source: Bonneel et al. 2015, "Sliced and Radon Wasserstein barycenters of measures", eq. 8.
    """

    projections: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse no direction at all."""
        typed(self)
        check(self, "projections", self.projections >= 1, "a whole number >= 1")
        check(self, "seed", 0 <= self.seed < 2**63, "a whole number in [0, 2**63)")

    def __call__(self, samples: Tensor, data: Samples) -> dict[str, float]:
        """Samples against the data, and one half of the data against the other; see `Metric`."""
        a, b = rows(samples, data)
        name = "sliced Wasserstein-2"
        floor = self.distance(*halves(b, len(a), self.seed))
        return {name: self.distance(a, b), f"{name} of two halves of the data": floor}

    def distance(self, a: Tensor, b: Tensor) -> float:
        """SW₂ of two sets of equally likely points.

        Args:
            a: shape (n, D).
            b: shape (m, D).

        Returns:
            A number ≥ 0, in the unit of the points.
        """
        generator = torch.Generator().manual_seed(self.seed)
        directions = torch.randn(self.projections, a.shape[1], dtype=torch.float64, generator=generator)
        directions /= directions.norm(dim=1, keepdim=True)
        n, m = len(a), len(b)
        # both quantile functions are constant between multiples of 1/n and 1/m: in whole numbers of 1/(nm)
        ends = torch.unique(torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]))
        widths = ends.diff(prepend=ends.new_zeros(1)).double() / (n * m)
        i, j = (ends - 1) // m, (ends - 1) // n
        total = 0.0
        for theta in torch.split(directions, 32):
            u, v = (theta @ x.double().mT for x in (a, b))
            gap = u.sort().values[:, i] - v.sort().values[:, j]
            total += float((gap**2 @ widths).sum())
        return (total / self.projections) ** 0.5
