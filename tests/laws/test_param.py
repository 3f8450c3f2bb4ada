"""Every parameterization of every process says the same x_0, ε, score and v."""

import pytest
import torch

from scoresde import registry
from scoresde.model.base import Network
from scoresde.param.base import c_noise
from scoresde.score import Denoiser, GaussianPrediction

from .exact import F64, GAUSSIAN, label

PARAMS = [registry.build("param", name) for name in registry.names("param")]
every = [
    pytest.mark.parametrize("sde", GAUSSIAN, ids=label),
    pytest.mark.parametrize("param", PARAMS, ids=label),
]


class Answers(Network):
    """A network that says what it is told, and remembers what it saw."""

    def __init__(self, answer):
        super().__init__(tuple(answer.shape[1:]), 0)
        self.answer = torch.nn.Parameter(answer)

    def forward(self, x, noise, *, label=None):
        self.check_input(x, noise, label)
        self.seen = x, noise
        return self.answer


def states(sde, dtype):
    """A noisy batch at times across the clock: x_0, ε, x, t."""
    low, high = sde.log_snr(torch.tensor([sde.t_max, sde.t_min], dtype=F64)).tolist()
    t = sde.time(torch.linspace(low, high, 9, dtype=F64)).clamp(sde.t_min, sde.t_max)
    x0, eps = torch.randn(9, 4, dtype=dtype), torch.randn(9, 4, dtype=dtype)
    return x0, eps, sde.perturb(x0, t, eps), t


def answer(sde, param, x0, x, t):
    """What the network has to say for this x_0."""
    scales = param.scales(t, sde.alpha(t), sde.std(t))
    return ((x0.double() - scales.skip[:, None] * x.double()) / scales.out[:, None]).to(x.dtype)


def both(law):
    for mark in every:
        law = mark(law)
    return law


@both
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 1e-6), (F64, 2e-15)], ids=["float32", "float64"])
def test_all_say_the_same(sde, param, dtype, rounding):
    """Up to roundings, times what x costs: an x_0 read off x is only as good as s/α, an ε as α/s."""
    x0, eps, x, t = states(sde, dtype)
    said = Denoiser(Answers(answer(sde, param, x0, x, t)), sde, param)(x, t)
    alpha, std = sde.alpha(t)[:, None], sde.std(t)[:, None]
    scale = 8 * rounding * (1 + x.abs().double())
    for name, right, cost in [
        ("x0", x0, 1 + (1 + std) / alpha),
        ("eps", eps, 1 + (1 + alpha) / std + 1 / alpha),
        ("score", -eps / std, (1 + (1 + alpha) / std + 1 / alpha) / std),
        ("v", alpha * eps - std * x0, (1 + alpha) * (1 + (1 + alpha) / std) + std * (1 + (1 + std) / alpha)),
    ]:
        found = getattr(said, name)
        assert found.dtype == dtype
        assert ((found.double() - right).abs() <= scale * cost).all(), name


@both
def test_one_time_for_all_is_a_time_for_each(sde, param):
    x0, _, x, t = states(sde, F64)
    model = Denoiser(Answers(x0), sde, param)
    one, each = model(x, t[4]), model(x, t[4].expand(9))
    torch.testing.assert_close(one.x0, each.x0, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(one.score, each.score, rtol=1e-13, atol=1e-13)


@both
def test_the_network_reads_scaled_data_and_the_noise_level(sde, param):
    x0, _, x, t = states(sde, F64)
    model = Denoiser(Answers(x0), sde, param)
    model(x, t)
    seen, noise = model.net.seen
    scales = param.scales(t, sde.alpha(t), sde.std(t))
    torch.testing.assert_close(seen, scales.inp[:, None] * x)
    torch.testing.assert_close(noise, c_noise(sde.alpha(t), sde.std(t)))
    assert (noise.diff() < 0).all()  # from the noise end to the data
    torch.testing.assert_close(noise, -sde.log_snr(t) / 8)
    for scale in scales:
        assert scale.shape == t.shape
        assert scale.isfinite().all()


@both
def test_data_of_unit_size_is_fed_at_unit_size(sde, param):
    """Where the data has the deviation that the parameterization assumes, 1 unless it says sigma_data."""
    spread = getattr(param, "sigma_data", 1.0)
    _, _, _, t = states(sde, F64)
    fed = param.scales(t, sde.alpha(t), sde.std(t)).inp * ((sde.alpha(t) * spread) ** 2 + sde.var(t)).sqrt()
    torch.testing.assert_close(fed, torch.ones_like(fed))


@pytest.mark.parametrize("sde", GAUSSIAN, ids=label)
def test_identities_of_a_prediction(sde):
    x0, eps, x, t = states(sde, F64)
    alpha, std = sde.alpha(t)[:, None], sde.std(t)[:, None]
    said = GaussianPrediction(x, x0, alpha, std)
    torch.testing.assert_close(alpha * said.x0 + std * said.eps, x)
    torch.testing.assert_close(said.score, (alpha * x0 - x) / std**2, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(said.v, alpha * said.eps - std * said.x0)
    torch.testing.assert_close(said.eps, eps, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("sde", GAUSSIAN, ids=label)
def test_a_shift_adds_to_the_score(sde):
    x0, _, x, t = states(sde, F64)
    alpha, std = sde.alpha(t)[:, None], sde.std(t)[:, None]
    said = GaussianPrediction(x, x0, alpha, std)
    grad = torch.randn_like(x) / std
    shifted = said.shift(grad)
    torch.testing.assert_close(shifted.score, said.score + grad, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(shifted.x0, x0 + std**2 / alpha * grad)
    torch.testing.assert_close(shifted.shift(-grad).x0, x0, rtol=1e-9, atol=1e-9)
