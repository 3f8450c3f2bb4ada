"""Steps by torchsde: diagonal noise, in either direction of time, from the samples' own random numbers."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchsde import BaseBrownian, sdeint

from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE
from scoresde.solver.base import State, StepSolver

__all__ = ["TorchSDEStep"]


class TorchSDEStep(StepSolver):
    """One step of a method of torchsde from each time of the grid to the next."""

    method: str
    """The method's name in torchsde."""
    stratonovich: ClassVar[frozenset[str]] = frozenset({"euler_heun", "heun", "midpoint"})
    """Methods that converge to Stratonovich's solution: given the drift a − ¼ ∇·σσᵀ, that is Itô's of a."""

    def refusal(self, sde: SDE) -> str | None:
        """Noise that is not diagonal, or what any solver refuses."""
        process = sde.model.sde if isinstance(sde, Reverse) else sde
        if type(process).noise is not SDE.noise:
            return f"{type(self).__name__} needs diagonal noise, and {type(process).__name__} has a matrix"
        return super().refusal(sde)

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """One step of torchsde, on the flattened state, in rising time."""
        sign = 1.0 if s > t else -1.0
        ends = torch.stack([t, s]) * sign
        rising = _Rising(sde, x.shape, sign, "stratonovich" if self.method in self.stratonovich else "ito")
        # a step size larger than the interval: torchsde then takes one step and ends on s exactly
        far = 2 * abs(s - t).item()
        # without derivatives of σ, which autograd would be asked for
        options = {"grad_free": True}
        path = _Increments(noise, x.flatten(1))
        result = sdeint(rising, x.flatten(1), ends, bm=path, method=self.method, dt=far, options=options)
        return result[-1].reshape(x.shape), state


class _Rising:
    """The SDE as torchsde reads it: time u = ± t rises, data has two axes."""

    noise_type = "diagonal"

    def __init__(self, sde: SDE, shape: torch.Size, sign: float, sde_type: str) -> None:
        self.sde, self.shape, self.sign, self.sde_type = sde, shape, sign, sde_type
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def f(self, u: Tensor, y: Tensor) -> Tensor:
        # torchsde asks for the drift of a stage again in every later stage
        for when, where, known in self._seen:
            if where is y and when == u:
                return known
        x, t = y.reshape(self.shape), self.sign * u
        drift = self.sign * self.sde.drift(x, t)
        if self.sde_type == "stratonovich":  # ½ σ_i ∂_i σ_i, whatever the direction of time
            drift = drift - self.sde.gram_divergence(x, t) / 4
        self._seen.append((u, y, drift.flatten(1)))
        return self._seen[-1][2]

    def g(self, u: Tensor, y: Tensor) -> Tensor:
        x = y.reshape(self.shape)
        return self.sde.diffusion(x, self.sign * u).expand_as(x).to(x.dtype).flatten(1)


class _Increments(BaseBrownian):  # type: ignore[misc]  # torchsde is not typed
    """One interval's increment W and, if asked, its time integral U, drawn from the samples' own streams."""

    def __init__(self, noise: Noise, y: Tensor) -> None:
        self.noise, self.y = noise, y

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        h = tb - ta
        increment = self.noise.normal().flatten(1) * h.sqrt()
        if not return_U:
            return increment
        # U = ∫ (w(u) − w(ta)) du is normal given W: mean hW/2, variance h³/12
        return increment, h / 2 * increment + (h**3 / 12).sqrt() * self.noise.normal().flatten(1)

    def __repr__(self) -> str:
        return f"_Increments({tuple(self.y.shape)})"

    dtype = property(lambda self: self.y.dtype)
    device = property(lambda self: self.y.device)
    shape = property(lambda self: self.y.shape)
    levy_area_approximation = "space-time"
