"""The exact model against its own density, by autograd and by quadrature."""

import pytest
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.noise import Noise

F64 = torch.float64
VP = registry.build("sde", "vp")
SDES = pytest.mark.parametrize("name", ["vp", "ve", "subvp", "rectified"])


def mixture(sde, kind="full"):
    means = torch.tensor([[-1.0, 0.5, 0.2], [1.5, 1.0, -1.0]], dtype=F64)
    a = torch.tensor([[0.5, 0.2, 0.0], [0.1, 0.4, 0.3], [0.0, 0.1, 0.7]], dtype=F64)
    full = torch.stack([a @ a.T, a.T @ a + 0.1 * torch.eye(3, dtype=F64)])
    covs = {"iso": torch.tensor([0.3, 0.6], dtype=F64), "diagonal": full.diagonal(dim1=1, dim2=2), "full": full}
    return GaussianMixture(sde, means, covs[kind], torch.tensor([1.0, 3.0], dtype=F64))


@SDES
@pytest.mark.parametrize("kind", ["iso", "diagonal", "full"])
def test_score_is_the_gradient_of_the_density(name, kind):
    sde = registry.build("sde", name)
    model = mixture(sde, kind)
    x = torch.randn(6, 3, dtype=F64)
    for share in (0.01, 0.3, 1.0):
        t = torch.tensor(sde.t_min + share * (sde.t_max - sde.t_min), dtype=F64)
        y = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(model.log_prob(y, t).sum(), y)
        torch.testing.assert_close(model(x, t).score, grad, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(model(x, t.expand(6)).score, grad, rtol=1e-8, atol=1e-8)


@SDES
def test_density_integrates_to_one(name):
    sde = registry.build("sde", name)
    model = GaussianMixture(sde, torch.tensor([[-1.0], [2.0]], dtype=F64), [0.01, 0.5], torch.tensor([1.0, 2.0]))
    for t in (None, torch.tensor(sde.t_min, dtype=F64), sde.time(torch.tensor(0.0, dtype=F64))):
        x = torch.linspace(-12, 12, 40_001, dtype=F64)
        mass = torch.trapezoid(model.log_prob(x[:, None], t).exp(), x)
        assert mass.item() == pytest.approx(1, abs=1e-8)


def test_density_is_torchs_own():
    t = torch.tensor(0.4, dtype=F64)
    alpha, var = VP.alpha(t), VP.var(t)
    model = mixture(VP)
    a = torch.tensor([[0.5, 0.2, 0.0], [0.1, 0.4, 0.3], [0.0, 0.1, 0.7]], dtype=F64)
    eye = torch.eye(3, dtype=F64)
    covs = alpha**2 * torch.stack([a @ a.T, a.T @ a + 0.1 * eye]) + var * eye
    parts = torch.distributions.MultivariateNormal(alpha * model._means, covs)
    right = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.25, 0.75], dtype=F64)), parts
    )
    x = torch.randn(7, 3, dtype=F64)
    torch.testing.assert_close(model.log_prob(x, t), right.log_prob(x))


def test_iso_diagonal_and_full_agree():
    means = torch.randn(2, 4, dtype=F64)
    v = torch.tensor([0.3, 0.6], dtype=F64)
    covs = [v, v[:, None].expand(2, 4), v[:, None, None] * torch.eye(4, dtype=F64)]
    x, t = torch.randn(5, 4, dtype=F64), torch.tensor(0.2, dtype=F64)
    iso, diagonal, full = (GaussianMixture(VP, means, c) for c in covs)
    for other in (diagonal, full):
        torch.testing.assert_close(other(x, t).x0, iso(x, t).x0)
        torch.testing.assert_close(other.log_prob(x, t), iso.log_prob(x, t))


def test_one_number_is_the_variance_of_all():
    means = torch.zeros(3, 2, dtype=F64)
    a, b = GaussianMixture(VP, means, 0.5), GaussianMixture(VP, means, [0.5, 0.5, 0.5])
    assert torch.equal(a.log_prob(means), b.log_prob(means))


def test_points_are_mixtures_without_width():
    """As t → 0, x_0 is the nearest point."""
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=F64)
    model = GaussianMixture(VP, points, 0.0)
    t = torch.tensor(VP.t_min, dtype=F64)
    found = model(torch.tensor([[0.2, 0.1], [0.9, 0.8]], dtype=F64), t).x0
    torch.testing.assert_close(found, points, rtol=0, atol=1e-6)


def test_the_posterior_mean_is_the_mean_of_the_posterior():
    """E[x_0 | x] by quadrature over x_0, in one dimension."""
    model = GaussianMixture(VP, torch.tensor([[-1.0], [1.0]], dtype=F64), [0.1, 0.3])
    t, x = torch.tensor(0.3, dtype=F64), 0.4
    x0 = torch.linspace(-6, 6, 20_001, dtype=F64)
    weight = model.log_prob(x0[:, None]) - (x - VP.alpha(t) * x0) ** 2 / (2 * VP.var(t))
    weight = (weight - weight.max()).exp()
    right = (weight * x0).sum() / weight.sum()
    torch.testing.assert_close(model(torch.full((1, 1), x, dtype=F64), t).x0[0, 0], right)


def test_data_of_any_shape():
    means = torch.randn(2, 3, 4, 4, dtype=F64)
    model, flat = GaussianMixture(VP, means, 0.2), GaussianMixture(VP, means.flatten(1), 0.2)
    x, t = torch.randn(5, 3, 4, 4, dtype=F64), torch.rand(5, dtype=F64) * 0.9 + 0.1
    torch.testing.assert_close(model(x, t).x0.flatten(1), flat(x.flatten(1), t).x0)
    assert model.shape == (3, 4, 4)


@pytest.mark.parametrize("kind", ["iso", "diagonal", "full"])
@pytest.mark.parametrize("time", [None, 0.3])
def test_draws_have_the_density(kind, time):
    """Mean and covariance of 20,000, in units of their error bars; none beyond five."""
    model, n = mixture(VP, kind), 20_000
    t = None if time is None else torch.tensor(time, dtype=F64)
    x = model.draw(Noise(1, (n, 3), dtype=F64), t)
    one, zero = torch.ones((), dtype=F64), torch.zeros((), dtype=F64)
    alpha, var = (one, zero) if t is None else (VP.alpha(t), VP.var(t))
    w, m = model._log_weights.exp(), model._means
    covs = torch.diag_embed(model._variances)
    if model._basis is not None:
        covs = model._basis @ covs @ model._basis.mT
    mean = w @ m
    cov = torch.einsum("k,kij->ij", w, covs + torch.einsum("ki,kj->kij", m - mean, m - mean))
    right = alpha**2 * cov + var * torch.eye(3, dtype=F64)
    y = x - alpha * mean
    assert (y.mean(0).abs() / right.diagonal().sqrt()).max() * n**0.5 < 5
    products = torch.einsum("bi,bj->bij", y, y)
    assert ((products.mean(0) - right).abs() / products.std(0)).max() * n**0.5 < 5


def test_single_precision_in_single_precision_out():
    model = GaussianMixture(VP, torch.zeros(1, 2), 1.0)
    said = model(torch.zeros(3, 2), torch.tensor(0.5, dtype=F64))
    assert said.x0.dtype == said.score.dtype == torch.float32
    assert model.log_prob(torch.zeros(3, 2)).dtype == torch.float32
    assert model.draw(Noise(0, (3, 2))).dtype == torch.float32


@pytest.mark.parametrize(
    ("covs", "weights", "says"),
    [
        (torch.ones(3), None, r"covs of shape \(3,\) do not fit 2 means of 3 coordinates"),
        (torch.ones(2, 2), None, r"covs of shape \(2, 2\) do not fit"),
        (-1.0, None, "covs must be positive semidefinite"),
        (float("nan"), None, "covs must be positive semidefinite"),
        (torch.ones(2, 3, 3).triu(), None, "covs must be symmetric"),
        (1.0, torch.tensor([1.0, 0.0]), "weights must be 2 numbers > 0"),
        (1.0, torch.tensor([1.0, float("nan")]), "weights must be 2 numbers > 0"),
        (1.0, torch.ones(3), "weights must be 2 numbers > 0"),
    ],
)
def test_what_is_no_mixture_is_refused(covs, weights, says):
    with pytest.raises(InputError, match=f"^{says}[^\n]*$"):
        GaussianMixture(VP, torch.zeros(2, 3), covs, weights)


def test_a_process_without_a_gaussian_kernel_is_refused():
    with pytest.raises(InputError, match=r"^GaussianMixture needs a GaussianSDE; DoubleWell is not one: try sde=vp$"):
        GaussianMixture(registry.build("sde", "double_well"), torch.zeros(1, 2), 1.0)
