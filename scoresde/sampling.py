"""From a score model to samples."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import InputError
from scoresde.grid.base import Grid
from scoresde.grid.log_snr import LogSNR
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.score import Cond, Denoiser, ScoreModel
from scoresde.sde.base import GaussianSDE
from scoresde.solver.base import Solver, predict
from scoresde.solver.heun import Heun

__all__ = ["sample", "trajectory"]


def trajectory(
    model: ScoreModel,
    n: int,
    *,
    solver: Solver | None = None,
    steps: int = 50,
    grid: Grid | None = None,
    seed: int = 0,
    cond: Cond | None = None,
    denoise: bool = True,
    first: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sample step by step: the loop that `sample` runs to its end. Until then the model is in eval mode.

    Args:
        model: the score.
        n: how many samples, ≥ 1.
        solver: Heun's method by default.
        steps: of the grid, ≥ 1.
        grid: equal steps of log-SNR by default.
        seed: of the random numbers; sample i is a function of (seed, first + i) alone, up to the rounding of the
            network's kernels (and of an adaptive solver's steps), which may differ between batch sizes.
        cond: conditions by name, shape (n, ...) each.
        denoise: whether to end at t = 0, clamped to the data's range, rather than with the state at t_min, which still
            carries noise. A solver that ``denoises`` takes its last step there instead of to t_min; after any other
            one more network evaluation, at t_min, gives E[x_0 | x].
        first: the number of the first sample.

    Yields:
        Each time, shape (), and the state there, shape (n, *model.shape), the prior's draw first. With ``denoise`` the
        last pair is that at 0.

    Raises:
        InputError: before the first step, for what cannot be sampled.
    """
    solver = solver or Heun()
    grid = grid or LogSNR()
    parts: dict[str, tuple[Any, type]] = {
        "model": (model, ScoreModel),
        "solver": (solver, Solver),
        "grid": (grid, Grid),
    }
    for what, (part, kind) in parts.items():
        if not isinstance(part, kind):
            raise InputError(f"{what} = {part!r}, but it must be an object of a {kind.__name__} class")
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"n = {n!r}, but it must be a whole number >= 1")
    reverse = Reverse(model, cond, solver.eta)
    solver.check(reverse)
    ts = grid(model.sde, steps)
    if denoise and solver.denoises:
        ts[-1] = 0
    if denoise and not isinstance(model.sde, GaussianSDE):
        raise InputError(
            f"the final denoising step needs a GaussianSDE; {type(model.sde).__name__} is not one: try denoise=False"
        )
    for name, value in (cond or {}).items():
        if not isinstance(value, Tensor):
            raise InputError(f"{name} = {value!r}, but it must be a tensor with one row for each of {n} samples")
        if value.shape[:1] != (n,):
            raise InputError(f"{name} has shape {tuple(value.shape)}, but it needs one row for each of {n} samples")
    if isinstance(model, Denoiser) and cond and "label" in cond:
        label, classes = cond["label"], model.net.classes
        if label.is_floating_point() or not ((label >= -1) & (label < classes)).all():
            raise InputError(f"label must be whole numbers in [0, {classes}), or -1 for none, not {label.tolist()[:8]}")
    tensors = [*model.parameters(), *model.buffers()]
    where: dict[str, Any] = {"device": tensors[0].device, "dtype": tensors[0].dtype} if tensors else {}
    return _run(reverse, solver, ts, Noise(seed, (n, *model.shape), first=first, **where), denoise)


@torch.no_grad()
def _run(reverse: Reverse, solver: Solver, ts: Tensor, noise: Noise, denoise: bool) -> Iterator[tuple[Tensor, Tensor]]:
    model = reverse.model
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        prior = model.sde.prior(noise.shape, noise.device, torch.float64)
        x = prior.icdf(noise.uniform()).to(noise.dtype)
        for t, x in solver.iterate(reverse, x, ts, noise):  # noqa: B020  x goes in and comes out
            if t > 0:
                yield t, x
        if denoise:
            x0 = x if solver.denoises else predict(reverse, x, ts[-1]).x0
            yield ts.new_zeros(()), x0 if model.range is None else x0.clamp(*model.range)
    finally:
        for module in training:
            module.training = True


def sample(
    model: ScoreModel,
    n: int,
    *,
    solver: Solver | None = None,
    steps: int = 50,
    grid: Grid | None = None,
    seed: int = 0,
    cond: Cond | None = None,
    denoise: bool = True,
) -> Tensor:
    """Draw samples.

    Args:
        model: the score: a `Denoiser`, an exact score, or anything that wraps one.
        n, solver, steps, grid, seed, cond, denoise: as for `trajectory`.

    Returns:
        Samples, shape (n, *model.shape), in the model's precision and on its device.

    Raises:
        InputError: before the first step, for what cannot be sampled.
    """
    path = trajectory(model, n, solver=solver, steps=steps, grid=grid, seed=seed, cond=cond, denoise=denoise)
    end: Tensor
    for _, end in path:  # noqa: B007  the last one is wanted
        pass
    return end
