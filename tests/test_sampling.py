"""From a model to samples: reproducible, independent of the batch, refused in one line."""

import dataclasses

import pytest
import torch

import scoresde
from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.reverse import Reverse
from scoresde.sampling import evaluations, sample, times, trajectory
from scoresde.score import Denoiser
from tests.laws.exact import Counted, solvers

F64 = torch.float64
VP = registry.build("sde", "vp")
MODEL = GaussianMixture(VP, torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=F64), 0.1)


def solver(name, **fields):
    return registry.build("solver", {"name": name, **fields})


def denoiser(dropout=0.0, range=None, classes=0):
    net = registry.build(
        "model", {"name": "mlp", "width": 8, "depth": 1, "dropout": dropout}, shape=(2,), classes=classes
    )
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return Denoiser(net, VP, registry.build("param", "v"), range)


def test_it_is_on_the_face_of_the_package():
    assert scoresde.sample is sample
    with pytest.raises(AttributeError, match="no attribute 'samples'"):
        _ = scoresde.samples


@pytest.mark.parametrize("name", ["heun", "euler_maruyama", "ancestral", "predictor_corrector", "srk"])
def test_the_first_samples_of_a_larger_run_are_those_of_a_smaller(name):
    few, many = (sample(MODEL, n, solver=solver(name), steps=8, seed=3) for n in (3, 10))
    torch.testing.assert_close(few, many[:3], rtol=1e-12, atol=1e-12)


def test_a_run_may_be_cut_into_batches():
    *_, (_, part) = trajectory(MODEL, 3, solver=solver("heun", eta=1.0), steps=8, seed=3, first=5)
    torch.testing.assert_close(part, sample(MODEL, 8, solver=solver("heun", eta=1.0), steps=8, seed=3)[5:])


def test_a_run_is_a_function_of_its_seed():
    first = sample(MODEL, 4, solver=solver("euler_maruyama"), steps=8, seed=1)
    torch.manual_seed(123)
    torch.rand(5)
    assert torch.equal(first, sample(MODEL, 4, solver=solver("euler_maruyama"), steps=8, seed=1))
    assert not (first == sample(MODEL, 4, solver=solver("euler_maruyama"), steps=8, seed=2)).any()


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    sample(MODEL, 4, solver=solver("euler_maruyama"), steps=2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("denoise", [True, False])
@pytest.mark.parametrize("name", ["heun", "ancestral", "ode", "solve_ivp"])
def test_a_trajectory_is_the_grid_and_what_is_denoised(name, denoise):
    method = solver(name)
    path = list(trajectory(MODEL, 3, solver=method, steps=5, denoise=denoise))
    assert len(path) == 6 + (denoise and not method.denoises)
    clock = [t.item() for t, _ in path]
    assert clock[0] == VP.t_max
    assert clock[5] == (0 if denoise and method.denoises else VP.t_min)
    assert all(x.shape == (3, 2) for _, x in path)
    if denoise:
        assert clock[-1] == 0
    if denoise and not method.denoises:
        right = MODEL(path[5][1], torch.tensor(VP.t_min, dtype=F64)).x0
        torch.testing.assert_close(path[-1][1], right)


def test_a_path_starts_at_the_prior():
    """Drawn by its inverse distribution function: each sample from its own stream."""
    (_, x), *_ = trajectory(MODEL, 20_000, steps=1)
    std = VP.std(torch.tensor(1.0, dtype=F64))
    assert abs(x.var() / std**2 - 1) < 5 * (2 / x.numel()) ** 0.5


def test_clamped_to_the_range_of_the_data():
    loose, tight = (sample(denoiser_like, 50, steps=4) for denoiser_like in _pair((-0.1, 0.2)))
    assert loose.abs().max() > 0.2
    assert torch.equal(tight, loose.clamp(-0.1, 0.2))


def _pair(range):
    torch.manual_seed(0)
    a = denoiser()
    torch.manual_seed(0)
    return a, denoiser(range=range)


@pytest.mark.parametrize("training", [True, False])
def test_sampling_is_in_eval_mode_and_restores_the_mode(training):
    model = denoiser(dropout=0.9).train(training)
    path = trajectory(model, 3, steps=3)
    next(path)
    assert not model.training
    for _ in path:
        pass
    assert model.training == model.net.training == training
    assert torch.equal(sample(model, 3, steps=3), sample(model, 3, steps=3))


def test_the_mode_is_restored_where_the_caller_stops_early():
    model = denoiser().train()
    path = trajectory(model, 3, steps=3)
    next(path)
    path.close()
    assert model.training


def test_samples_carry_no_graph():
    assert not sample(denoiser(), 2, steps=2).requires_grad


def test_samples_have_the_models_precision():
    assert sample(denoiser(), 2, steps=2).dtype == torch.float32
    assert sample(MODEL, 2, steps=2).dtype == F64


def test_conditions_are_one_row_a_sample():
    model = denoiser(classes=3)
    x = sample(model, 2, steps=2, cond={"label": torch.tensor([0, 1])})
    assert x.shape == (2, 2)
    with pytest.raises(InputError, match=r"^label has shape \(3,\), but it needs one row for each of 2 samples$"):
        sample(model, 2, steps=2, cond={"label": torch.tensor([0, 1, 2])})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n": 0}, r"n = 0, but it must be a whole number >= 1"),
        ({"n": 2.0}, r"n = 2.0, but it must be"),
        ({"n": True}, r"n = True, but it must be"),
        ({"steps": 0}, r"steps = 0, but it must be a whole number >= 1"),
        ({"seed": -1}, r"seed = -1, but it must be"),
        ({"seed": 0.5}, r"seed = 0.5, but it must be"),
    ],
)
def test_a_run_that_is_none_is_refused_in_one_line(arguments, says):
    with pytest.raises(InputError, match=f"^{says}[^\n]*$"):
        sample(MODEL, **{"n": 2, **arguments})


def test_refused_before_the_first_step():
    """When the generator is made, not when it is run."""
    with pytest.raises(InputError):
        trajectory(MODEL, 0)


def test_a_process_that_is_not_gaussian():
    from tests.laws.test_sde import Stationary

    well = registry.build("sde", "double_well")
    model, method = Stationary(well, (2,)), solver("euler_maruyama")
    with pytest.raises(InputError, match=r"^the final denoising step needs a GaussianSDE; DoubleWell .*denoise=False$"):
        sample(model, 2, solver=method)
    with pytest.raises(InputError, match=r"^grid LogSNR needs a GaussianSDE, and DoubleWell is not one; grids .*"):
        sample(model, 2, solver=method, denoise=False, grid=registry.build("grid", "log_snr"))
    x = sample(model, 2, solver=method, steps=1000, denoise=False)
    uniform = sample(model, 2, solver=method, steps=1000, denoise=False, grid=registry.build("grid", "uniform"))
    assert torch.equal(x, uniform)
    assert x.shape == (2, 2)
    assert x.isfinite().all()


def test_named_seeds_are_the_samples_of_their_seeds():
    for name in ("heun", "euler_maruyama"):
        x = sample(MODEL, seed=[3, 17], solver=solver(name), steps=6)
        for i, seed in enumerate((3, 17)):
            torch.testing.assert_close(x[i : i + 1], sample(MODEL, 1, seed=seed, solver=solver(name), steps=6))
    assert sample(MODEL, seed=range(5), steps=2).shape == (5, 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, r"n = None, but it must be a whole number >= 1"),
        ({"seed": []}, r"n = 0, but it must be a whole number >= 1"),
        ({"n": 3, "seed": [1, 2]}, r"seed names 2 seeds, but it must name one for each of 3 samples"),
        ({"seed": [1, -2]}, r"seed = -2, but it must be a whole number in \[0, 2\*\*64\)"),
        ({"seed": "12"}, r"seed = '12', but it must be"),
        ({"n": 2, "batch": 0}, r"batch = 0, but it must be a whole number >= 1"),
        ({"n": 2, "batch": 2.0}, r"batch = 2\.0, but it must be a whole number >= 1"),
        ({"n": 2, "steps": True}, r"steps = True, but it must be a whole number >= 1"),
    ],
)
def test_names_and_parts_that_are_none_are_refused(arguments, says):
    with pytest.raises(InputError, match=f"^{says}[^\n]*$"):
        sample(MODEL, **arguments)


def test_times_say_what_a_run_steps_on():
    log_snr = registry.build("grid", "log_snr")(VP, 5)
    assert torch.equal(times(VP, solver("heun"), 5), log_snr)
    assert torch.equal(times(VP, solver("ddim"), 5, denoise=False), log_snr)
    assert times(VP, solver("ddim"), 5).tolist() == [*log_snr[:-1].tolist(), 0]
    assert len(times(VP, solver("heun"))) == 51


@pytest.mark.parametrize("name", ["ddim", "heun", "euler_maruyama", "ode"])
@pytest.mark.parametrize("denoise", [True, False])
def test_explicit_times_are_the_runs(name, denoise):
    method = solver(name)
    given = registry.build("grid", {"name": "explicit", "times": [1.0, 0.5, 0.1]})
    path = list(trajectory(MODEL, 3, solver=method, grid=given, denoise=denoise))
    assert [round(t.item(), 9) for t, _ in path] == [1.0, 0.5, 0.1, *[0.0] * denoise]
    if denoise:  # from the last time too: E[x_0 | x] there
        torch.testing.assert_close(path[-1][1], MODEL(path[-2][1], torch.tensor(0.1, dtype=F64)).x0)
    with pytest.raises(InputError, match=r"^steps = 3, but Explicit\.times make 2: leave steps out$"):
        sample(MODEL, 3, solver=method, grid=given, steps=3)
    ending = registry.build("grid", {"name": "explicit", "times": [1.0, 0.5, VP.t_min]})
    assert len(times(VP, solver("ddim"), grid=ending)) == 3


@pytest.mark.parametrize("name", ["vp", "ve"])
def test_a_grid_that_starts_late_starts_with_the_noise_of_its_start(name):
    """N(0, s² of the first time), not of t_max: for VE that is 13 instead of 50."""
    sde = registry.build("sde", name)
    late = registry.build("grid", {"name": "explicit", "times": [0.84, 0.3]})
    (t, x), *_ = trajectory(GaussianMixture(sde, torch.zeros(1, 2, dtype=F64), 1.0), 20_000, grid=late)
    (_, whole), *_ = trajectory(GaussianMixture(sde, torch.zeros(1, 2, dtype=F64), 1.0), 20_000)
    assert t == 0.84
    assert abs((x.std() / sde.std(t) - 1).item()) < 5 / 200
    torch.testing.assert_close(x / sde.std(t), whole / sde.std(torch.tensor(sde.t_max, dtype=F64)))


def test_a_prior_that_is_known_at_t_max_only():
    from tests.laws.test_sde import Stationary

    well = registry.build("sde", "double_well")
    late = registry.build("grid", {"name": "explicit", "times": [3.0, 1.0]})
    with pytest.raises(
        InputError, match=r"^the grid starts at t = 3, but the prior of DoubleWell is at t_max = 6: start it there$"
    ):
        sample(Stationary(well, (2,)), 2, solver=solver("euler_maruyama"), grid=late, denoise=False)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("denoise", [True, False])
def test_declared_evaluations_are_counted(steps, denoise):
    """With the end of the interval, for every solver that declares them, at every order that it has."""
    for case in solvers():
        method, counted = case.solver, Counted(MODEL)
        declared = evaluations(method, times(VP, method, steps, denoise=denoise), denoise)
        if declared is not None:
            sample(counted, 2, solver=method, steps=steps, denoise=denoise)
            assert counted.calls == declared, case


def works(model, method):
    try:
        x = sample(model, 2, solver=method, steps=3, denoise=False, grid=registry.build("grid", "uniform"))
    except InputError:
        return False
    return x.shape == (2, 2)


def test_a_wrong_pair_is_refused_with_those_that_work():
    """And all that are named do, and no other."""
    from tests.laws.test_sde import Stationary

    model = Stationary(registry.build("sde", "double_well"), (2,))
    with pytest.raises(InputError) as caught:
        sample(model, 2, solver=solver("ddim"), denoise=False)
    what, _, named = str(caught.value).partition("; solvers that work: ")
    assert what == "DDIM needs a GaussianSDE, and DoubleWell is not one"
    assert {"euler_maruyama", "heun", "srk"} <= set(named.split(", "))
    assert named.split(", ") == [name for name in registry.names("solver") if works(model, solver(name))]

    with pytest.raises(InputError) as caught:
        solver("ode").solve(Reverse(MODEL, eta=1.0), torch.zeros(2, 2, dtype=F64), torch.tensor([1.0, 0.5], dtype=F64))
    named = str(caught.value).partition("it needs eta=0; solvers that work: ")[2].split(", ")
    assert {"ancestral", "euler_maruyama", "heun", "ddim", "predictor_corrector"} <= set(named)
    assert not {"ode", "solve_ivp", "exponential_ab"} & set(named)


def test_the_solver_s_own_grid_is_taken():
    @dataclasses.dataclass(frozen=True)
    class Own(type(solver("heun"))):
        def default_grid(self, process):
            return registry.build("grid", "karras")

    own, karras = sample(MODEL, 2, solver=Own(), steps=4), registry.build("grid", "karras")
    assert torch.equal(own, sample(MODEL, 2, solver=solver("heun"), grid=karras, steps=4))
    corrected = dataclasses.replace(solver("predictor_corrector"), predictor=Own())
    assert corrected.default_grid(VP) == karras
