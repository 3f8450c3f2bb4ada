"""The probability-flow ODE by torchdiffeq: dopri5 and its other adaptive and fixed methods."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torchdiffeq import odeint
from torchdiffeq._impl.fixed_adams import AdamsBashforthMoulton
from torchdiffeq._impl.odeint import SOLVERS
from torchdiffeq._impl.solvers import AdaptiveStepsizeODESolver

from scoresde.errors import Diverged, InputError, check, nearest, typed
from scoresde.noise import Noise
from scoresde.sde.base import SDE
from scoresde.solver.base import Solver, check_times

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

    An adaptive method chooses its steps, one size for the whole batch; the grid says where to report. A fixed one steps
    along the grid.

    Args:
        method: one of torchdiffeq's: dopri5, dopri8, bosh3, fehlberg2, adaptive_heun (adaptive); euler, midpoint,
            heun2, heun3, rk4 (fixed).
        rtol, atol: relative and absolute tolerance of adaptive methods, > 0.

    Raises:
        InputError: for an unknown method, a tolerance that is not positive, or an SDE with noise.
        Diverged: where steps vanish or the state is not finite.

    Source: Song et al. 2021, section 4.3; Dormand & Prince 1980 (dopri5).
    """

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
        return issubclass(_METHODS[self.method], AdaptiveStepsizeODESolver)

    @property
    def order(self) -> int:  # type: ignore[override]
        """The method's."""
        return int(_METHODS[self.method].order)

    def nfe(self, steps: int) -> int | None:
        """A fixed method's stages times the steps."""
        return _STAGES[self.method] * steps if self.method in _STAGES else None

    def iterate(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Go along the grid, or solve once and report there; see `Solver.iterate`."""
        self.check(sde)
        check_times(sde, ts)
        if self.adaptive:
            yield from zip(ts, self._odeint(sde, x, ts), strict=True)
            return
        yield ts[0], x
        for i in range(1, len(ts)):
            x = self._odeint(sde, x, ts[i - 1 : i + 1])[-1]
            yield ts[i], x

    def solve(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Tensor:
        """The state at ts[-1]; an adaptive method reports nowhere else."""
        check_times(sde, ts)
        return super().solve(sde, x, ts[[0, -1]] if self.adaptive else ts, noise)

    def _odeint(self, sde: SDE, x: Tensor, ts: Tensor) -> Tensor:
        low, high = ts.min().item(), ts.max().item()
        # adaptive steps would look beyond the last time, where a variance may be negative
        options = {"step_t": ts[-1:].to(x.device)} if self.adaptive else {}

        def drift(t: Tensor, y: Tensor) -> Tensor:
            if self.adaptive and not t.isfinite():
                raise Diverged(f"ODE met a drift that is not finite between t = {high:.3g} and {low:.3g}")
            return sde.drift(y, t.clamp(low, high))

        try:
            return odeint(
                drift,
                x,
                ts.to(x.device),
                rtol=self.rtol,
                atol=self.atol,
                method=self.method,
                options=options,
            )
        except AssertionError as error:  # torchdiffeq's word for steps that vanish and states that are not finite
            raise Diverged(
                f"ODE cannot go on from t = {high:.3g} to {low:.3g}: {str(error).partition(':')[0]}"
            ) from None
