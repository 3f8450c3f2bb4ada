"""DDIM: each step as if the predicted x_0 were the truth."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.sde.base import GaussianSDE
from scoresde.solver.base import falling
from scoresde.solver.coefficients.posterior import posterior
from scoresde.solver.coefficients.table import Row, Table, TableSolver, levels

__all__ = ["DDIM"]


@dataclass(frozen=True)
class DDIM(TableSolver):
    """x_s = α_s x_0 + √(s_s² − c²) ε + c z, with c² = η² (s_s²/s_t²)(s_t² − (α_t/α_s)² s_s²).

    With η = 0 this is the exponential integrator of first order of the probability-flow ODE, with η = 1 DDPM's
    posterior step, which is also ``ancestral``.

    Args:
        eta: η in [0, 1].

    Raises:
        InputError: for η out of range, or a process that is not a GaussianSDE.

    Source: Song, Meng & Ermon 2021, "Denoising diffusion implicit models", eq. 12 and 16, for any α and s.
    """

    order = 1
    weak_order = 1
    eta: float = 0.0

    def __post_init__(self) -> None:
        """Refuse an η that leaves no variance for ε."""
        typed(self)
        check(self, "eta", 0 <= self.eta <= 1, "a number in [0, 1]")

    def table(self, process: GaussianSDE, ts: Tensor) -> Table:
        """In x_0, since ε = (x_t − α_t x_0)/s_t."""
        if self.eta:
            falling(self, ts)
        rows = []
        for a, b in pairwise(levels(process, ts)):
            keep, clean, std = posterior(a, b, self.eta)
            rows.append([Row(a.t, keep, [clean], [std] if self.eta else [])])
        return rows
