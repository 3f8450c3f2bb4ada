"""The stochastic Runge–Kutta method of strong order 1.5, by torchsde."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchsde import BaseBrownian, sdeint

from scoresde.errors import InputError
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE
from scoresde.solver.base import State, StepSolver

__all__ = ["SRK"]


@dataclass(frozen=True)
class SRK(StepSolver):
    """Rößler's SRI2 for diagonal noise: strong order 1.5, also where σ depends on x.

    Args:
        eta: η of the reverse: 1 for the reverse SDE, 0 for the probability-flow ODE, anything ≥ 0.

    Source: Rößler 2010, "Runge–Kutta methods for the strong approximation of solutions of SDEs", table of SRI2.
    """

    order = 3
    weak_order = 2
    cost = 4
    eta: float = 1.0

    def check(self, sde: SDE) -> None:
        """Refuse an SDE whose noise is not diagonal."""
        super().check(sde)
        process = sde.model.sde if isinstance(sde, Reverse) else sde
        if type(process).noise is not SDE.noise:
            name = type(process).__name__
            raise InputError(f"SRK needs diagonal noise; {name} has a matrix: try solver=euler_maruyama")

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """One step of torchsde, on the flattened state, in rising time."""
        sign = 1.0 if s > t else -1.0
        # a step size larger than the interval: torchsde then takes one step and ends on s exactly
        path = _Increments(noise, x.flatten(1))
        ends = torch.stack([t, s]) * sign
        result = sdeint(
            _Rising(sde, x.shape, sign), x.flatten(1), ends, bm=path, method="srk", dt=2 * abs(s - t).item()
        )
        return result[-1].reshape(x.shape), state


class _Rising:
    """The SDE as torchsde reads it: time u = ± t rises, data has two axes."""

    noise_type = "diagonal"
    sde_type = "ito"

    def __init__(self, sde: SDE, shape: torch.Size, sign: float) -> None:
        self.sde, self.shape, self.sign = sde, shape, sign
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def f(self, u: Tensor, y: Tensor) -> Tensor:
        # torchsde asks for the drift of a stage again in every later stage
        for when, where, known in self._seen:
            if where is y and when == u:
                return known
        drift = self.sign * self.sde.drift(y.reshape(self.shape), self.sign * u).flatten(1)
        self._seen.append((u, y, drift))
        return drift

    def g(self, u: Tensor, y: Tensor) -> Tensor:
        x = y.reshape(self.shape)
        return self.sde.diffusion(x, self.sign * u).expand_as(x).to(x.dtype).flatten(1)


class _Increments(BaseBrownian):  # type: ignore[misc]  # torchsde is not typed
    """One interval's increment W and its time integral U, drawn from the samples' own streams."""

    def __init__(self, noise: Noise, y: Tensor) -> None:
        self.noise, self.y = noise, y

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        h = tb - ta
        w, z = (self.noise.normal().flatten(1) for _ in range(2))
        increment = w * h.sqrt()
        # U = ∫ (w(u) − w(ta)) du is normal given W: mean hW/2, variance h³/12
        return increment, h / 2 * increment + (h**3 / 12).sqrt() * z

    def __repr__(self) -> str:
        return f"_Increments({tuple(self.y.shape)})"

    dtype = property(lambda self: self.y.dtype)
    device = property(lambda self: self.y.device)
    shape = property(lambda self: self.y.shape)
    levy_area_approximation = "space-time"
