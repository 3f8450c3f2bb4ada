import pytest
import torch

from scoresde.errors import InputError
from scoresde.loss.dsm import DSM
from scoresde.loss.time.log_normal import LogNormal
from scoresde.loss.uncertain import Uncertain
from scoresde.loss.weighting.edm import EDM
from scoresde.noise import Noise
from scoresde.registry import build
from scoresde.score import Denoiser


def denoiser(**fields):
    torch.manual_seed(0)
    small = {"channels": 32, "multipliers": (1,), "blocks": 1, "attention": (), "head_channels": 16, "logvar": 16}
    net = build("model", {"name": "edm2", **small, **fields}, shape=(1, 8, 8), classes=0)
    return Denoiser(net, build("sde", "edm"), build("param", "edm"))


def noise(n, seed=1):
    return Noise(seed, (n, 1, 8, 8))


def test_it_is_denoising_over_what_the_head_expects():
    model, x0 = denoiser(), torch.randn(16, 1, 8, 8)
    plain = DSM(EDM(), LogNormal())(model, x0, noise(16))
    t, _ = LogNormal()(model.sde, noise(16).stratified())
    expected = model.net.log_variance(t.log() / 4)
    torch.testing.assert_close(Uncertain()(model, x0, noise(16)), plain / expected.exp() + expected)


def test_the_head_learns_the_logarithm_of_the_error():
    """With the rest held still: at each noise level it comes to log E[error], as an average over many draws has it."""
    model, loss = denoiser().eval(), Uncertain()
    x0 = 0.5 * torch.randn(512, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model.requires_grad_(False)
    head = model.net.uncertainty.linear.weight.requires_grad_()
    optimizer = torch.optim.Adam([head], lr=0.03)
    for step in range(150):
        optimizer.zero_grad()
        loss(model, x0, noise(512, seed=step)).mean().backward()
        optimizer.step()
    for sigma in (0.1, 0.3, 1.0):

        class At(LogNormal):
            def __call__(self, sde, u, sigma=sigma):
                return torch.full_like(u, sigma), torch.ones_like(u)

        error = DSM(EDM(), At())(model, x0, noise(512, seed=999)).mean().log()
        told = model.net.log_variance(torch.tensor([sigma]).log() / 4)
        assert told.item() == pytest.approx(error.item(), abs=0.1)


def test_a_network_without_a_head_is_refused():
    net = build("model", {"name": "mlp", "width": 8, "depth": 1}, shape=(2,), classes=0)
    plain = Denoiser(net, build("sde", "edm"), build("param", "edm"))
    with pytest.raises(InputError, match="MLP does not: try model=edm2"):
        Uncertain()(plain, torch.randn(4, 2), Noise(0, (4, 2)))
    with pytest.raises(InputError, match="logvar = 0"):
        Uncertain()(denoiser(logvar=0), torch.randn(4, 1, 8, 8), noise(4))
