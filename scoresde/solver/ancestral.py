"""Ancestral sampling: the posterior of the forward chain, as in DDPM."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.base import falling
from scoresde.solver.coefficients.posterior import posterior
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["Ancestral"]


@dataclass(frozen=True)
class Ancestral(TableSolver):
    """x_s ~ N(m, v): the mean of q(x_s | x_t, x_0) at the predicted x_0, and its variance or an upper bound of it.

    With r = α_t/α_s and β = s_t² − r² s_s² (DDPM's β_t), m = r (s_s²/s_t²) x_t + α_s (β/s_t²) x_0 where η = 1. Other η
    have DDIM's mean, so that "small" is DDIM, under the name and with the default η of DDPM; "large" is its own. The
    last step draws nothing when it leads onto the data (t = 0): it ends on x_0.

    The posterior q(x_s | x_t, x_0) exists for every Gaussian process, being made of the kernel's α and s alone: for
    sub-VP too, for which the paper has no chain, and hence no ancestral sampling.

    Args:
        variance: "small" is the posterior's own, β s_s²/s_t² (right for a single data point); "large" is β, right for
            normal data of unit variance, and the paper's choice for VP. Times η² each.
        eta: η in [0, 1].

    Raises:
        InputError: for an unknown variance, η out of range, or a process that is not a GaussianSDE.

    Source: Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 7, section 3.2 and algorithm 2; Song et al.
    2021, eq. 4 and 47; for any η Song, Meng & Ermon 2021, "Denoising diffusion implicit models", eq. 16.
    """

    order = 1
    weak_order = 1
    variance: Literal["small", "large"] = "small"
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a variance that there is not, and an η that leaves none for ε."""
        typed(self)
        check(self, "eta", 0 <= self.eta <= 1, "a number in [0, 1]")

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """DDIM's rows; √β is s_t/s_s times the posterior's deviation."""
        if self.eta:
            falling(self, ts)
        rows = []
        for a, b in pairwise(levels(process, ts)):
            keep, clean, std = posterior(a, b, self.eta)
            if self.variance == "large" and b.std > 0:
                std *= a.std / b.std
            rows.append([Row(a.t, keep, [clean], [std] if self.eta else [])])
        return rows
