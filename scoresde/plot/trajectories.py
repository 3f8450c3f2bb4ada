"""Trajectories over the density that they follow: the forward SDE, its reverse, the probability-flow ODE.

Figures are objects: nothing here touches pyplot or a display.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.grid.base import Grid
from scoresde.grid.log_snr import LogSNR
from scoresde.noise import Noise
from scoresde.plot.style import ACCENTS, DENSITY, INK, blank, largest
from scoresde.sampling import trajectory
from scoresde.solver.euler_maruyama import EulerMaruyama
from scoresde.solver.heun import Heun

__all__ = ["three_views", "trajectories_1d", "trajectories_2d"]

LogProb = Callable[[Tensor, Tensor], Tensor]
"""log p_t(x): points of shape (M, D) and a time of shape () to shape (M,), as `GaussianMixture.log_prob`."""


def trajectories_1d(
    axes: Axes, ts: Tensor, xs: Tensor, log_prob: LogProb | None = None, *, limit: float | None = None
) -> None:
    """States on a line against time, over the density p_t (at each time relative to its mode).

    Time runs to the right as it runs in ts. Where the noise is far wider than the data, the axes are linear near 0 and
    logarithmic away from it.

    Args:
        axes: where to draw.
        ts: times, shape (T,).
        xs: the states there, shape (T, N) or (T, N, 1); three are drawn in colour.
        log_prob: the density.
        limit: x is shown in [-limit, limit]; the farthest state by default.
    """
    ts, xs = ts.detach().cpu(), xs.detach().cpu().reshape(len(ts), -1)
    limit = limit or 1.05 * largest(xs)
    marks = [0, *(sign * 10**k for k in range(9) for sign in (-1, 1))]
    names = [f"{mark:g}".replace("-", "−") for mark in marks]
    curved = float(ts.max()) > 10, limit > 10
    if curved[0]:
        axes.set_xscale("asinh")
        axes.set_xticks(marks, names)
    if curved[1]:
        axes.set_yscale("asinh")
        axes.set_yticks(marks, names)
    if log_prob is not None:
        times = _between(float(ts.min()), float(ts.max()), 240, curved=curved[0])
        heights = _between(-limit, limit, 320, curved=curved[1])
        density = torch.stack([_relative(log_prob(heights[:, None], t)) for t in times], 1)
        image = times.numpy(), heights.numpy(), density.numpy()
        axes.pcolormesh(*image, cmap=DENSITY, shading="gouraud", rasterized=True, vmin=0, vmax=1)
    axes.plot(ts.numpy(), xs.numpy(), color=INK, alpha=0.22, linewidth=0.5)
    for i, colour in zip(_chosen(xs[0]), ACCENTS, strict=False):
        axes.plot(ts.numpy(), xs[:, i].numpy(), color=colour, linewidth=1.4)
    # the process begins at 0, though solvers stay away from there
    first, last = (0 if t < 0.01 * float(ts.max()) else t for t in ts[[0, -1]].tolist())
    axes.set(xlim=(first, last), ylim=(-limit, limit), xlabel="$t$", ylabel="$x$")


def trajectories_2d(
    axes: Axes, ts: Tensor, xs: Tensor, log_prob: LogProb | None = None, *, limit: float | None = None
) -> None:
    """States in the plane, each with a dot where it ends, over the density p_t at the least of the times.

    Paths are fainter towards the noise, and the more so the longer they are.

    Args:
        axes: where to draw.
        ts: times, shape (T,).
        xs: the states there, shape (T, N, 2); three are drawn in colour.
        log_prob: the density.
        limit: both coordinates are shown in [-limit, limit]; the farthest state by default.
    """
    ts, xs = ts.detach().cpu(), xs.detach().cpu()
    limit = limit or 1.05 * largest(xs)
    if log_prob is not None:
        line = torch.linspace(-limit, limit, 200, dtype=torch.float64)
        density = _relative(log_prob(torch.cartesian_prod(line, line), ts.min())).reshape(200, 200).T
        axes.contourf(line.numpy(), line.numpy(), density.numpy(), levels=np.linspace(0.02, 1, 12), cmap=DENSITY)
    near = torch.linspace(0, 1, len(ts) - 1)
    near = near if ts[0] > ts[-1] else near.flip(0)
    length = float(xs.clamp(-limit, limit).diff(dim=0).norm(dim=-1).sum(0).median())
    ink = 0.4 * min(1.0, limit / (length + 1e-9))
    chosen = dict(zip(_chosen(torch.atan2(xs[0, :, 1], xs[0, :, 0])), ACCENTS, strict=False))
    for i, path in enumerate(xs.unbind(1)):
        bold, colour = i in chosen, chosen.get(i, INK)
        least, most = (max(0.25, 2.5 * ink), 1.0) if bold else (ink, 0.4)
        pieces = list(torch.stack([path[:-1], path[1:]], 1).numpy())
        opacity = (least + (most - least) * near**3).numpy()
        width, size = (1.3, 26) if bold else (0.6, 7)
        axes.add_collection(LineCollection(pieces, colors=colour, alpha=opacity, linewidths=width, zorder=2 + bold))
        axes.scatter(float(path[-1, 0]), float(path[-1, 1]), color=colour, s=size, linewidths=0, zorder=4 + bold)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="$x_1$", ylabel="$x_2$", aspect="equal")


def three_views(
    model: GaussianMixture, *, paths: int = 50, steps: int = 600, grid: Grid | None = None, seed: int = 0
) -> Figure:
    """The forward SDE, its reverse SDE and the probability-flow ODE side by side: three ways through one density.

    The reverse SDE and the ODE start from the same draws of the prior, in the same colours. In the plane the view is
    four deviations of the data wide: paths of a process with more noise come in from outside.

    Args:
        model: the exact score of a mixture on the line, shape (1,), or in the plane, shape (2,).
        paths: how many states, ≥ 1.
        steps: of the solvers, ≥ 1.
        grid: equal steps of log-SNR by default.
        seed: of the random numbers.

    Returns:
        The figure; ``figure.savefig(path)`` writes it.

    Raises:
        InputError: for data that is neither on the line nor in the plane.
    """
    if model.shape not in ((1,), (2,)):
        raise InputError(f"three_views draws data of shape (1,) or (2,), not {model.shape}")
    line = model.shape == (1,)
    grid = grid or LogSNR()
    ts = grid(model.sde, steps)
    noise = Noise(seed, (paths, *model.shape), first=paths)
    forward = EulerMaruyama().iterate(model.sde, model.draw(noise, ts[-1]), ts.flip(0), noise)
    reverse, flow = (
        trajectory(model, paths, solver=solver, steps=steps, grid=grid, seed=seed, denoise=False)
        for solver in (EulerMaruyama(eta=1), Heun(eta=0))
    )
    views = {
        "Forward SDE\n" r"$\mathrm{d}x = a\,\mathrm{d}t + \sigma\,\mathrm{d}w$": forward,
        "Reverse SDE\n"
        r"$\mathrm{d}x = [a - \sigma^2\nabla\log p_t]\,\mathrm{d}t + \sigma\,\mathrm{d}\bar{w}$": reverse,
        "Probability-flow ODE\n" r"$\mathrm{d}x = [a - \frac{1}{2}\sigma^2\nabla\log p_t]\,\mathrm{d}t$": flow,
    }
    data = 4 * float(model.draw(Noise(seed, (4096, *model.shape), first=2 * paths)).std())
    limit = max(data, 3.6 * float(model.sde.std(ts[0]))) if line else data
    figure, panels = blank(13, 4.2 if line else 5.3, columns=3)
    for axes, (title, states) in zip(panels, views.items(), strict=True):
        times, xs = (torch.stack(parts) for parts in zip(*states, strict=True))
        (trajectories_1d if line else trajectories_2d)(axes, times, xs, model.log_prob, limit=limit)
        axes.set_title(title, fontsize=11, color=INK, linespacing=1.6)
        axes.label_outer()
    return figure


def _chosen(key: Tensor) -> list[int]:
    """Which of N states are drawn in colour: those at ⅛, ½ and ⅞ of the way when their keys are sorted."""
    order = key.argsort().tolist()
    return list(dict.fromkeys(order[int(share * len(order))] for share in (0.125, 0.5, 0.875)))


def _between(low: float, high: float, n: int, *, curved: bool) -> Tensor:
    """n numbers from low to high, equally spaced on a linear or an asinh axis."""
    if not curved:
        return torch.linspace(low, high, n, dtype=torch.float64)
    inside = torch.linspace(math.asinh(low), math.asinh(high), n, dtype=torch.float64).sinh()
    return inside.clamp(low, high)


def _relative(log_prob: Tensor) -> Tensor:
    return (log_prob - log_prob.max()).exp().cpu()
