"""A multistep method whose grid and weights were fitted to the model: the most accurate at a given NFE."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from scoresde.errors import InputError, typed
from scoresde.grid.base import Grid
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE, GaussianSDE, Process
from scoresde.solver.base import State, StepSolver, predict
from scoresde.solver.coefficients.calibration import Calibration
from scoresde.solver.coefficients.table import levels

__all__ = ["Calibrated"]


@dataclass(frozen=True)
class Calibrated(StepSolver):
    """x̂_s = m + K (x̂_t − m) + Σ_k W_k e_k: the flow of the normal law with the data's moments, and what is beyond it.

    e_k is the prediction's excess over that law's, x_0 − m − V (V + σ̂²)⁻¹ (x̂ − m), the last few of them; K and the
    weights W_k are numbers for each principal direction of the data, K in closed form, W_k fitted by
    `scoresde.calibration.calibrate` to paths of the model itself.

    Args:
        file: the calibration; ``sample.py`` finds it beside the checkpoint.

    Raises:
        InputError: for a file that is no calibration, or is of another process, shape or grid.

    Source: scoresde's own; Karras et al. 2022, appendix C.4, and Watson et al. 2022, "Learning fast samplers for
    diffusion models by differentiating through sample quality", for fitting samplers to models.
    """

    needs = GaussianSDE
    denoises = True
    file: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no name of a file."""
        typed(self)

    def refusal(self, sde: SDE) -> str | None:
        """Also where there is no calibration to follow."""
        nothing = "Calibrated has no file: make one with scoresde.calibration.calibrate, or python calibrate.py"
        return super().refusal(sde) or (None if self.file else nothing)

    def default_grid(self, process: Process) -> Grid:
        """The calibration's own."""
        return _Fitted(Calibration.load(self.file).times)

    def init(self, sde: SDE, x: Tensor, ts: Tensor) -> State:
        """The numbers of each step, on the state's device; no predictions yet."""
        process = cast(GaussianSDE, cast(Reverse, sde).model.sde)
        found = Calibration.load(self.file)
        found.check(process, tuple(x.shape[1:]))
        if len(ts) != len(found.times) or not torch.allclose(ts, found.times, rtol=1e-9, atol=0):
            raise InputError(
                f"the calibration has {len(found.times) - 1} steps on times of its own, down to 0: leave steps, grid "
                "and denoise out"
            )
        path, normal = levels(process, ts), found.normal
        steps: list[Any] = []
        for start, end, weights in zip(path[:-1], path[1:], found.weights, strict=True):
            keep, share = normal.keep(start.sigma, end.sigma), normal.share(start.sigma)
            plain = keep[-1].item(), share[-1].item(), weights[:, -1].tolist()
            steps.append((start.alpha, end.alpha, plain, keep[:-1].to(x), share[:-1].to(x), weights[:, :-1].to(x)))
        return normal.mean.to(x), normal.basis.to(x), steps, []

    def step(self, sde: SDE, x: Tensor, t: Tensor, s: Tensor, noise: Noise, state: State) -> tuple[Tensor, State]:
        """In the rest of the space by plain numbers, in the principal directions by one number each."""
        mean, basis, [(alpha, after, (keep, share, weights), keeps, shares, each), *later], past = state
        z = x.flatten(1) / alpha - mean
        c = z @ basis.mT
        clean = predict(sde, x, t).x0.flatten(1) - mean
        q = clean @ basis.mT
        past = [(clean - share * z, q - share * c, q - shares * c), *past[: len(weights) - 1]]
        y, top = keep * z, (keeps - keep) * c
        for w, ws, (excess, coordinates, sharper) in zip(weights, each, past, strict=False):
            y.add_(excess, alpha=w)
            top += ws * sharper - w * coordinates
        return (after * (mean + y + top @ basis)).reshape(x.shape), (mean, basis, later, past)


class _Fitted(Grid):
    """The times of a calibration, t_min standing for the 0 at their end as on every grid."""

    def __init__(self, times: Tensor) -> None:
        self.times, self.steps = times, len(times) - 1

    def place(self, process: Process, steps: int) -> Tensor:
        if steps != self.steps:
            raise InputError(f"steps = {steps}, but the calibration is of {self.steps}: make another with calibrate.py")
        return torch.cat([self.times[:-1], self.times.new_tensor([process.t_min])])
