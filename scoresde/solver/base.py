"""What a solver is: a way from one end of a grid of times to the other."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from scoresde import registry
from scoresde.errors import InputError, check, typed
from scoresde.grid.base import Grid
from scoresde.grid.log_snr import LogSNR
from scoresde.grid.uniform import Uniform
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.score import GaussianPrediction
from scoresde.sde.base import SDE, GaussianSDE, Process

__all__ = [
    "Corrector",
    "Solver",
    "State",
    "StepSolver",
    "check_times",
    "falling",
    "predict",
]

State = Any
"""What a step hands to the next: coefficients of the grid, history."""


class Solver(ABC):
    """Integrates an SDE along a grid of times, in either direction. Solvers keep no state and can be reused.

    A solver says once what it needs and what it promises:

    - ``needs``: `SDE` for any, also a forward process; a class of `Process` for the `Reverse` of such a process.
    - ``order``: p, where the error on an ODE falls as stepᵖ; None for a solver that always draws noise.
    - ``weak_order``: the same for the law of the samples of an SDE; None for a solver that draws no noise, 0 where
      the error is set by something else than the grid.
    - ``strong_order``: the same for paths of given Brownian motion, where diagonal noise depends on the state.
    - ``adaptive``: whether it chooses its own steps, so that the grid only says where to report.
    - ``denoises``: whether its last step may go to t = 0, onto the data; one that does not stops at t_min, and sampling
      ends with one more network evaluation there.
    """

    needs: ClassVar[type] = SDE
    order: int | None = None
    weak_order: int | None = None
    strong_order: ClassVar[float | None] = None
    adaptive: ClassVar[bool] = False
    denoises: ClassVar[bool] = False
    eta: float = 0.0
    """η of the `Reverse` that the solver is meant for: 0 is the probability-flow ODE, 1 the reverse SDE."""
    facts: ClassVar[tuple[str, str, str] | None] = None
    """Order, NFE and kind at the defaults, where they are computed: --help reads the source alone, and a test compares.
    ``("3/2", "3/step − 2", "ODE or SDE")``; other kinds are ODE, SDE, adaptive and parallel."""

    @abstractmethod
    def nfe(self, steps: int) -> int | None:
        """Network evaluations that a grid of so many steps takes; None where the solver decides for itself.

        A step onto the data, to t = 0, is not counted here: it is one evaluation, whatever the solver.
        """

    @abstractmethod
    def iterate(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Go along the grid.

        Args:
            sde: what to integrate, forward or `Reverse`.
            x: the state at ts[0], shape (B, ...).
            ts: times, shape (steps + 1,), float64 on the CPU; falling to sample, rising to noise.
            noise: random numbers; by default of a seed that torch's global generator draws.

        Yields:
            Each time and the state there, ts[0] and x first.

        Raises:
            InputError: with the first pair, before any network evaluation, for what the solver cannot integrate.
        """

    def begin(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Noise:
        """What each `iterate` does first: refuse what it cannot integrate.

        Returns:
            The noise of the run.

        Raises:
            InputError: for an SDE, times or a state that are not what the solver needs.
        """
        self.check(sde)
        check_times(sde, ts, self.denoises)
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim == 0 or len(x) == 0:
            got = f"shape {tuple(x.shape)}, {str(x.dtype)[6:]}" if isinstance(x, Tensor) else repr(x)
            raise InputError(f"x = {got}, but it must be a tensor of real numbers, (B, ...) of a batch of one at least")
        if noise is None:
            noise = Noise(int(torch.randint(2**62, ())), tuple(x.shape), device=x.device, dtype=x.dtype)
        return noise

    def solve(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Tensor:
        """The state at ts[-1], the shape of x. Arguments and errors are those of `iterate`."""
        end = x
        for _, end in self.iterate(sde, x, ts, noise):  # noqa: B007  the last one is wanted
            pass
        return end

    def default_grid(self, process: Process) -> Grid:
        """The grid that the solver takes where none is given: equal steps of log-SNR, of time where there is no SNR."""
        return LogSNR() if isinstance(process, GaussianSDE) else Uniform()

    def check(self, sde: SDE) -> None:
        """Refuse an SDE that the solver cannot integrate, naming those that can.

        Raises:
            InputError: ``DDIM needs a GaussianSDE, and DoubleWell is not one; solvers that work: euler, heun``.
        """
        if why := self.refusal(sde):
            raise InputError(f"{why}; solvers that work: {', '.join(_working(sde)) or 'none'}")

    def refusal(self, sde: SDE) -> str | None:
        """Why the solver cannot integrate an SDE, in half a sentence; None where it can."""
        name = type(self).__name__
        if self.weak_order is None and not sde.deterministic:
            wants = "eta=0" if isinstance(sde, Reverse) else "a Reverse with eta=0"
            return f"{name} integrates no noise: it needs {wants}"
        if self.needs is SDE:
            return None
        if not isinstance(sde, Reverse):
            return f"{name} needs a score, and {type(sde).__name__} has none"
        if not isinstance(sde.model.sde, self.needs):
            return f"{name} needs a {self.needs.__name__}, and {type(sde.model.sde).__name__} is not one"
        if self.weak_order and sde.eta != self.eta:  # such a solver draws its own noise, whatever the reverse's η
            return f"{name} has eta = {self.eta}, but the Reverse {sde.eta}: give it eta=solver.eta"
        return None


class StepSolver(Solver):
    """A solver that takes one step from each time of the grid to the next."""

    cost: ClassVar[int] = 1
    """Network evaluations a step."""

    def nfe(self, steps: int) -> int | None:
        """``cost`` times the steps."""
        return self.cost * steps

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """What the first step is handed: coefficients of the whole grid, in float64, made once."""
        return None

    @abstractmethod
    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """Go from t to s.

        Args:
            sde: what to integrate.
            x: the state at t, shape (B, ...).
            t, s: where from and where to, shape (), float64 on the CPU.
            noise: random numbers.
            state: what `init` or the step before returned.

        Returns:
            The state at s, the shape of x, and what the next step is handed.
        """

    def iterate(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Step along the grid; see `Solver.iterate`."""
        noise = self.begin(sde, x, ts, noise)
        state = self.init(sde, x, ts)
        yield ts[0], x
        for t, s in pairwise(ts):
            x, state = self.step(sde, x, t, s, noise, state)
            yield s, x


@dataclass(frozen=True)
class Corrector(StepSolver):
    """A step solver that only moves at s: whatever t was, its step changes the state towards the law at s.

    Args:
        snr: the size of its updates, a signal-to-noise ratio, in (0, 1).
        steps: updates at each time, ≥ 1.

    Raises:
        InputError: for a value out of range.
    """

    needs = GaussianSDE
    weak_order = 0
    eta = 1.0
    facts = ("–", "1/step + 1", "SDE")
    snr: float = 0.16
    steps: int = 1

    def __post_init__(self) -> None:
        """Refuse updates that are none or diverge."""
        typed(self)
        check(self, "snr", 0 < self.snr < 1, "a number in (0, 1)")
        check(self, "steps", self.steps >= 1, "a whole number >= 1")

    def nfe(self, steps: int) -> int:
        """One for each update."""
        return steps * self.steps

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """s_s² of each step."""
        return cast(GaussianSDE, cast(Reverse, sde).model.sde).var(ts[1:]).tolist()


def check_times(sde: SDE, ts: Tensor, denoises: bool = False) -> None:
    """Refuse times that are no grid, or lie outside the process, where the last may be 0 for a solver that denoises.

    Raises:
        InputError: for times that are no tensor, are not finite, neither rise nor fall throughout, or leave
            [t_min, t_max].
    """
    if not isinstance(ts, Tensor):
        raise InputError(f"times = {ts!r}, but they must be a tensor: shape (steps + 1,), float64 on the CPU")
    steps = ts.diff()
    if ts.ndim != 1 or len(ts) < 2 or not ((steps > 0).all() or (steps < 0).all()):
        some = ", ".join(f"{t:.4g}" for t in ts.flatten()[:4].tolist()) + (", …" if ts.numel() > 4 else "")
        raise InputError(f"times must rise or fall throughout, two at the least: {some} do not")
    process = sde.model.sde if isinstance(sde, Reverse) else sde
    if isinstance(process, Process):
        for t in (ts[0], *(() if denoises and ts[-1] == 0 else (ts[-1],))):
            process.check_time(t)


def falling(solver: Solver, ts: Tensor) -> None:
    """Refuse a grid along which noise would have to be taken back.

    Raises:
        InputError: for a rising grid.
    """
    if not (ts.diff() < 0).all():
        raise InputError(f"{type(solver).__name__} with noise only samples, from t_max down: the times must fall")


def predict(sde: SDE, x: Tensor, t: Tensor) -> GaussianPrediction:
    """What the model of a Gaussian reverse says of x at t: one network evaluation."""
    return cast(GaussianPrediction, cast(Reverse, sde).predict(x, t))


def _working(sde: SDE) -> Iterator[str]:
    """The solvers of the registry that can integrate an SDE, at its η."""
    for name in registry.names("solver"):
        with suppress(InputError):
            solver: Any = registry.build("solver", name)
            if isinstance(sde, Reverse) and "eta" in {f.name for f in fields(solver)}:
                solver = replace(solver, eta=sde.eta)
            if solver.refusal(sde) is None:
                yield name
