"""What a grid is: the times at which a solver steps."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from scoresde.errors import InputError
from scoresde.sde.base import GaussianSDE, Process

__all__ = ["Grid", "gaussian"]


class Grid(ABC):
    """Times from t_max down to t_min."""

    @abstractmethod
    def times(self, process: Process, u: Tensor) -> Tensor:
        """Spread the steps.

        Args:
            process: whose clock it is.
            u: rising from 0 at the noise end to 1 at the data end, shape (steps + 1,), float64.

        Returns:
            Falling times, the shape of u; `__call__` sets both ends.
        """

    def __call__(self, process: Process, steps: int) -> Tensor:
        """The grid of a process.

        Args:
            process: whose clock it is.
            steps: how many steps, ≥ 1.

        Returns:
            Shape (steps + 1,), float64, on the CPU, strictly falling, from t_max exactly to t_min exactly.

        Raises:
            InputError: for a number of steps that is not one, or where two times coincide.
        """
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError(f"steps = {steps!r}, but it must be a whole number >= 1")
        ts = self.times(process, torch.linspace(0, 1, steps + 1, dtype=torch.float64))
        ts[0], ts[-1] = process.t_max, process.t_min
        if not (ts.diff() < 0).all():
            raise InputError(f"{type(self).__name__} cannot make {steps} steps: times would coincide; take fewer")
        return ts


def gaussian(grid: Grid, process: Process) -> GaussianSDE:
    """The process, if it has the noise level that a grid is made from.

    Raises:
        InputError: if it has none.
    """
    if not isinstance(process, GaussianSDE):
        names = type(grid).__name__, type(process).__name__
        raise InputError(f"grid {names[0]} needs a GaussianSDE; {names[1]} is not one: try grid=uniform")
    return process
