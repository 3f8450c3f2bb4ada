"""Pictures: samples, their way from noise, loss curves, trajectories over the density that they follow."""

from scoresde.plot.samples import animate, image_grid, loss_curve, scatter
from scoresde.plot.style import DENSITY
from scoresde.plot.trajectories import three_views, trajectories_1d, trajectories_2d

__all__ = [
    "DENSITY",
    "animate",
    "image_grid",
    "loss_curve",
    "scatter",
    "three_views",
    "trajectories_1d",
    "trajectories_2d",
]
