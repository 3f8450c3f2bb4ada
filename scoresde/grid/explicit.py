"""Times that are given one by one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scoresde.errors import InputError, check
from scoresde.grid.base import Grid
from scoresde.sde.base import Process

__all__ = ["Explicit"]


@dataclass(frozen=True)
class Explicit(Grid):
    """The times that are given: ``grid=explicit grid.times=[1.0,0.5,0.1]``, in two steps.

    They need not span the process's clock. Sampling starts with the noise of the first; with ``denoise`` it goes on
    from the last to t = 0, unless that is t_min, in whose place it then takes 0, as on every grid.

    Args:
        times: falling times in [t_min, t_max], two at the least.

    Raises:
        InputError: for times that do not fall or lie outside the process, and for another number of steps than theirs.

    Source: the user.
    """

    times: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what are no times, or do not fall; none at all are refused where they are needed."""
        object.__setattr__(self, "times", tuple(self.times) if isinstance(self.times, list) else self.times)
        numbers = isinstance(self.times, tuple) and all(type(t) in (int, float) for t in self.times)
        falling = numbers and all(a > b for a, b in zip(self.times, self.times[1:], strict=False))
        check(self, "times", falling and len(self.times) != 1, "falling numbers, two at the least")

    @property
    def steps(self) -> int | None:  # type: ignore[override]
        """One less than the times; None where there are none yet."""
        return len(self.times) - 1 if self.times else None

    def place(self, process: Process, steps: int) -> Tensor:
        """The times as they are."""
        if not self.times:
            raise InputError("Explicit has no times: give them, as in grid.times=[1.0,0.5,0.1]")
        if steps != self.steps:
            raise InputError(f"steps = {steps}, but Explicit.times make {self.steps}: leave steps out")
        ts = torch.tensor(self.times, dtype=torch.float64)
        for t in ts:
            process.check_time(t)
        return ts
