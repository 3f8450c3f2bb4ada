"""What samples look like, if they are something that can be looked at."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from scoresde.plot import animate, image_grid, scatter

__all__ = ["animation", "picture"]


def picture(x: Tensor, path: Path, bounds: tuple[float, float] | None, data: Tensor | None = None) -> Path | None:
    """A grid of images of shape (n, 1 or 3, H, W) or a scatter plot of points of shape (n, 2); None for other data."""
    if _are_images(x):
        return image_grid(x, path, range=bounds or (-1, 1))
    if _are_points(x):
        return scatter(x, path, data)
    return None


def animation(
    frames: Sequence[Tensor], times: Sequence[float], path: Path, bounds: tuple[float, float] | None
) -> Path | None:
    """The way from noise to such data, as a GIF; None for other data."""
    if _are_images(frames[0]) or _are_points(frames[0]):
        return animate(frames, path, times=times, range=bounds or (-1, 1))
    return None


def _are_images(x: Tensor) -> bool:
    return x.ndim == 4 and x.shape[1] in (1, 3)


def _are_points(x: Tensor) -> bool:
    return x.ndim == 2 and x.shape[1] == 2
