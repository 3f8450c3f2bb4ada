"""From a model to samples: reproducible, independent of the batch, refused in one line."""

import pytest
import torch

import scoresde
from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.sampling import sample, trajectory
from scoresde.score import Denoiser

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
    path = list(trajectory(MODEL, 3, solver=solver(name), steps=5, denoise=denoise))
    assert len(path) == 6 + denoise
    times = [t.item() for t, _ in path]
    assert times[0] == VP.t_max
    assert times[5] == VP.t_min
    assert all(x.shape == (3, 2) for _, x in path)
    if denoise:
        assert times[-1] == 0
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
    model, uniform = Stationary(well, (2,)), registry.build("grid", "uniform")
    with pytest.raises(InputError, match=r"^DDIM needs a GaussianSDE; DoubleWell is not one: try solver=euler"):
        sample(model, 2, solver=solver("ddim"), grid=uniform)
    with pytest.raises(InputError, match=r"^the final denoising step needs a GaussianSDE; DoubleWell .*denoise=False$"):
        sample(model, 2, solver=solver("euler_maruyama"), grid=uniform)
    with pytest.raises(InputError, match=r"^grid LogSNR needs a GaussianSDE; DoubleWell is not one: try grid=uniform$"):
        sample(model, 2, solver=solver("euler_maruyama"), denoise=False)
    x = sample(model, 2, solver=solver("euler_maruyama"), grid=uniform, steps=1000, denoise=False)
    assert x.shape == (2, 2)
    assert x.isfinite().all()
