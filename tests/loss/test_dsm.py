import pytest
import torch

from scoresde.analytic import GaussianMixture
from scoresde.loss.dsm import DSM
from scoresde.noise import Noise
from scoresde.registry import build, names
from scoresde.sde.base import GaussianSDE

PROCESSES = [s for s in names("sde") if isinstance(build("sde", s), GaussianSDE)]
VARIANCE = 0.25


def expected(model: GaussianMixture, weighting, t: torch.Tensor) -> torch.Tensor:
    """The loss of the exact score of N(0, v): λ(t) E‖∇log p_t − ∇log p(x_t | x_0)‖² = λ v α²/(s² (α² v + s²))."""
    alpha, var = model.sde.alpha(t), model.sde.var(t)
    return weighting(model.sde, t) * VARIANCE * alpha**2 / (var * (alpha**2 * VARIANCE + var))


@pytest.mark.parametrize("sde", PROCESSES)
@pytest.mark.parametrize("weighting", names("loss/weighting"))
@pytest.mark.parametrize("time", names("loss/time"))
def test_the_exact_score_has_the_loss_that_algebra_gives_it(sde, weighting, time):
    n = 20_000
    model = GaussianMixture(build("sde", sde), torch.zeros(1, 4, dtype=torch.float64), VARIANCE)
    loss = DSM(build("loss/weighting", weighting), build("loss/time", time))
    noise = Noise(3, (n, 4), dtype=torch.float64)
    x0 = VARIANCE**0.5 * noise.normal()
    seed = Noise(4, (n, 4), dtype=torch.float64)
    measured = loss(model, x0, seed)
    u = (torch.arange(n) + Noise(4, (n, 4), dtype=torch.float64).uniform(())) / n
    t, importance = loss.time(model.sde, u)
    algebra = importance * expected(model, loss.weighting, t)
    # given t a sample's loss is its expectation times χ²₄/4, of variance ½
    z = (measured.sum() - algebra.sum()) / (0.5 * algebra.square().sum()).sqrt()
    assert z.abs() < 5


@pytest.mark.parametrize("sde", PROCESSES)
def test_importance_sampling_keeps_the_mean_and_lowers_the_variance(sde):
    """Under the likelihood weighting, against quadrature over uniform times."""
    process = build("sde", sde)
    model = GaussianMixture(process, torch.zeros(1, 4, dtype=torch.float64), VARIANCE)
    weighting = build("loss/weighting", "likelihood")
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    means, spreads = [], []
    for name in ("uniform", "importance"):
        t, importance = build("loss/time", name)(process, u)
        values = importance * expected(model, weighting, t)
        means.append(values.mean())
        spreads.append(values.std())
    assert torch.isclose(*means, rtol=2e-2)
    assert spreads[1] < spreads[0]


@pytest.mark.parametrize("sde", PROCESSES)
@pytest.mark.parametrize("time", names("loss/time"))
def test_times_stay_inside_the_process(sde, time):
    process = build("sde", sde)
    u = torch.tensor([1e-12, 0.1, 0.5, 0.9, 1 - 1e-12], dtype=torch.float64)
    t, importance = build("loss/time", time)(process, u)
    assert (t >= process.t_min * (1 - 1e-9)).all()
    assert (t <= process.t_max * (1 + 1e-9)).all()
    assert (importance > 0).all()


def test_log_normal_times_have_the_paper_s_law():
    process = build("sde", "edm")
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    log_sigma = build("loss/time", "log_normal")(process, u)[0].log()
    assert abs(log_sigma.mean() + 1.2) < 5e-3
    assert abs(log_sigma.std() - 1.2) < 5e-3


def test_stratified_times_vary_less():
    """The mean of s² over a batch of 64 times: stratification cuts its deviation many times over."""
    process = build("sde", "vp")
    seen, plain = [], []

    class Spy:
        def __call__(self, sde, u):
            seen.append(sde.var(u).mean())
            return u, torch.ones_like(u)

    model = GaussianMixture(process, torch.zeros(1, 2), VARIANCE)
    for seed in range(200):
        noise = Noise(seed, (64, 2))
        DSM(time=Spy())(model, torch.zeros(64, 2), noise)
        plain.append(process.var(Noise(seed + 1000, (64, 2)).uniform(())).mean())
    assert torch.stack(seen).std() < 0.1 * torch.stack(plain).std()


def test_edm_weighting_is_the_paper_s():
    """λ(σ) = (σ² + σ_d²)/(σ σ_d)² on ‖D − x_0‖², at the process where σ is time."""
    process, weighting = build("sde", "edm"), build("loss/weighting", "edm")
    sigma = torch.tensor([0.002, 0.5, 80.0], dtype=torch.float64)
    on_x0 = weighting(process, sigma) * (1 / sigma**2) ** 2
    assert torch.allclose(on_x0, (sigma**2 + 0.25) / (sigma * 0.5) ** 2)
