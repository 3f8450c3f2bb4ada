"""The probability-flow ODE by SciPy's solve_ivp, in float64 on the CPU: RK45, DOP853, LSODA, …"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from scoresde.errors import Diverged, check, typed
from scoresde.noise import Noise
from scoresde.sde.base import SDE
from scoresde.solver.base import Solver
from scoresde.solver.engine.rendezvous import Drift, report_each

__all__ = ["SolveIVP"]


@dataclass(frozen=True)
class SolveIVP(Solver):
    """dx/dt = a(x, t) of an SDE without noise, as a `Reverse` with η = 0, in float64; each sample is a
    system of equations of its own. One whose steps vanish or whose drift is not finite is NaN. It carries no gradients.

    Args:
        method: SciPy's: RK45, RK23, DOP853 (explicit), Radau, BDF, LSODA (stiff).
        rtol, atol: relative and absolute tolerance, > 0.

    Raises:
        InputError: for an unknown method, a tolerance that is not positive, an SDE with noise, or a state that requires
            gradients.

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

        self.begin(sde, x, ts, noise)
        ends = (ts[0].item(), ts[-1].item())

        def engine(drift: Drift, start: Tensor) -> Tensor:
            def slope(t: float, y: Any) -> Any:
                return drift(torch.from_numpy(y.copy()).reshape(start.shape), t).flatten().double().numpy()

            y = start.flatten().double().numpy()
            found = solve_ivp(slope, ends, y, method=self.method, t_eval=ts.numpy(), rtol=self.rtol, atol=self.atol)
            if not found.success:
                raise Diverged(found.message)
            return torch.from_numpy(found.y.T.copy()).reshape(-1, *start.shape)

        yield from report_each(sde, x, ts, engine)
