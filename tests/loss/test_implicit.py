"""Losses without a target: in the mean they are denoising score matching, less what no network changes."""

import pytest
import torch

from scoresde.loss.dsm import DSM
from scoresde.model.mlp import MLP
from scoresde.noise import Noise
from scoresde.param.eps import Eps
from scoresde.registry import build, names
from scoresde.score import Denoiser
from scoresde.sde.base import GaussianSDE

F64 = torch.float64
PROCESSES = [s for s in names("sde") if isinstance(build("sde", s), GaussianSDE)]


class Late:
    """Times between a tenth and the whole of the clock, where no score is a spike."""

    def __call__(self, sde, u):
        return sde.t_max * (0.1 + 0.9 * u), torch.ones_like(u)


def untrained(sde):
    torch.manual_seed(0)
    net = MLP(shape=(3,), classes=0, width=16, depth=1).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return Denoiser(net, build("sde", sde), Eps())


@pytest.mark.parametrize("sde", PROCESSES)
@pytest.mark.parametrize("name", ["implicit", "sliced"])
def test_it_is_denoising_score_matching_less_a_constant(name, sde):
    """E[loss] = E[DSM] − E[λ/s²], for a network that knows nothing; over 40,000 samples, within five deviations."""
    model, n = untrained(sde), 40_000
    x0 = 0.5 * Noise(1, (n, 3), dtype=F64).normal()
    with_target = DSM(time=Late())(model, x0, Noise(2, (n, 3), dtype=F64)).detach()
    without = build("loss", name).__class__(time=Late())(model, x0, Noise(2, (n, 3), dtype=F64)).detach()
    # weighted by s², what is left out is 1; both see the same noise, so that what differs is compared pair by pair
    off = without - (with_target - 1)
    assert off.mean().abs() < 5 * off.std() / n**0.5
    assert off.std() / n**0.5 < 0.05


@pytest.mark.parametrize("name", ["implicit", "sliced"])
def test_its_gradient_is_that_of_denoising_score_matching(name):
    model, n = untrained("vp"), 40_000
    x0 = 0.5 * Noise(1, (n, 3), dtype=F64).normal()
    slopes = []
    for loss in (DSM(time=Late()), build("loss", name).__class__(time=Late())):
        model.zero_grad()
        loss(model, x0, Noise(2, (n, 3), dtype=F64)).mean().backward()
        slopes.append(torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]))
    assert torch.nn.functional.cosine_similarity(*slopes, dim=0) > 0.98


def test_the_implicit_loss_varies_less_than_the_sliced_one():
    model, n = untrained("vp"), 4096
    x0 = 0.5 * Noise(1, (n, 3), dtype=F64).normal()
    spread = {
        name: build("loss", name).__class__(time=Late())(model, x0, Noise(2, (n, 3), dtype=F64)).std()
        for name in ("implicit", "sliced")
    }
    assert spread["implicit"] < spread["sliced"]
