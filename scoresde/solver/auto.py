"""The default: what is most accurate for a Gaussian process at a given NFE, along its own grid."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from scoresde.grid.base import Grid
from scoresde.noise import Noise
from scoresde.registry import build
from scoresde.sde.base import SDE, GaussianSDE, Process
from scoresde.solver.base import Solver

__all__ = ["Auto"]


@dataclass(frozen=True)
class Auto(Solver):
    """`exponential_abm` along `regular`.

    Raises:
        InputError: for a process that is not a GaussianSDE.

    Source: docs/solvers.md, which compares it with everything else.
    """

    needs = GaussianSDE
    order = 4
    denoises = True
    facts = ("4", "1/step", "ODE")

    def nfe(self, steps: int) -> int:
        """One a step."""
        return steps

    @property
    def pick(self) -> Solver:
        """The solver that it stands for."""
        solver: Solver = build("solver", "exponential_abm")
        return solver

    def default_grid(self, process: Process) -> Grid:
        """That of the solver picked."""
        return self.pick.default_grid(process)

    def iterate(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """As the solver picked; see `Solver.iterate`."""
        self.check(sde)
        return self.pick.iterate(sde, x, ts, noise)
