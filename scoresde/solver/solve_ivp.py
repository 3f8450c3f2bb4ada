"""The probability-flow ODE by SciPy's solve_ivp, in float64 on the CPU: RK45, DOP853, LSODA, …"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from scoresde.errors import Diverged, InputError, check, typed
from scoresde.noise import Noise
from scoresde.sde.base import SDE
from scoresde.solver.base import Solver, check_times

__all__ = ["SolveIVP"]


@dataclass(frozen=True)
class SolveIVP(Solver):
    """dx/dt = a(x, t) of an SDE without noise, as a `Reverse` with η = 0; the batch is one system of equations.

    Args:
        method: SciPy's: RK45, RK23, DOP853 (explicit), Radau, BDF, LSODA (stiff).
        rtol, atol: relative and absolute tolerance, > 0.

    Raises:
        InputError: for an unknown method, a tolerance that is not positive, an SDE with noise, or steps that vanish.
        Diverged: where the drift is not finite.

    Source: Song et al. 2021, section 4.3, whose code samples with RK45.
    """

    adaptive = True
    method: Literal["RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA"] = "RK45"
    rtol: float = 1e-5
    atol: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what SciPy would only refuse later."""
        typed(self)
        check(self, "rtol", 0 < self.rtol < float("inf"), "a number > 0")
        check(self, "atol", 0 < self.atol < float("inf"), "a number > 0")

    def nfe(self, steps: int) -> None:
        """The method decides."""

    def iterate(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Solve once, then report; see `Solver.iterate`."""
        from scipy.integrate import solve_ivp

        self.check(sde)
        check_times(sde, ts)

        ends = (ts[0].item(), ts[-1].item())

        def drift(t: float, y: Any) -> Any:
            state = torch.from_numpy(y).reshape(x.shape).to(x)
            # the last step is off by a rounding
            time = torch.tensor(t, dtype=torch.float64).clamp(min(ends), max(ends))
            slope = sde.drift(state, time)
            if not slope.isfinite().all():  # SciPy would halve its step for ever
                raise Diverged(f"SolveIVP met a drift that is not finite at t = {t:.3g}")
            return slope.flatten().double().cpu().numpy()

        start = x.flatten().double().cpu().numpy()
        with torch.no_grad():
            found = solve_ivp(drift, ends, start, method=self.method, t_eval=ts.numpy(), rtol=self.rtol, atol=self.atol)
        if not found.success:
            raise InputError(f"SolveIVP stopped: {found.message}; loosen solver.rtol = {self.rtol}")
        for t, y in zip(ts, found.y.T, strict=True):
            yield t, torch.from_numpy(y.copy()).reshape(x.shape).to(x)
