"""The default: what is most accurate for a process at a given NFE, along its own grid."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from scoresde.grid.base import Grid
from scoresde.noise import Noise
from scoresde.registry import build
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE, GaussianSDE, Process
from scoresde.solver.base import Solver

__all__ = ["Auto"]


@dataclass(frozen=True)
class Auto(Solver):
    """`exponential_abm` along `regular` for a Gaussian process, `heun` along `uniform` for any other; without noise.

    `exponential_abm` is of order 4, in fewer than eight steps of order 3.

    Source: docs/solvers.md, which compares them with everything else.
    """

    order = 4
    denoises = True

    def pick(self, sde: SDE, steps: int) -> Solver:
        """The solver of a process, or of its reverse, for so many steps."""
        process = sde.model.sde if isinstance(sde, Reverse) else sde
        multistep = {"name": "exponential_abm", "order": 4 if steps >= 8 else 3}
        solver: Solver = build("solver", multistep if isinstance(process, GaussianSDE) else "heun")
        return solver

    def default_grid(self, process: Process) -> Grid:
        """That of the solver picked."""
        return self.pick(process, 1).default_grid(process)

    def nfe(self, steps: int) -> int:
        """One a step for a Gaussian process; two for any other."""
        return steps

    def iterate(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """As the solver picked; see `Solver.iterate`."""
        self.check(sde)
        return self.pick(sde, len(ts) - 1).iterate(sde, x, ts, noise)
