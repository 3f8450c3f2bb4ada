"""Every process: its coefficients, its kernel, its clock and its prior say the same thing."""

import dataclasses
import math

import mpmath
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from scoresde import registry
from scoresde.errors import InputError
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.score import Prediction, ScoreModel
from scoresde.sde.base import GaussianSDE
from scoresde.tensor import expand

from .exact import F64, GAUSSIAN, OTHER, PROCESSES, label

WIDE = [*GAUSSIAN, registry.build("sde", {"name": "ve", "sigma_max": 1348.0})]
every_gaussian = pytest.mark.parametrize("sde", WIDE, ids=label)
every_process = pytest.mark.parametrize("sde", PROCESSES, ids=label)
every_other = pytest.mark.parametrize("sde", OTHER, ids=label)


def clock(sde, count=200):
    """Times dense at both ends."""
    return sde.t_min + (sde.t_max - sde.t_min) * (1 - torch.cos(torch.linspace(0, math.pi, count, dtype=F64))) / 2


def early(sde, dtype=torch.float32):
    """Times near the data."""
    return (sde.t_min * torch.logspace(0, 2, 50, dtype=F64)).clamp(max=sde.t_max).to(dtype)


@every_gaussian
def test_closed_forms_are_the_derivatives_of_the_kernel(sde):
    t = clock(sde)
    torch.testing.assert_close(sde.drift_rate(t), GaussianSDE.drift_rate(sde, t), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sde.diffusion_squared(t), GaussianSDE.diffusion_squared(sde, t), rtol=1e-9, atol=0)
    torch.testing.assert_close(sde.std(t), sde.var(t).sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(sde.log_snr(t), GaussianSDE.log_snr(sde, t), rtol=1e-9, atol=1e-9)


@every_gaussian
def test_drift_and_diffusion_are_rate_times_x_and_g(sde):
    t, x = clock(sde, 5), torch.randn(5, 2, 3, dtype=F64)
    torch.testing.assert_close(sde.drift(x, t), sde.drift_rate(t)[:, None, None] * x)
    g = sde.diffusion_squared(t).sqrt()[:, None, None]
    torch.testing.assert_close(sde.diffusion(x, t).expand_as(x), g.expand_as(x))
    torch.testing.assert_close(sde.gram(x, t, x), g**2 * x)
    torch.testing.assert_close(sde.noise(x, t, x), g * x)
    assert not sde.gram_divergence(x, t).any()


@every_gaussian
@pytest.mark.parametrize("quantity", ["alpha", "var", "std", "log_snr", "diffusion_squared"])
def test_float32_near_the_data_is_float64(sde, quantity):
    t = early(sde)
    found, right = getattr(sde, quantity)(t), getattr(sde, quantity)(t.double())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=0)


@every_gaussian
def test_float32_is_float64_over_the_whole_clock(sde):
    t = clock(sde).float().clamp(sde.t_min, sde.t_max)
    for quantity in ("alpha", "var", "std"):
        found, right = getattr(sde, quantity)(t).double(), getattr(sde, quantity)(t.double())
        torch.testing.assert_close(found, right, rtol=3e-5, atol=0)


def _exact(sde, t):
    """α and s² by fifty digits, from the papers' own formulas."""
    t = mpmath.mpf(t)
    one = mpmath.mpf(1)
    match type(sde).__name__:
        case "VP" | "SubVP":
            decay = mpmath.exp(-(sde.beta_min * t + (mpmath.mpf(sde.beta_max) - sde.beta_min) / 2 * t**2))
            return mpmath.sqrt(decay), (1 - decay) ** (1 if type(sde).__name__ == "VP" else 2)
        case "VE":
            return one, (sde.sigma_min * (mpmath.mpf(sde.sigma_max) / sde.sigma_min) ** t) ** 2
        case "EDM":
            return one, t**2
        case "Rectified":
            return 1 - t, t**2
        case "Cosine":
            alpha = mpmath.cos(mpmath.pi / 2 * (t + sde.offset) / (1 + mpmath.mpf(sde.offset)))
            alpha /= mpmath.cos(mpmath.pi / 2 * sde.offset / (1 + mpmath.mpf(sde.offset)))
            return alpha, 1 - alpha**2
        case "DDPM":  # linear; between the ends of two steps the geometric mean
            betas = [mpmath.mpf(b) for b in np.linspace(sde.beta_start, sde.beta_end, sde.steps).tolist()]
            step = min(int(mpmath.floor(t * sde.steps)), sde.steps - 1)
            total = mpmath.fsum(mpmath.log(1 - b) for b in betas[:step])
            total += (t * sde.steps - step) * mpmath.log(1 - betas[step])
            return mpmath.exp(total / 2), -mpmath.expm1(total)
    return pytest.skip(f"no formula of {type(sde).__name__} is written here")


@every_gaussian
def test_the_kernel_is_the_papers_to_fifty_digits(sde):
    with mpmath.workdps(50):
        times = [*early(sde, F64)[::7].tolist(), *clock(sde, 7).tolist()]
        pairs = [_exact(sde, t) for t in times]
        right = torch.tensor([[float(a), float(v), float(mpmath.log(a**2 / v))] for a, v in pairs], dtype=F64)
    t = torch.tensor(times, dtype=F64)
    torch.testing.assert_close(torch.stack([sde.alpha(t), sde.var(t)], -1), right[:, :2], rtol=1e-11, atol=0)
    torch.testing.assert_close(sde.log_snr(t), right[:, 2], rtol=1e-10, atol=1e-10)


def test_the_float32_law_sees_the_plain_difference():
    sde = registry.build("sde", "vp")
    t = early(sde)
    naive, right = 1 - torch.exp(-sde.integral(t)), sde.var(t.double())
    assert ((naive.double() - right).abs() / right).max() > 1e-3


@every_gaussian
@pytest.mark.parametrize("which", ["closed form", "bisection"])
def test_time_inverts_log_snr(sde, which):
    invert = sde.time if which == "closed form" else lambda level: GaussianSDE.time(sde, level)
    t = torch.cat([clock(sde), early(sde, F64)])
    torch.testing.assert_close(invert(sde.log_snr(t)), t, rtol=1e-9, atol=1e-14)
    t = t.float().clamp(sde.t_min, sde.t_max)
    again = invert(sde.log_snr(t))
    assert again.dtype == torch.float32
    # a level is good to a rounding of its own size, so a time to that over its rate of change
    rate = sde.diffusion_squared(t.double()) / sde.var(t.double())
    error = (again.double() - t.double()).abs()
    assert (error <= 2e-6 * (t + (1 + sde.log_snr(t).abs()) / rate)).all()


@every_gaussian
def test_time_answers_far_beyond_the_clock(sde):
    t = sde.time(torch.linspace(-12, 20, 100, dtype=F64))
    assert (t.diff() < 0).all()
    assert t.isfinite().all()


@every_gaussian
def test_alpha_falls_and_variance_rises(sde):
    t = clock(sde)
    assert (sde.alpha(t) > 0).all()
    assert (sde.alpha(t).diff() <= 0).all()
    assert (sde.var(t).diff() > 0).all()
    assert (sde.log_snr(t).diff() < 0).all()
    assert (sde.diffusion_squared(t) > 0).all()


@every_gaussian
def test_moments_of_the_forward_equation_are_the_kernel(sde):
    """dm/dt = rate m and dv/dt = 2 rate v + g², from the kernel at t_min."""

    def slope(t, y):
        time = torch.tensor(t, dtype=F64)
        rate, g2 = sde.drift_rate(time).item(), sde.diffusion_squared(time).item()
        return [rate * y[0], 2 * rate * y[1] + g2]

    if hasattr(sde, "steps"):  # whose β jumps from step to step: few of them, and no integration across a jump
        sde = dataclasses.replace(sde, steps=16, t_min=1 / 16)
    jumps = torch.arange(17, dtype=F64) / 16 if hasattr(sde, "steps") else torch.tensor([sde.t_min, sde.t_max])
    ts = clock(sde, 12)
    y, found, before = [sde.alpha(ts[0]).item(), sde.var(ts[0]).item()], [], sde.t_min
    for end in sorted({*ts.tolist(), *(jump for jump in jumps.tolist() if sde.t_min < jump < sde.t_max)}):
        if end > before:
            # a step's own rate up to its end, where the next one's begins
            inside = np.nextafter(end, 0)
            y = solve_ivp(
                lambda t, y, top=inside: slope(min(t, top), y), (before, end), y, "DOP853", rtol=1e-10, atol=1e-14
            ).y[:, -1]
        before = end
        if end in ts:
            found.append(y)
    found = np.stack(found, axis=1)
    right = torch.stack([sde.alpha(ts), sde.var(ts)]).numpy()
    np.testing.assert_allclose(found, right, rtol=1e-7)


@pytest.mark.parametrize("sde", GAUSSIAN, ids=label)
def test_simulation_forward_is_the_kernel(sde):
    """Euler–Maruyama from a point, log-SNR 3 to −3: its bias at 300 steps is well inside the error bars of 4,096."""
    ts = sde.time(torch.linspace(3, -3, 301, dtype=F64))
    n, point = 4096, 0.7
    x = registry.build("solver", "euler_maruyama").solve(
        sde, torch.full((n, 1), point, dtype=F64), ts, Noise(1, (n, 1), dtype=F64)
    )
    ratio = sde.alpha(ts[-1]) / sde.alpha(ts[0])
    var = sde.var(ts[-1]) - ratio**2 * sde.var(ts[0])
    assert abs((x.mean() - ratio * point) / (var / n).sqrt()) < 5
    assert abs((x.var() / var - 1) / (2 / n) ** 0.5) < 5


@every_gaussian
def test_perturb_draws_from_the_kernel(sde):
    t, x0, eps = clock(sde, 4), torch.randn(4, 3, dtype=F64), torch.randn(4, 3, dtype=F64)
    right = sde.alpha(t)[:, None] * x0 + sde.std(t)[:, None] * eps
    torch.testing.assert_close(sde.perturb(x0, t, eps), right)


@every_gaussian
def test_prior_is_the_noise_at_t_max(sde):
    prior = sde.prior((5, 2, 3), dtype=F64)
    std = sde.std(torch.tensor(sde.t_max, dtype=F64))
    one = torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(1.0, dtype=F64))
    torch.testing.assert_close(prior.icdf(one.expand(5, 2, 3)), std.expand(5, 2, 3), rtol=1e-6, atol=0)


@every_process
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_prior_draws_and_weighs_a_whole_batch(sde, dtype):
    prior = sde.prior((4, 2, 3), dtype=dtype)
    u = torch.linspace(0.001, 0.999, 24, dtype=F64).reshape(4, 2, 3)
    x = prior.icdf(u).to(dtype)
    assert x.shape == prior.batch_shape == prior.log_prob(x).shape == (4, 2, 3)
    assert prior.log_prob(x).dtype == dtype
    assert (x.flatten().diff() > 0).all()


@every_process
def test_the_priors_density_is_the_slope_of_its_distribution(sde):
    """P(a < x < b) is the integral of exp(log_prob), where icdf says where a and b are."""
    u = torch.tensor([0.02, 0.98], dtype=F64)
    a, b = sde.prior((2,), dtype=F64).icdf(u).tolist()
    x = torch.linspace(a, b, 20_001, dtype=F64)
    mass = torch.trapezoid(sde.prior((20_001,), dtype=F64).log_prob(x).exp(), x).item()
    assert mass == pytest.approx(0.96, abs=1e-6)


@every_process
def test_what_is_no_value_is_refused_in_one_line(sde):
    for field in dataclasses.fields(sde):
        for bad in (float("nan"), -1.0):
            with pytest.raises(InputError, match=rf"^{type(sde).__name__}\.\w+ = .*must be [^\n]*$") as refused:
                dataclasses.replace(sde, **{field.name: bad})
            assert f".{field.name} = " in str(refused.value)


@every_process
def test_a_clock_that_does_not_run_is_refused(sde):
    for fields in ({"t_min": 0.0}, {"t_min": sde.t_max}, {"t_max": sde.t_min}, {"t_max": math.inf}):
        with pytest.raises(InputError, match=r"\.t_m(in|ax) = "):
            dataclasses.replace(sde, **fields)


@every_process
def test_times_that_do_not_fit_the_batch_are_refused(sde):
    x, t = torch.zeros(4, 2), torch.full((3,), sde.t_max)
    if isinstance(sde, GaussianSDE):
        for call in (sde.drift, sde.diffusion, lambda x, t: sde.perturb(x, t, x)):
            with pytest.raises(InputError, match=r"\(3,\) does not fit data of shape \(4, 2\)"):
                call(x, t)
    with pytest.raises(InputError):
        expand(t, x)


@every_process
def test_coefficients_keep_the_shape_and_precision_of_the_data(sde):
    for dtype in (torch.float32, F64):
        x = torch.randn(4, 2, 3, dtype=dtype)
        for t in (torch.tensor(sde.t_max / 2, dtype=F64), torch.full((4,), sde.t_max / 2)):
            assert sde.drift(x, t).shape == x.shape
            assert torch.broadcast_shapes(sde.diffusion(x, t).shape, x.shape) == x.shape
            for y in (sde.drift(x, t), sde.noise(x, t, x), sde.gram(x, t, x), x + sde.gram_divergence(x, t)):
                assert y.dtype == dtype
                assert y.shape == x.shape


# A process that is not Gaussian is known by the law that it leaves as it is: its prior.


class Stationary(ScoreModel):
    """The exact score of a process that is, at every time, in the law of its prior."""

    def __init__(self, sde, shape=(1,)):
        super().__init__()
        self.sde, self.shape = sde, shape

    def forward(self, x, t, cond=None) -> Prediction:
        @dataclasses.dataclass(frozen=True)
        class Said:
            score: torch.Tensor

            def shift(self, grad):
                return Said(self.score + grad)

        return Said(prior_score(self.sde, x))


def prior_score(sde, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (score,) = torch.autograd.grad(sde.prior(tuple(x.shape), dtype=x.dtype).log_prob(x).sum(), x)
    return score


def slope_in_x(function, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


@every_other
def test_gram_divergence_is_the_derivative_of_the_gram(sde):
    x, t = torch.linspace(-2.5, 2.5, 101, dtype=F64)[:, None], torch.tensor(sde.t_max, dtype=F64)
    found = sde.gram_divergence(x, t)
    right = slope_in_x(lambda x: sde.gram(x, t, torch.ones_like(x)), x)
    torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-12)


@every_other
def test_no_probability_flows_in_the_stationary_law(sde):
    """Fokker–Planck: a p − ½ (σ² p)′ = 0."""
    x, t = torch.linspace(-2, 2, 101, dtype=F64)[:, None], torch.tensor(sde.t_max, dtype=F64)

    def density(x):
        return sde.prior(tuple(x.shape), dtype=F64).log_prob(x).exp()

    flux = sde.drift(x, t) * density(x)
    flux = flux - slope_in_x(lambda x: sde.gram(x, t, density(x)), x) / 2
    assert flux.abs().max() < 1e-12 * (sde.drift(x, t) * density(x)).abs().max() + 1e-13


@every_other
@pytest.mark.parametrize("name", ["euler_maruyama", "srk"])
@pytest.mark.parametrize("eta", [None, 0.0, 0.5, 1.0], ids=lambda eta: "forward" if eta is None else f"eta={eta}")
def test_the_stationary_law_stays(sde, name, eta):
    """Forward and in reverse at every η: even moments within error bars, and the share of each half."""
    n, steps, span = 8192, 100, 0.5
    end = torch.tensor([sde.t_max, sde.t_max - span], dtype=F64)
    ts = torch.linspace(*(end if eta is not None else end.flip(0)).tolist(), steps + 1, dtype=F64)
    noise = Noise(3, (n, 1), dtype=F64)
    x = sde.prior((n, 1), dtype=F64).icdf(noise.uniform())
    equation = sde if eta is None else Reverse(Stationary(sde), eta=eta)
    out = registry.build("solver", name).solve(equation, x, ts, noise)
    u = (torch.arange(200_000, dtype=F64) + 0.5) / 200_000
    known = sde.prior((200_000,), dtype=F64).icdf(u)
    assert out.isfinite().all()
    for moment in (lambda y: y, lambda y: y**2, lambda y: y**4, lambda y: (y > 0).double()):
        z = (moment(out).mean() - moment(known).mean()) / (moment(known).std() / n**0.5)
        assert abs(z) < 5
