"""Pictures: samples, their way from noise, loss curves, trajectories over the density they follow.

Nothing here touches pyplot or a display: figures are objects, and files are written whole or not at all.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
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

INK, SOFT, BLUE, ACCENTS = "#1f2937", "#9ca3af", "#2f5d9f", ("#d1495b", "#e8973a", "#00798c")
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
    figure, (axes,) = _figure(5, 5)
    for points, colour, label in ((data, SOFT, "data"), (x, ACCENTS[0], "samples")):
        if points is not None:
            size, opacity = float(np.clip(4e4 / len(points), 4, 20)), float(np.clip(2e3 / len(points), 0.25, 0.8))
            shown = _points(points).T
            axes.scatter(*shown, s=size, color=colour, alpha=opacity, linewidths=0, label=f"{label} ({len(points):,})")
    axes.set_aspect("equal", adjustable="datalim")
    for handle in axes.legend(loc="upper right", frameon=False, labelcolor=INK).legend_handles:
        cast(FigureCanvasAgg, handle).set(alpha=1, sizes=[24])
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

    A state that is wider than the last one (or than the range of images) is divided by what makes it fit, so that noise
    of any scale is visible; the frame says by how much: "÷ 48".

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
    images = states[0].ndim == 4
    centre, reach = (sum(range) / 2, (range[1] - range[0]) / 2) if images else (0.0, 1.1 * _largest(states[-1]))
    pages = []
    draw = (lambda x: _grid(x, range, None)) if images else _scatter_frames(reach)
    for x, t in zip(states, clock, strict=True):
        away = (x - centre).abs().flatten()
        # 98 % of the numbers fit; the state itself where it does already
        shrink = max(1.0, float(away.kthvalue(math.ceil(0.98 * len(away))).values) / reach) if len(away) else 1.0
        words = [] if t is None else [f"t = {t:.3f}"]
        words += [f"÷ {shrink:.3g}"] if shrink > 1.05 else []
        pages.append(_captioned(draw(centre + (x - centre) / shrink), "   ".join(words), strip=times is not None))
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
    figure, (axes,) = _figure(7, 4)
    marker = "o" if len(y) == 1 else ""
    axes.plot(x, y, color=BLUE, alpha=0.25 if window > 1 else 1, linewidth=0.8, marker=marker)
    if window > 1:
        axes.plot(x, uniform_filter1d(y, window, mode="nearest"), color=BLUE, linewidth=1.8)
        axes.set_title(f"mean of {window} steps", loc="right", fontsize=9, color=SOFT)
    axes.set(xlabel="step", ylabel="loss", yscale="log" if (y > 0).all() else "linear")
    axes.grid(axis="y", color="#eceff3", linewidth=0.8)
    return _save(figure, path)


def trajectories_1d(
    axes: Axes, ts: Tensor, xs: Tensor, log_prob: LogProb | None = None, *, limit: float | None = None
) -> None:
    """States on a line against time, over the density p_t (in each column, relative to its mode).

    Time runs to the right as it runs in ts. Where the noise is far wider than the data, both axes are linear near 0 and
    logarithmic away from it.

    Args:
        axes: where to draw.
        ts: times, shape (T,).
        xs: the states there, shape (T, N) or (T, N, 1); a few are drawn in colour.
        log_prob: the density.
        limit: x is shown in [-limit, limit]; the farthest state by default.
    """
    ts, xs = ts.detach().cpu(), xs.detach().cpu().reshape(len(ts), -1)
    limit = limit or 1.05 * _largest(xs)
    scale = float(xs[ts.argmin()].std())
    marks = [0, *(sign * 10**k for k in range(9) for sign in (-1, 1))]
    if float(ts.max()) > 10 * scale:
        axes.set_xscale("asinh")
        axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
    if limit > 10 * scale:
        axes.set_yscale("asinh")
        axes.set_yticks(marks, [f"{mark:g}" for mark in marks])
    # the process begins at 0, though solvers stay away from there
    ends = [0 if t < 0.01 * float(ts.max()) else t for t in ts[[0, -1]].tolist()]
    axes.set(xlim=ends, ylim=(-limit, limit), xlabel="$t$", ylabel="$x$")
    if log_prob is not None:
        times = _between(float(ts.min()), float(ts.max()), 240, curved=axes.get_xscale() == "asinh")
        heights = _between(-limit, limit, 320, curved=axes.get_yscale() == "asinh")
        density = torch.stack([_relative(log_prob(heights[:, None], t)) for t in times], 1)
        axes.pcolormesh(times, heights, density, cmap=DENSITY, shading="gouraud", rasterized=True, vmin=0, vmax=1)
    axes.plot(ts, xs, color=INK, alpha=0.25, linewidth=0.5)
    for i, colour in zip(_chosen(xs[0]), ACCENTS, strict=False):
        axes.plot(ts, xs[:, i], color=colour, linewidth=1.4)


def trajectories_2d(
    axes: Axes, ts: Tensor, xs: Tensor, log_prob: LogProb | None = None, *, limit: float | None = None
) -> None:
    """States in the plane, each with a dot where it ends, over the density p_t at the least of the times.

    Args:
        axes: where to draw.
        ts: times, shape (T,).
        xs: the states there, shape (T, N, 2); a few are drawn in colour.
        log_prob: the density.
        limit: both coordinates are shown in [-limit, limit]; the farthest state by default.
    """
    ts, xs = ts.detach().cpu(), xs.detach().cpu()
    limit = limit or 1.05 * _largest(xs)
    if log_prob is not None:
        line = torch.linspace(-limit, limit, 200, dtype=torch.float64)
        density = _relative(log_prob(torch.cartesian_prod(line, line), ts.min())).reshape(200, 200).T
        axes.contourf(line, line, density, levels=np.linspace(0.02, 1, 12), cmap=DENSITY)
    chosen = dict(zip(_chosen(torch.atan2(xs[0, :, 1], xs[0, :, 0])), ACCENTS, strict=False))
    near = torch.linspace(1, 0, len(ts) - 1) if ts[0] < ts[-1] else torch.linspace(0, 1, len(ts) - 1)
    for i, path in enumerate(xs.unbind(1)):
        bold, colour = i in chosen, chosen.get(i, INK)
        # fainter towards the noise, where every path crosses every other
        opacity = (0.25 + 0.75 * near**2 if bold else 0.02 + 0.4 * near**3).numpy()
        pieces = torch.stack([path[:-1], path[1:]], 1).numpy()
        axes.add_collection(
            LineCollection(pieces, colors=colour, alpha=opacity, linewidths=1.2 if bold else 0.6, zorder=2 + bold)
        )
        axes.scatter(*path[-1], color=colour, s=26 if bold else 7, linewidths=0, zorder=4 + bold)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="$x_1$", ylabel="$x_2$", aspect="equal")


def three_views(
    model: GaussianMixture, *, paths: int = 60, steps: int = 600, grid: Grid | None = None, seed: int = 0
) -> Figure:
    """The forward SDE, its reverse SDE and the probability-flow ODE side by side: three ways through one density.

    The reverse SDE and the ODE start from the same draws of the prior; those of one colour are the same.

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
    sde = model.sde
    grid = grid or LogSNR()
    ts = grid(sde, steps)
    noise = Noise(seed, (paths, *model.shape), first=paths)
    forward = EulerMaruyama().iterate(sde, model.draw(noise, ts[-1]), ts.flip(0), noise)
    views: list[tuple[str, str, Iterator[tuple[Tensor, Tensor]]]] = [
        ("Forward SDE", r"\mathrm{d}x = a\,\mathrm{d}t + \sigma\,\mathrm{d}w", forward)
    ]
    for name, equation, solver in (
        (
            "Reverse SDE",
            r"\mathrm{d}x = [a - \sigma^2\nabla\log p_t]\,\mathrm{d}t + \sigma\,\mathrm{d}\bar{w}",
            EulerMaruyama(),
        ),
        ("Probability-flow ODE", r"\mathrm{d}x = [a - \frac{1}{2}\sigma^2\nabla\log p_t]\,\mathrm{d}t", Heun()),
    ):
        path = trajectory(model, paths, solver=solver, steps=steps, grid=grid, seed=seed, denoise=False)
        views.append((name, equation, path))
    line = model.shape == (1,)
    data = 4 * float(model.draw(Noise(seed, (4096, *model.shape), first=2 * paths)).std())
    wide = 3.6 * float(sde.std(ts[0]))
    limit = max(data, wide) if line else data
    figure, panels = _figure(13, 4.2 if line else 5.3, columns=3)
    for axes, (name, equation, states) in zip(panels, views, strict=True):
        times, xs = (torch.stack(parts) for parts in zip(*states, strict=True))
        (trajectories_1d if line else trajectories_2d)(axes, times, xs, model.log_prob, limit=limit)
        axes.set_title(f"{name}\n${equation}$", fontsize=11, color=INK, linespacing=1.6)
        axes.label_outer()
    return figure


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white", dpi=120)
    panels = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.tick_params(color=SOFT, labelcolor=INK, labelsize=9)
    return figure, panels


def _save(figure: Figure, path: str | Path) -> Path:
    with whole(path) as draft:
        figure.savefig(draft)
    return Path(path)


def _grid(x: Tensor, range: tuple[float, float], columns: int | None) -> Image.Image:
    if x.ndim != 4 or x.shape[1] not in (1, 3) or 0 in x.shape:
        raise InputError(f"images have shape (N, 1 or 3, H, W), not {tuple(x.shape)}")
    n, channels, height, width = x.shape
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    zoom, gap = max(1, math.ceil(48 / max(height, width))), 2
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
    figure, (axes,) = _figure(4, 4)
    canvas = FigureCanvasAgg(figure)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    cloud = axes.scatter([], [], s=5, color=BLUE, alpha=0.5, linewidths=0)

    def draw(x: Tensor) -> Image.Image:
        cloud.set_offsets(_points(x).numpy())
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")

    return draw


def _captioned(picture: Image.Image, words: str, *, strip: bool) -> Image.Image:
    """A picture over a line of text, in few enough colours for a GIF."""
    width, height = max(picture.width, 160 * strip), picture.height + 24 * strip
    page = Image.new("RGB", (width, height), "white")
    page.paste(picture, ((width - picture.width) // 2, 0))
    font = ImageFont.load_default(13)
    ImageDraw.Draw(page).text((width / 2, height - 12), words if strip else "", INK, font, anchor="mm")
    return page.quantize(128, dither=Image.Dither.NONE)


def _chosen(key: Tensor) -> list[int]:
    """Which of N states are drawn in colour: those at ⅛, ½ and ⅞ of the way when the first states are sorted."""
    order = key.argsort().tolist()
    return list(dict.fromkeys(order[int(share * len(order))] for share in (0.125, 0.5, 0.875)))


def _largest(x: Tensor) -> float:
    finite = x[x.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 1.0


def _between(low: float, high: float, n: int, *, curved: bool) -> Tensor:
    """n numbers from low to high, equally spaced on a linear or an asinh axis."""
    if not curved:
        return torch.linspace(low, high, n, dtype=torch.float64)
    return torch.linspace(math.asinh(low), math.asinh(high), n, dtype=torch.float64).sinh()


def _relative(log_prob: Tensor) -> Tensor:
    return (log_prob - log_prob.max()).exp().cpu()
