"""The files are what they say, whole or not at all; what they look like is for the eye."""

import math
import os

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from scoresde import plot
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.files import whole
from scoresde.registry import build
from scoresde.sde.edm import EDM
from scoresde.sde.ve import VE
from scoresde.sde.vp import VP

LINE = (torch.tensor([[-1.2], [1.3]]), torch.tensor([0.02, 0.03]))


def test_a_grid_shows_each_pixel(tmp_path):
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    path = plot.image_grid(torch.cat([x, -x, x]), tmp_path / "new" / "grid.png", columns=2)
    shown = np.asarray(Image.open(path))
    assert shown.shape == (2 * 50 + 2, 2 * 50 + 2)  # 8 pixels of 6, a line of 2 round each
    first, second = shown[2:50, 2:50], shown[2:50, 52:100]
    for image in first, second:
        assert (image.reshape(8, 6, 8, 6) == image[::6, ::6][:, None, :, None]).all()
    assert (first[0, 0], first[-1, -1]) == (0, 255)
    assert (second[0, 0], second[-1, -1]) == (255, 0)
    assert (shown[52:, 52:] == 255).all()  # no fourth image


def test_a_grid_of_colours_clips_and_greys(tmp_path):
    x = torch.zeros(1, 3, 64, 48)
    x[0, :, 0, :4] = torch.tensor([[9.0, -9.0, math.nan, 0.5], [9, -9, math.nan, 0], [9, -9, math.nan, 1]])
    shown = np.asarray(Image.open(plot.image_grid(x, tmp_path / "grid.png", range=(0, 1))))
    assert shown.shape == (64 + 4, 48 + 4, 3)
    assert shown[2, 2:6].tolist() == [[255] * 3, [0] * 3, [128] * 3, [128, 0, 255]]


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 2, 8, 8), (0, 1, 8, 8), (4, 2)])
def test_a_grid_needs_images(tmp_path, shape):
    with pytest.raises(InputError, match="images have shape"):
        plot.image_grid(torch.zeros(shape), tmp_path / "grid.png")
    assert not list(tmp_path.iterdir())


def test_a_scatter_plot_is_written(tmp_path):
    path = plot.scatter(torch.randn(50, 2), tmp_path / "points.png", torch.randn(500, 2))
    assert Image.open(path).size == (600, 600)
    assert os.listdir(tmp_path) == ["points.png"]
    with pytest.raises(InputError, match="points have shape"):
        plot.scatter(torch.randn(50, 3), tmp_path / "other.png")
    assert os.listdir(tmp_path) == ["points.png"]


@pytest.mark.parametrize("shape", [(9, 1, 8, 8), (9, 3, 8, 8), (40, 2)])
def test_an_animation_holds_a_frame_for_each_state(tmp_path, shape):
    scales = [50.0, 5.0, 1.0, 0.4]
    states = (scale * torch.randn(shape) for scale in scales)
    path = plot.animate(states, tmp_path / "way.gif", times=torch.tensor([1.0, 0.5, 0.1, 0.0]), pace=90, hold=700)
    gif = Image.open(path)
    assert gif.n_frames == 4
    assert gif.info["loop"] == 0
    durations = []
    for i in range(4):
        gif.seek(i)
        durations.append(gif.info["duration"])
    assert durations == [90, 90, 90, 700]


def test_noise_of_any_scale_is_visible(tmp_path):
    x = torch.randn(16, 1, 8, 8)
    gif = Image.open(plot.animate([80 * x, 0.3 * x], tmp_path / "way.gif"))
    inside = np.asarray(gif.convert("L"))[2:50, 2:50][::6, ::6]
    assert (inside == 0).mean() < 0.1
    assert (inside == 255).mean() < 0.1
    assert inside.std() > 40


@pytest.mark.parametrize(
    ("frames", "times"),
    [([], None), ([torch.zeros(4, 2)], [0.0, 1.0]), ([torch.zeros(4, 3)], None), ([torch.zeros(4, 2, 8, 8)], None)],
)
def test_an_animation_of_something_else_is_refused(tmp_path, frames, times):
    with pytest.raises(InputError):
        plot.animate(frames, tmp_path / "way.gif", times=times)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("losses", [[3.0], [1.0, math.nan, 0.5], list(1 / np.arange(1, 500)), [-1.0, 2.0, 0.0]])
def test_a_loss_curve_is_written(tmp_path, losses):
    path = plot.loss_curve(range(len(losses)), losses, tmp_path / "loss.png")
    assert Image.open(path).size == (840, 480)
    assert os.listdir(tmp_path) == ["loss.png"]


@pytest.mark.parametrize(("steps", "losses"), [([], []), ([0], [math.nan]), ([0, 1], [1.0])])
def test_a_loss_curve_needs_losses(tmp_path, steps, losses):
    with pytest.raises(InputError, match="finite losses and as many steps"):
        plot.loss_curve(steps, losses, tmp_path / "loss.png")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = plot.scatter(torch.randn(5, 2), tmp_path / "points.png")
    before = path.read_bytes()

    def broken(figure, draft, **_):
        draft.write_bytes(b"half a pict")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(OSError, match="disk full"):
        plot.scatter(torch.randn(5, 2), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["points.png"]


@pytest.mark.parametrize("sde", [VP(), VE(), EDM()], ids=lambda sde: type(sde).__name__)
def test_three_views_of_a_line(tmp_path, sde):
    figure = plot.three_views(GaussianMixture(sde, *LINE), paths=6, steps=12)
    assert len(figure.axes) == 3
    forward, reverse, flow = figure.axes
    for axes, rising in ((forward, True), (reverse, False), (flow, False)):
        left, right = axes.get_xlim()
        assert (left < right) == rising
        assert len(axes.lines) == 6 + 3
    starts = [[line.get_ydata()[0] for line in axes.lines] for axes in (reverse, flow)]
    assert starts[0] == starts[1]  # the same draws of the prior
    assert forward.get_yscale() == ("linear" if isinstance(sde, VP) else "asinh")
    assert forward.get_xscale() == ("asinh" if isinstance(sde, EDM) else "linear")
    with whole(tmp_path / "views.png") as draft:
        figure.savefig(draft)
    assert Image.open(tmp_path / "views.png").size == (1560, 504)


def test_three_views_of_the_plane():
    model = build("data", {"name": "points", "kind": "mixture"}).mixture(VE())
    figure = plot.three_views(model, paths=5, steps=8)
    limits = {axes.get_xlim() + axes.get_ylim() for axes in figure.axes}
    assert len(limits) == 1
    assert limits.pop()[1] < 10  # the data's scale, not the noise's
    with pytest.raises(InputError, match="shape"):
        plot.three_views(GaussianMixture(VP(), torch.zeros(1, 3), 1.0))


def test_three_views_are_the_same_at_every_call():
    model = GaussianMixture(VP(), *LINE)
    state = torch.get_rng_state()
    ends = [
        [line.get_ydata()[-1] for axes in plot.three_views(model, paths=4, steps=6).axes for line in axes.lines]
        for _ in range(2)
    ]
    assert ends[0] == ends[1]
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("n", [1, 2, 20])
def test_trajectories_without_a_density(n):
    ts = torch.linspace(1, 0, 5)
    line, plane = Figure().subplots(1, 2)
    plot.trajectories_1d(line, ts, torch.randn(5, n))
    plot.trajectories_2d(plane, ts, torch.randn(5, n, 2), limit=3.0)
    assert plane.get_xlim() == (-3, 3)
    assert line.get_xlim() == (1, 0)
