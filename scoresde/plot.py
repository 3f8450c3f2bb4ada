"""Pictures: samples, their way from noise, loss curves, trajectories over the density that they follow.

Nothing here touches pyplot or a display: figures are objects, and files are written whole or not at all.
"""

import io
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.files import whole
from scoresde.grid.base import Grid
from scoresde.grid.log_snr import LogSNR
from scoresde.noise import Noise
from scoresde.sampling import trajectory
from scoresde.solver.euler_maruyama import EulerMaruyama
from scoresde.solver.heun import Heun

__all__ = ["animate", "image_grid", "loss_curve", "scatter", "three_views", "trajectories_1d", "trajectories_2d"]

LogProb = Callable[[Tensor, Tensor], Tensor]
"""log p_t(x): points of shape (M, D) and a time of shape () to shape (M,), as `GaussianMixture.log_prob`."""

INK, SOFT, BLUE = "#1f2937", "#9ca3af", "#2f5d9f"
ACCENTS = ("#d1495b", "#e8973a", "#00798c")
DENSITY = LinearSegmentedColormap.from_list("density", ["#ffffff", "#edf3fa", "#d3e3f4", "#b3cfeb", "#8fb8e0"])


def image_grid(
    x: Tensor, path: str | Path, *, range: tuple[float, float] = (-1, 1), columns: int | None = None
) -> Path:
    """Images side by side, small ones enlarged by whole pixels, in a file.

    Args:
        x: shape (N, C, H, W), C = 1 (grey) or 3 (RGB); what is not a number is drawn as mid-grey.
        path: of the picture; its suffix says the format.
        range: the values of black and of white; beyond them x is clipped.
        columns: of the grid, ≥ 1; about √N by default.

    Returns:
        The path.

    Raises:
        InputError: for data that is not images.
    """
    picture = _grid(x, range, columns)
    with whole(path) as draft:
        picture.save(draft)
    return Path(path)


def scatter(x: Tensor, path: str | Path, data: Tensor | None = None) -> Path:
    """Points of the plane, over the data if it is given, in a file.

    Args:
        x: shape (N, 2).
        path: of the picture; its suffix says the format.
        data: what they should look like, shape (M, 2).

    Returns:
        The path.

    Raises:
        InputError: for data that is not points.
    """
    figure, (axes,) = _blank(5, 5)
    for points, colour, label in ((data, SOFT, "data"), (x, ACCENTS[0], "samples")):
        if points is not None:
            n, (across, up) = len(points), _points(points).numpy().T
            size, opacity = min(max(1e4 / n, 3), 12), min(max(1500 / n, 0.25), 0.8)
            axes.scatter(across, up, s=size, color=colour, alpha=opacity, linewidths=0)
            axes.scatter([], [], s=24, color=colour, linewidths=0, label=f"{label} ({n:,})")
    axes.set_aspect("equal", adjustable="datalim")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, labelcolor=INK, fontsize=9)
    return _save(figure, path)


def animate(
    frames: Iterable[Tensor],
    path: str | Path,
    *,
    times: Iterable[Tensor | float] | None = None,
    range: tuple[float, float] = (-1, 1),
    pace: int = 80,
    hold: int = 1500,
) -> Path:
    """States one after the other as a GIF that loops.

    A state that is wider than the range of images, or than the last state of points, is divided by what makes 98 % of
    its numbers fit, so that noise of any scale is visible; with times the frame says by how much: "scale 1 : 48".

    Args:
        frames: states, all of shape (N, 1 or 3, H, W) or all of shape (N, 2).
        path: of the GIF.
        times: one for each state, to be written under it.
        range: the values of black and of white, for images.
        pace, hold: how long a frame and the last frame are shown, in milliseconds.

    Returns:
        The path.

    Raises:
        InputError: without a state, for states that are neither images nor points, or another number of times.
    """
    states = [frame.detach().to("cpu", torch.float32) for frame in frames]
    clock = [None] * len(states) if times is None else [float(t) for t in times]
    if not states or len(clock) != len(states):
        raise InputError(f"an animation needs states and as many times, not {len(states)} and {len(clock)}")
    if states[0].ndim == 4:
        centre, reach = sum(range) / 2, (range[1] - range[0]) / 2
        draw: Callable[[Tensor], Image.Image] = partial(_grid, range=range)
    else:
        centre, reach = 0.0, 1.1 * _largest(_points(states[-1]))
        draw = _scatter_frames(reach)
    pages = []
    for x, t in zip(states, clock, strict=True):
        away = (x - centre).abs().flatten()
        shrink = max(1.0, float(away.kthvalue(math.ceil(0.98 * len(away))).values) / reach)
        page = draw(centre + (x - centre) / shrink)
        pages.append(page if t is None else _captioned(page, t, shrink))
    pages = [page.quantize(128, dither=Image.Dither.NONE) for page in pages]
    durations = [pace] * (len(pages) - 1) + [hold]
    with whole(path) as draft:
        pages[0].save(draft, "GIF", save_all=True, append_images=pages[1:], duration=durations, loop=0)
    return Path(path)


def loss_curve(steps: Sequence[float], losses: Sequence[float], path: str | Path, *, smooth: int | None = None) -> Path:
    """A loss against training steps, raw and smoothed, logarithmic where it is positive, in a file.

    Args:
        steps, losses: as many of each; losses that are not finite are left out.
        path: of the picture; its suffix says the format.
        smooth: how many losses the moving average is over, ≥ 1; a fiftieth of them by default.

    Returns:
        The path.

    Raises:
        InputError: without a finite loss, or for another number of steps.
    """
    from scipy.ndimage import uniform_filter1d

    x, y = np.asarray(steps, float), np.asarray(losses, float)
    if x.shape != y.shape or not np.isfinite(y).any():
        raise InputError(f"a loss curve needs finite losses and as many steps, not {y.size} and {x.size}")
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    window = smooth or max(1, len(y) // 50)
    figure, (axes,) = _blank(7, 4)
    axes.set_yscale("log" if (y > 0).all() else "linear")
    axes.plot(x, y, color=BLUE, alpha=0.25 if window > 1 else 1, linewidth=0.8, marker="o" if len(y) == 1 else "")
    if window > 1:
        mean = uniform_filter1d(y, window, mode="nearest")
        axes.plot(x, mean, color=BLUE, linewidth=1.8, label=f"mean of {window}")
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    axes.set_xlabel("step", color=INK)
    axes.set_ylabel("loss", color=INK)
    axes.grid(axis="y", which="both", color="#eceff3", linewidth=0.8)
    return _save(figure, path)


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
    limit = limit or 1.05 * _largest(xs)
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
    limit = limit or 1.05 * _largest(xs)
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
    figure, panels = _blank(13, 4.2 if line else 5.3, columns=3)
    for axes, (title, states) in zip(panels, views.items(), strict=True):
        times, xs = (torch.stack(parts) for parts in zip(*states, strict=True))
        (trajectories_1d if line else trajectories_2d)(axes, times, xs, model.log_prob, limit=limit)
        axes.set_title(title, fontsize=11, color=INK, linespacing=1.6)
        axes.label_outer()
    return figure


def _blank(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches and its axes, side by side."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white", dpi=120)
    panels = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.tick_params(which="both", color=SOFT, labelcolor=INK, labelsize=9)
    return figure, panels


def _largest(x: Tensor) -> float:
    """max |x| of the finite numbers, 1 where there is none but 0."""
    return float(torch.nan_to_num(x, 0, 0, 0).abs().max()) or 1.0


def _save(figure: Figure, path: str | Path) -> Path:
    with whole(path) as draft:
        figure.savefig(draft)
    return Path(path)


def _grid(x: Tensor, range: tuple[float, float], columns: int | None = None) -> Image.Image:
    if x.ndim != 4 or x.shape[1] not in (1, 3) or 0 in x.shape:
        raise InputError(f"images have shape (N, 1 or 3, H, W), not {tuple(x.shape)}")
    n, channels, height, width = x.shape
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    zoom, gap = math.ceil(48 / max(height, width)), 2
    tall, broad = zoom * height + gap, zoom * width + gap
    low, high = range
    levels = x.detach().to("cpu", torch.float32).sub(low).div(high - low).nan_to_num(0.5).clamp(0, 1)
    pixels = levels.mul(255).round().byte().repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    canvas = torch.full((channels, math.ceil(n / columns) * tall + gap, columns * broad + gap), 255, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * tall + gap, i % columns * broad + gap
        canvas[:, top : top + tall - gap, left : left + broad - gap] = image
    return Image.fromarray(canvas.permute(1, 2, 0).squeeze(-1).numpy())


def _points(x: Tensor) -> Tensor:
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise InputError(f"points have shape (N, 2), not {tuple(x.shape)}")
    return x.detach().cpu()


def _scatter_frames(limit: float) -> Callable[[Tensor], Image.Image]:
    """Points in [-limit, limit]², as pictures: one figure serves all."""
    figure, (axes,) = _blank(4, 4)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    cloud = axes.scatter([], [], s=5, color=BLUE, alpha=0.5, linewidths=0)

    def draw(x: Tensor) -> Image.Image:
        cloud.set_offsets(_points(x).numpy())
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return Image.open(file).convert("RGB")

    return draw


def _captioned(picture: Image.Image, t: float, shrink: float) -> Image.Image:
    """A picture over a line of text."""
    width, height = max(picture.width, 150), picture.height + 24
    page = Image.new("RGB", (width, height), "white")
    page.paste(picture, ((width - picture.width) // 2, 0))
    words = f"t = {t:.3f}" + (f"   scale 1 : {shrink:.3g}" if shrink > 1.05 else "")
    ImageDraw.Draw(page).text((width / 2, height - 12), words, INK, ImageFont.load_default(13), anchor="mm")
    return page


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
