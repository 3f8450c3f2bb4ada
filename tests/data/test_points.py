import typing
from itertools import pairwise

import pytest
import torch

from scoresde.data.points import Points
from scoresde.errors import InputError
from scoresde.registry import build, describe
from scoresde.sde.ve import VE
from scoresde.sde.vp import VP

KINDS = typing.get_args(typing.get_type_hints(Points)["kind"])
MIXTURES = ("eight_gaussians", "mixture")


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_what_they_say(kind):
    data = Points(kind, n=20_000).load()
    x, label = data.x, data.label
    assert x.shape == (20_000, *Points.shape)
    assert x.dtype == torch.float32
    assert label is None
    assert x.mean(0).abs().max() < 0.03
    assert x.var(0).mean().item() == pytest.approx(1, abs=0.03)
    assert x.isfinite().all()
    assert len(x.unique(dim=0)) > 19_990


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_the_global_generator_is_left_alone(kind):
    state = torch.get_rng_state()
    first, again, other = (Points(kind, n=100, seed=seed).load().x for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first.sort(0).values, other.sort(0).values)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 7])
def test_any_size(kind, n):
    assert Points(kind, n=n).load().x.shape == (n, 2)


def test_checkerboard_fills_eight_squares_evenly():
    x = Points("checkerboard", n=8000).load().x
    cells = (x.double() / (3**0.5 / 2) + 2).floor().long()
    assert ((cells.sum(-1) % 2) == 0).all()
    counts = torch.bincount(cells[:, 0] * 4 + cells[:, 1], minlength=16)
    assert (counts > 0).sum() == 8
    assert counts[counts > 0].float().sub(1000).abs().max() < 150


def test_rings_hold_points_in_proportion_to_their_length():
    x = Points("rings", n=12_000).load().x
    radius = x.norm(dim=-1) * 3**0.5
    edges = [0.5, 1.5, 2.5, 3.5]
    shares = [((radius > low) & (radius < high)).float().mean().item() for low, high in pairwise(edges)]
    assert shares == pytest.approx([1 / 6, 1 / 3, 1 / 2], abs=0.02)
    assert sum(shares) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", MIXTURES)
def test_the_mixture_is_the_law_that_is_drawn(kind):
    points = Points(kind, n=40_000)
    x = points.load().x.double()
    model = points.mixture(VP())
    # E log p_0 over the plane, by a sum over a fine grid, against the mean over the draw
    axis = torch.linspace(-5, 5, 501, dtype=torch.float64)
    log_p = model.log_prob(torch.cartesian_prod(axis, axis))
    cell = (10 / 500) ** 2
    assert log_p.exp().sum().item() * cell == pytest.approx(1, abs=1e-3)
    entropy = -(log_p.exp() * log_p).sum() * cell
    assert -model.log_prob(x).mean().item() == pytest.approx(entropy.item(), abs=0.02)
    # and its score is the gradient of the log-density of the noised law
    t, y = torch.tensor(0.3, dtype=torch.float64), x[:5].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_prob(y, t).sum(), y)
    assert torch.allclose(model(y.detach(), t).score, gradient)
    assert points.mixture(VE()).sde == VE()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(MIXTURES)))
def test_no_mixture_says_which_are(kind):
    with pytest.raises(InputError, match=rf"kind={kind} .*try kind=eight_gaussians or mixture"):
        Points(kind).mixture(VP())


@pytest.mark.parametrize("bad", [{"kind": "moon"}, {"n": 0}, {"seed": -1}, {"seed": 2**32}])
def test_bad_input_is_refused(bad):
    (field,) = bad
    with pytest.raises(InputError, match=field):
        Points(**bad)


def test_build_and_describe():
    points = Points("rings", n=10, seed=2)
    assert build("data", describe(points)) == points
    with pytest.raises(InputError, match="did you mean moons"):
        build("data", {"name": "points", "kind": "moon"})
