"""From a score model to samples."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from scoresde.errors import InputError
from scoresde.grid.base import Grid
from scoresde.noise import Noise
from scoresde.registry import build
from scoresde.reverse import Reverse
from scoresde.score import Cond, ScoreModel, evaluating
from scoresde.sde.base import GaussianSDE, Process
from scoresde.solver.base import Solver, predict

__all__ = ["evaluations", "sample", "seats", "times", "trajectory"]

_STEPS = 50


def trajectory(
    model: ScoreModel,
    n: int | None = None,
    *,
    solver: Solver | None = None,
    steps: int | None = None,
    grid: Grid | None = None,
    seed: int | Sequence[int] = 0,
    cond: Cond | None = None,
    denoise: bool = True,
    first: int = 0,
    batch: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sample step by step: the loop that `sample` runs to its end. Until then the model is in eval mode.

    Args:
        model: the score.
        n: how many samples, ≥ 1; as many as the seeds where these are named.
        solver: by default `Auto`, for a process that is not Gaussian `Heun`.
        steps: of the grid, ≥ 1; by default 50, or as many as an explicit grid has.
        grid: by default the solver's own, equal steps of log-SNR for most.
        seed: of the random numbers. Of one seed, sample i is a function of (seed, first + i) alone; with several, one
            for each sample, sample i is the first of seed[i]. That holds up to the rounding of the network's kernels
            (and of an adaptive solver's steps), which may differ between batch sizes: with ``batch`` bitwise, on a CPU.
        cond: conditions by name, shape (n, ...) each.
        denoise: whether to end at t = 0, clamped to the data's range, rather than with the state at t_min, which still
            carries noise. A solver that ``denoises`` takes its last step there instead of to t_min; after any other
            one more network evaluation, at t_min, gives E[x_0 | x].
        first: the number of the first sample.
        batch: how many samples the solver and the network always see, ≥ 1: each at the place that its seed and number
            give it, among others whose results are thrown away where there are too few. All parts are in memory, and
            go step by step together. None: all samples at once.

    Yields:
        Each time, shape (), and the state there, shape (n, *model.shape), the prior's draw first. With ``denoise`` the
        last pair is that at 0.

    Raises:
        InputError: before the first step, for what cannot be sampled.
    """
    return _together(_prepare(model, n, solver, steps, grid, seed, cond, denoise, first, batch))


def sample(
    model: ScoreModel,
    n: int | None = None,
    *,
    solver: Solver | None = None,
    steps: int | None = None,
    grid: Grid | None = None,
    seed: int | Sequence[int] = 0,
    cond: Cond | None = None,
    denoise: bool = True,
    batch: int | None = None,
) -> Tensor:
    """Draw samples: ``sample(model, 16)``, or by name, ``sample(model, seed=[3, 17])``.

    Args:
        model: the score: a `Denoiser`, an exact score, or anything that wraps one.
        n, solver, steps, grid, seed, cond, denoise: as for `trajectory`.
        batch: as for `trajectory`, but one part after the other.

    Returns:
        Samples, shape (n, *model.shape), in the model's precision and on its device.

    Raises:
        InputError: before the first step, for what cannot be sampled.
    """
    parts = _prepare(model, n, solver, steps, grid, seed, cond, denoise, 0, batch)
    ends = []
    with evaluating(model):
        for path in parts.paths:
            for _, end in path:  # noqa: B007  the last one is wanted
                pass
            ends.append(end)
    return parts.join(ends)


def times(
    process: Process, solver: Solver, steps: int | None = None, grid: Grid | None = None, denoise: bool = True
) -> Tensor:
    """The times that a run of `sample` or `trajectory` steps on.

    Args:
        process: what is reversed.
        solver, steps, grid, denoise: as for `trajectory`.

    Returns:
        Shape (steps + 1,), float64, falling. With ``denoise`` and a solver that ``denoises`` the last is 0, in the
        place of t_min; after a grid that ends above t_min it is one step more.

    Raises:
        InputError: for a grid that the process does not have.
    """
    grid = grid or solver.default_grid(process)
    ts = grid(process, (grid.steps or _STEPS) if steps is None else steps)
    if ts[0] != process.t_max and not isinstance(process, GaussianSDE):
        name = type(process).__name__
        raise InputError(
            f"the grid starts at t = {ts[0]:g}, but the prior of {name} is at t_max = {process.t_max:g}: start it there"
        )
    if denoise and solver.denoises:
        ts = torch.cat([ts[:-1] if ts[-1] == process.t_min else ts, ts.new_zeros(1)])
    return ts


def evaluations(solver: Solver, ts: Tensor, denoise: bool = True) -> int | None:
    """NFE, the network evaluations that a run takes for each sample; None where the solver decides for itself.

    Args:
        solver, denoise: as for `trajectory`.
        ts: the run's `times`.
    """
    # onto the data it is one, be it the solver's last step or the one that follows it
    declared = solver.nfe(len(ts) - (2 if ts[-1] == 0 else 1))
    return None if declared is None else declared + denoise


class _Parts(NamedTuple):
    model: ScoreModel
    paths: list[Iterator[tuple[Tensor, Tensor]]]
    order: Tensor | None
    """Where in the parts, counted through, each sample is; None where the only part is the samples."""

    def join(self, states: Sequence[Tensor]) -> Tensor:
        """The samples' states from those of the parts."""
        return states[0] if self.order is None else torch.cat(list(states))[self.order]


def _prepare(
    model: ScoreModel,
    n: int | None,
    solver: Solver | None,
    steps: int | None,
    grid: Grid | None,
    seed: int | Sequence[int],
    cond: Cond | None,
    denoise: bool,
    first: int,
    batch: int | None,
) -> _Parts:
    """Refuse what cannot be sampled; the runs are ready to start."""
    solver = solver or build("solver", "auto" if isinstance(getattr(model, "sde", None), GaussianSDE) else "heun")
    for what, part, kind in (("model", model, ScoreModel), ("solver", solver, Solver), ("grid", grid, Grid | None)):
        if not isinstance(part, kind):
            name = getattr(kind, "__name__", "Grid")
            raise InputError(f"{what} = {part!r}, but it must be an object of a {name} class")
    n = len(seed) if n is None and isinstance(seed, Sequence) else n
    for what, number in (("n", n), ("batch", 1 if batch is None else batch)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InputError(f"{what} = {number!r}, but it must be a whole number >= 1")
    assert n is not None
    reverse = Reverse(model, cond, solver.eta)
    solver.check(reverse)
    ts = times(model.sde, solver, steps, grid, denoise)
    if denoise and not isinstance(model.sde, GaussianSDE):
        raise InputError(
            f"the final denoising step needs a GaussianSDE; {type(model.sde).__name__} is not one: try denoise=False"
        )
    for name, value in (cond or {}).items():
        if not isinstance(value, Tensor):
            raise InputError(f"{name} = {value!r}, but it must be a tensor with one row for each of {n} samples")
        if value.shape[:1] != (n,):
            raise InputError(f"{name} has shape {tuple(value.shape)}, but it needs one row for each of {n} samples")
    model.check_cond(n, cond or {})
    tensors = [*model.parameters(), *model.buffers()]
    where: dict[str, Any] = {"device": tensors[0].device, "dtype": tensors[0].dtype} if tensors else {}
    noise = Noise(seed, (n, *model.shape), first=first, **where)
    if batch is None:
        return _Parts(model, [_run(reverse, solver, ts, noise, denoise)], None)
    numbers = [s + first for s in seed] if isinstance(seed, Sequence) else range(seed + first, seed + first + n)
    seating, order = seats(numbers, batch)
    paths = []
    for rows in seating:
        some = None if cond is None else {name: value[rows] for name, value in cond.items()}
        paths.append(_run(Reverse(model, some, solver.eta), solver, ts, noise.rows(rows), denoise))
    return _Parts(model, paths, torch.tensor(order, device=noise.device))


def seats(numbers: Sequence[int], batch: int) -> tuple[list[list[int]], list[int]]:
    """Where in which part each sample sits: at its number modulo the batch, in the first part where that is free.

    A matrix product may round the rows of a batch differently, so that the row must be the sample's own.

    Args:
        numbers: of the samples.
        batch: seats of a part.

    Returns:
        The samples of each part, seat by seat, others in empty seats; and the seat of each sample, counted through.
    """
    parts: list[dict[int, int]] = []
    taken = [0] * batch
    order = []
    for i, number in enumerate(numbers):
        seat = number % batch
        if taken[seat] == len(parts):
            parts.append({})
        parts[taken[seat]][seat] = i
        order.append(taken[seat] * batch + seat)
        taken[seat] += 1
    return [[part.get(seat, min(part.values())) for seat in range(batch)] for part in parts], order


def _together(parts: _Parts) -> Iterator[tuple[Tensor, Tensor]]:
    with evaluating(parts.model):
        for pairs in zip(*parts.paths, strict=True):
            yield pairs[0][0], parts.join([x for _, x in pairs])


@torch.no_grad()
def _run(reverse: Reverse, solver: Solver, ts: Tensor, noise: Noise, denoise: bool) -> Iterator[tuple[Tensor, Tensor]]:
    model = reverse.model
    prior = model.sde.prior(noise.shape, noise.device, torch.float64)
    x = prior.icdf(noise.uniform())
    if ts[0] != model.sde.t_max:
        process = cast(GaussianSDE, model.sde)  # whose prior at another time differs by its deviation
        x *= (process.std(ts[0]) / process.std(ts.new_tensor(process.t_max))).item()
    x = x.to(noise.dtype)
    for t, x in solver.iterate(reverse, x, ts, noise):  # noqa: B020  x goes in and comes out
        if t > 0:
            yield t, x
    if denoise:
        x0 = x if solver.denoises else predict(reverse, x, ts[-1]).x0
        yield ts.new_zeros(()), x0 if model.range is None else x0.clamp(*model.range)
