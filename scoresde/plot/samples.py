"""Samples as pictures, their way from noise as an animation, the loss on the way there: files, whole or not at all."""

import io
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from scoresde.errors import InputError
from scoresde.files import whole
from scoresde.plot.style import ACCENTS, BLUE, INK, SOFT, blank, largest, save

__all__ = ["animate", "image_grid", "loss_curve", "scatter"]


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
    figure, (axes,) = blank(5, 5)
    for points, colour, label in ((data, SOFT, "data"), (x, ACCENTS[0], "samples")):
        if points is not None:
            n, (across, up) = len(points), _points(points).numpy().T
            size, opacity = min(max(1e4 / n, 3), 12), min(max(1500 / n, 0.25), 0.8)
            axes.scatter(across, up, s=size, color=colour, alpha=opacity, linewidths=0)
            axes.scatter([], [], s=24, color=colour, linewidths=0, label=f"{label} ({n:,})")
    axes.set_aspect("equal", adjustable="datalim")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, labelcolor=INK, fontsize=9)
    return save(figure, path)


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
        centre, reach = 0.0, 1.1 * largest(_points(states[-1]))
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
    figure, (axes,) = blank(7, 4)
    axes.set_yscale("log" if (y > 0).all() else "linear")
    axes.plot(x, y, color=BLUE, alpha=0.25 if window > 1 else 1, linewidth=0.8, marker="o" if len(y) == 1 else "")
    if window > 1:
        mean = uniform_filter1d(y, window, mode="nearest")
        axes.plot(x, mean, color=BLUE, linewidth=1.8, label=f"mean of {window}")
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    axes.set_xlabel("step", color=INK)
    axes.set_ylabel("loss", color=INK)
    axes.grid(axis="y", which="both", color="#eceff3", linewidth=0.8)
    return save(figure, path)


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
    figure, (axes,) = blank(4, 4)
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
    words = f"t = {t:.3g}" + (f"   scale 1 : {shrink:.3g}" if shrink > 1.05 else "")
    ImageDraw.Draw(page).text((width / 2, height - 12), words, INK, ImageFont.load_default(13), anchor="mm")
    return page
