"""The probability-flow ODE by torchdiffeq: dopri5 and its other adaptive and fixed methods."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor
from torchdiffeq import odeint
from torchdiffeq._impl.fixed_adams import AdamsBashforthMoulton
from torchdiffeq._impl.odeint import SOLVERS

from scoresde.errors import Diverged, InputError, check, nearest, typed
from scoresde.noise import Noise
from scoresde.sde.base import SDE
from scoresde.solver.base import Solver, check_times
from scoresde.solver.engine.rendezvous import Drift, report_each

__all__ = ["ODE"]

# its Adams methods take every step to be as long as the last, and are of order two or unstable on any other grid
_METHODS = {
    name: method
    for name, method in SOLVERS.items()
    if name != "scipy_solver" and not issubclass(method, AdamsBashforthMoulton)
}
_STAGES = {"euler": 1, "midpoint": 2, "heun2": 2, "heun3": 3, "rk4": 4}


@dataclass(frozen=True)
class ODE(Solver):
    """dx/dt = a(x, t) of an SDE without noise, as a `Reverse` with η = 0.

    An adaptive method chooses its steps, for each sample its own; the grid says where to report, and a sample whose
    steps vanish or whose drift is not finite is NaN there; it carries no gradients. A fixed one steps along the grid,
    and does.

    Args:
        method: one of torchdiffeq's: dopri5, dopri8, bosh3, fehlberg2, adaptive_heun (adaptive); euler, midpoint,
            heun2, heun3, rk4 (fixed).
        rtol, atol: relative and absolute tolerance of adaptive methods, > 0.

    Raises:
        InputError: for an unknown method, a tolerance that is not positive, an SDE with noise, or an adaptive method
            from a state that requires gradients.

    Source: Song et al. 2021, section 4.3; Dormand & Prince 1980 (dopri5).
    """

    facts = ("–", "as needed", "adaptive")
    method: str = "dopri5"
    rtol: float = 1e-5
    atol: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what torchdiffeq would only refuse later."""
        typed(self)
        if self.method not in _METHODS:
            raise InputError(
                f"ODE.method = {self.method!r} is not one of torchdiffeq's: {nearest(self.method, _METHODS)}"
            )
        check(self, "rtol", 0 < self.rtol < float("inf"), "a number > 0")
        check(self, "atol", 0 < self.atol < float("inf"), "a number > 0")

    @property
    def adaptive(self) -> bool:  # type: ignore[override]
        """Whether the method chooses its steps."""
        return self.method not in _STAGES

    @property
    def order(self) -> int:  # type: ignore[override]
        """The method's."""
        return int(_METHODS[self.method].order)

    def nfe(self, steps: int) -> int | None:
        """A fixed method's stages times the steps."""
        return _STAGES[self.method] * steps if self.method in _STAGES else None

    def iterate(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Go along the grid, or solve once and report there; see `Solver.iterate`."""
        self.begin(sde, x, ts, noise)
        if self.adaptive:
            yield from report_each(sde, x, ts, partial(self._engine, ts))
            return
        yield ts[0], x
        for t, s in pairwise(ts):
            low, high = min(t, s).item(), max(t, s).item()  # a last stage is off by a rounding
            ends = torch.stack([t, s]).to(x.device)
            x = odeint(lambda u, y: sde.drift(y, u.clamp(low, high)), x, ends, method=self.method)[-1]  # noqa: B023
            yield s, x

    def solve(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Tensor:
        """The state at ts[-1]; an adaptive method reports nowhere else."""
        check_times(sde, ts)
        return super().solve(sde, x, ts[[0, -1]] if self.adaptive else ts, noise)

    def _engine(self, ts: Tensor, drift: Drift, start: Tensor) -> Tensor:
        # adaptive steps would look beyond the last time, where a variance may be negative
        options = {"step_t": ts[-1:]}
        try:
            return cast(
                Tensor,
                odeint(
                    lambda t, y: drift(y, t.item()),
                    start,
                    ts,
                    rtol=self.rtol,
                    atol=self.atol,
                    method=self.method,
                    options=options,
                ),
            )
        except AssertionError as error:  # torchdiffeq's word for steps that vanish and states that are not finite
            raise Diverged(str(error)) from None
