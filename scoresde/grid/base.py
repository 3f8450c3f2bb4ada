"""What a grid is: the times at which a solver steps."""

from abc import ABC, abstractmethod
from typing import ClassVar, cast

import torch
from torch import Tensor

from scoresde import registry
from scoresde.errors import InputError
from scoresde.sde.base import GaussianSDE, Process

__all__ = ["Grid", "LevelGrid", "SpacedGrid"]


class Grid(ABC):
    """Falling times within a process's clock.

    A grid says once what it is for: ``needs`` is the class of `Process` whose times it can place.
    """

    needs: ClassVar[type] = Process
    steps: int | None = None
    """How many steps it has; None for as many as are asked for."""

    @abstractmethod
    def place(self, process: Process, steps: int) -> Tensor:
        """Falling times, shape (steps + 1,), float64; arguments are those of `__call__`, which has checked them."""

    def __call__(self, process: Process, steps: int) -> Tensor:
        """The grid of a process.

        Args:
            process: whose clock it is.
            steps: how many steps, ≥ 1.

        Returns:
            Shape (steps + 1,), float64, on the CPU, strictly falling.

        Raises:
            InputError: for a process of another class, for a number of steps that is not one or not the grid's, or
                where two times coincide.
        """
        name = type(self).__name__
        if not isinstance(process, self.needs):
            fit = [n for n in registry.names("grid") if isinstance(process, registry.component("grid", n).needs)]
            raise InputError(
                f"grid {name} needs a {self.needs.__name__}, and {type(process).__name__} is not one; "
                f"grids that work: {', '.join(fit)}"
            )
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError(f"steps = {steps!r}, but it must be a whole number >= 1")
        if steps > 10**6:
            raise InputError(f"steps = {steps}, but a million is the most")
        ts = self.place(process, steps)
        if not (ts.diff() < 0).all():
            raise InputError(f"{name} cannot make {steps} steps: times would coincide; take fewer")
        return ts


class SpacedGrid(Grid):
    """From t_max exactly to t_min exactly, in equal steps of something."""

    @abstractmethod
    def spread(self, process: Process, u: Tensor) -> Tensor:
        """Spread the steps.

        Args:
            process: whose clock it is.
            u: rising from 0 at the noise end to 1 at the data end, shape (steps + 1,), float64.

        Returns:
            Falling times, the shape of u; `place` sets both ends.
        """

    def place(self, process: Process, steps: int) -> Tensor:
        """As `spread` says, with both ends exactly."""
        ts = self.spread(process, torch.linspace(0, 1, steps + 1, dtype=torch.float64))
        ts[0], ts[-1] = process.t_max, process.t_min
        return ts


class LevelGrid(SpacedGrid):
    """Equal steps of a function of the noise level σ̂ = s/α."""

    needs = GaussianSDE

    @abstractmethod
    def scale(self, sigma: Tensor) -> Tensor:
        """The function of σ̂ that is in equal steps: smooth and monotone."""

    @abstractmethod
    def level(self, scale: Tensor) -> Tensor:
        """Its inverse, σ̂."""

    def spread(self, process: Process, u: Tensor) -> Tensor:
        """Linear in the scale, then the process's inverse."""
        sde = cast(GaussianSDE, process)
        first, last = (self.scale((-sde.log_snr(u.new_tensor(t)) / 2).exp()) for t in (sde.t_max, sde.t_min))
        return sde.time(-2 * self.level(first + u * (last - first)).log())
