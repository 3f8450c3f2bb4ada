"""One step of each solver against its formula, and what solvers refuse."""

import pytest
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sampling import trajectory

F64 = torch.float64
VP, VE = registry.build("sde", "vp"), registry.build("sde", "ve")
TS = torch.tensor([0.5, 0.4], dtype=F64)


def solver(name, **fields):
    return registry.build("solver", {"name": name, **fields})


def model(sde, cov=0.3):
    return GaussianMixture(sde, torch.tensor([[0.5, -1.0]], dtype=F64), cov)


def step(name, sde, **fields):
    """The state before, the noise, and the state after one step."""
    x, z = torch.randn(3, 2, dtype=F64), Noise(4, (3, 2), dtype=F64).normal()
    taken = solver(name, **fields)
    return x, z, taken.solve(Reverse(model(sde), eta=taken.eta), x, TS, Noise(4, (3, 2), dtype=F64))


def test_euler_maruyama_step():
    x, z, found = step("euler_maruyama", VP)
    t, dt = TS[0], TS[1] - TS[0]
    drift = -VP.beta(t) / 2 * x - VP.beta(t) * model(VP)(x, t).score
    torch.testing.assert_close(found, x + drift * dt + VP.beta(t).sqrt() * dt.abs().sqrt() * z)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ancestral_step_is_ddpms_posterior(variance):
    x, z, found = step("ancestral", VP, variance=variance)
    before, after = VP.alpha(TS) ** 2
    beta = 1 - before / after
    x0 = model(VP)(x, TS[0]).x0
    mean = after.sqrt() * beta / (1 - before) * x0 + (1 - beta).sqrt() * (1 - after) / (1 - before) * x
    var = beta if variance == "large" else beta * (1 - after) / (1 - before)
    torch.testing.assert_close(found, mean + var.sqrt() * z)


def test_ancestral_step_of_ve_is_the_papers_eq_47():
    x, z, found = step("ancestral", VE)
    before, after = VE.var(TS)
    score = model(VE)(x, TS[0]).score
    torch.testing.assert_close(found, x + (before - after) * score + (after * (before - after) / before).sqrt() * z)


def test_reverse_diffusion_step_is_the_papers_eq_46():
    x, z, found = step("reverse_diffusion", VP)
    beta = 1 - VP.alpha(TS[0]) ** 2 / VP.alpha(TS[1]) ** 2
    score = model(VP)(x, TS[0]).score
    torch.testing.assert_close(found, (2 - (1 - beta).sqrt()) * x + beta * score + beta.sqrt() * z)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_step_is_the_papers_eq_12_and_16(eta):
    x, z, found = step("ddim", VP, eta=eta)
    before, after = VP.alpha(TS) ** 2
    c = eta * ((1 - after) / (1 - before)).sqrt() * (1 - before / after).sqrt()
    said = model(VP)(x, TS[0])
    torch.testing.assert_close(found, after.sqrt() * said.x0 + (1 - after - c**2).sqrt() * said.eps + c * z)


def test_heun_step_is_edms():
    x, _, found = step("heun", VE, eta=0.0)
    reverse, dt = Reverse(model(VE), eta=0.0), TS[1] - TS[0]
    first = reverse.drift(x, TS[0])
    second = reverse.drift(x + first * dt, TS[1])
    torch.testing.assert_close(found, x + (first + second) / 2 * dt)


def test_langevin_step_is_algorithm_4_for_each_sample():
    """In 64 dimensions, where the bound on the step size is not met."""
    many = GaussianMixture(VP, torch.zeros(1, 64, dtype=F64), 1.0)
    x, z = torch.randn(3, 64, dtype=F64), Noise(4, (3, 64), dtype=F64).normal()
    found = solver("langevin", snr=0.2).solve(Reverse(many), x, TS, Noise(4, (3, 64), dtype=F64))
    score = many(x, TS[1]).score
    size = 2 * (0.2 * z.norm(dim=1) / score.norm(dim=1)) ** 2
    torch.testing.assert_close(found, x + size[:, None] * score + (2 * size).sqrt()[:, None] * z)


def test_langevin_does_not_step_beyond_the_noise():
    """Where the score vanishes, the ratio of norms has no bound of its own."""
    x = VP.alpha(TS[1]) * torch.tensor([[0.5, -1.0]], dtype=F64)
    z = Noise(4, (1, 2), dtype=F64).normal()
    found = solver("langevin").solve(Reverse(model(VP)), x, TS, Noise(4, (1, 2), dtype=F64))
    torch.testing.assert_close(found, x + (2 * VP.var(TS[1])).sqrt() * z)


def test_annealed_langevin_step():
    x, z, found = step("annealed_langevin", VP, snr=0.1)
    h = 2 * 0.1**2 * VP.var(TS[1])
    torch.testing.assert_close(found, x + h * model(VP)(x, TS[1]).score + (2 * h).sqrt() * z)


def test_predictor_corrector_is_the_one_and_then_the_other():
    x, noise = torch.randn(3, 2, dtype=F64), Noise(4, (3, 2), dtype=F64)
    reverse = Reverse(model(VP))
    both = solver("predictor_corrector").solve(reverse, x, TS, Noise(4, (3, 2), dtype=F64))
    halfway = solver("reverse_diffusion").solve(reverse, x, TS, noise)
    torch.testing.assert_close(both, solver("annealed_langevin").solve(reverse, halfway, TS, noise))


def test_a_solver_takes_the_forward_process_too():
    """Noising: the drift alone shrinks as α does."""
    ts = torch.linspace(0.1, 0.5, 401, dtype=F64)
    x = torch.ones(4000, 1, dtype=F64)
    out = solver("heun").solve(VP, x, ts, Noise(0, (4000, 1), dtype=F64))
    ratio = VP.alpha(ts[-1]) / VP.alpha(ts[0])
    std = (VP.var(ts[-1]) - ratio**2 * VP.var(ts[0])).sqrt()
    assert abs(out.mean() - ratio) < 5 * std / 4000**0.5
    assert abs(out.std() / std - 1) < 5 / 8000**0.5


def test_without_noise_given_torchs_seed_decides():
    x, reverse = torch.randn(3, 2, dtype=F64), Reverse(model(VP))
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(solver("euler_maruyama").solve(reverse, x, TS))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize("name", ["ancestral", "reverse_diffusion"])
def test_noise_is_not_taken_back(name):
    with pytest.raises(InputError, match="with noise only samples, from t_max down: the times must fall"):
        solver(name).solve(Reverse(model(VP)), torch.zeros(1, 2, dtype=F64), TS.flip(0))


def test_ddim_encodes_without_noise_only():
    x = torch.zeros(1, 2, dtype=F64)
    assert solver("ddim").solve(Reverse(model(VP), eta=0.0), x, TS.flip(0)).isfinite().all()
    with pytest.raises(InputError, match="DDIM with noise only samples"):
        solver("ddim", eta=0.5).solve(Reverse(model(VP), eta=0.5), x, TS.flip(0))


@pytest.mark.parametrize(
    ("name", "sde", "says"),
    [
        ("ddim", VP, r"DDIM needs a score, and VP has none; solvers that work: .*euler_maruyama, "),
        ("langevin", VP, r"Langevin needs a score, and VP has none; solvers that work: .*euler_maruyama, "),
        (
            "ode",
            VP,
            r"ODE integrates no noise: it needs a Reverse with eta=0; solvers that work: .*euler_maruyama, .*heun",
        ),
        (
            "ode",
            Reverse(model(VP)),
            r"ODE integrates no noise: it needs eta=0; solvers that work: .*euler_maruyama, .*heun",
        ),
        ("solve_ivp", Reverse(model(VP)), r"SolveIVP integrates no noise: it needs eta=0"),
        ("predictor_corrector", VP, r"ReverseDiffusion needs a score, and VP has none"),
    ],
)
def test_an_sde_of_the_wrong_kind_is_refused(name, sde, says):
    with pytest.raises(InputError, match=f"^{says}"):
        solver(name).solve(sde, torch.zeros(1, 2, dtype=F64), TS)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"name": "ddim", "eta": 1.5}, r"DDIM\.eta = 1\.5, but it must be a number in \[0, 1\]"),
        ({"name": "ddim", "eta": -0.1}, r"DDIM\.eta"),
        ({"name": "langevin", "snr": 0.0}, r"Langevin\.snr"),
        ({"name": "langevin", "steps": 0}, r"Langevin\.steps"),
        ({"name": "annealed_langevin", "snr": 1.0}, r"AnnealedLangevin\.snr"),
        ({"name": "annealed_langevin", "steps": -1}, r"AnnealedLangevin\.steps"),
        ({"name": "ode", "method": "dopri6"}, r"ODE\.method = 'dopri6' is not one of torchdiffeq's: did you mean"),
        ({"name": "ode", "rtol": 0.0}, r"ODE\.rtol"),
        ({"name": "solve_ivp", "atol": float("nan")}, r"SolveIVP\.atol"),
        ({"name": "ancestral", "variance": "middling"}, r"solver=ancestral: variance = 'middling' is not an option"),
        ({"name": "euler_maruyama", "eta": -1.0}, r"(EulerMaruyama|Reverse)\.eta"),
        ({"name": "heun", "eta": float("nan")}, r"(Heun|Reverse)\.eta"),
        ({"name": "srk", "eta": -1.0}, r"(SRK|Reverse)\.eta"),
    ],
    ids=str,
)
def test_fields_out_of_range_are_refused_before_the_first_step(spec, says):
    with pytest.raises(InputError, match=f"^{says}"):
        trajectory(model(VP), 1, solver=registry.build("solver", spec))


def test_adams_methods_are_not_offered():
    """torchdiffeq's assume equal steps: on a graded grid of 128, explicit_adams was off by 4e5."""
    with pytest.raises(InputError, match="is not one of torchdiffeq's"):
        solver("ode", method="explicit_adams")
