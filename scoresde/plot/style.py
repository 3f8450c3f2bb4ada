"""The look of every picture: colours, axes, and files written whole or not at all."""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from scoresde.files import whole

__all__ = ["ACCENTS", "BLUE", "DENSITY", "INK", "SOFT", "blank", "largest", "save"]

INK, SOFT, BLUE = "#1f2937", "#9ca3af", "#2f5d9f"
ACCENTS = ("#d1495b", "#e8973a", "#00798c")
DENSITY = LinearSegmentedColormap.from_list("density", ["#ffffff", "#edf3fa", "#d3e3f4", "#b3cfeb", "#8fb8e0"])


def blank(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches and its axes, side by side."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white", dpi=120)
    panels = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.tick_params(which="both", color=SOFT, labelcolor=INK, labelsize=9)
    return figure, panels


def largest(x: Tensor) -> float:
    """max |x| of the finite numbers, 1 where there is none but 0."""
    return float(torch.nan_to_num(x, 0, 0, 0).abs().max()) or 1.0


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure; its suffix says the format."""
    with whole(path) as draft:
        figure.savefig(draft)
    return Path(path)
