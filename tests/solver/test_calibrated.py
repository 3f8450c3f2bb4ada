"""A calibration in a file: its steps are exact on the normal law that they follow, and the file is not trusted."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from scoresde import registry, sample
from scoresde.analytic import GaussianMixture
from scoresde.calibration import _default
from scoresde.checkpoint import save
from scoresde.errors import InputError
from scoresde.grid.regular import Regular
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.score import Denoiser
from scoresde.solver.calibrated import Calibrated
from scoresde.solver.coefficients.calibration import Calibration, Normal
from scoresde.store import read, write
from tests.laws.exact import F64, GAUSSIAN, label
from tests.laws.test_batch import BATCH, POINTS, holds

VP = registry.build("sde", "vp")
every = pytest.mark.parametrize("sde", GAUSSIAN, ids=label)


def to_zero(sde, steps):
    ts = Regular()(sde, steps)
    ts[-1] = 0
    return ts


def made(sde, shape, steps=4, rank=2, seed=0):
    """A calibration of random numbers."""
    g = torch.Generator().manual_seed(seed)
    size = torch.Size(shape).numel()
    basis = torch.linalg.qr(torch.randn(size, size, generator=g, dtype=F64))[0][:rank]
    variances = 0.2 + torch.rand(rank + 1, generator=g, dtype=F64)
    normal = Normal(0.1 * torch.randn(size, generator=g, dtype=F64), basis, variances)
    weights = 0.1 * torch.randn(steps, min(steps, 3), rank + 1, generator=g, dtype=F64)
    return Calibration(registry.describe(sde), shape, to_zero(sde, steps), normal, weights)


def prior(sde, n, shape):
    noise = Noise(4, (n, *shape), dtype=F64)
    return sde.prior(noise.shape, noise.device, F64).icdf(noise.uniform())


@every
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("rank", [0, 2, 5])
def test_on_its_normal_law_it_is_exact(sde, steps, rank, tmp_path):
    """Whatever the weights and however few the steps, down to t = 0: there is no excess to weigh."""
    found = made(sde, (5,), steps, rank)
    normal = found.normal
    spread = normal.basis.mT @ torch.diag(normal.variances[:-1] - normal.variances[-1]) @ normal.basis
    cov = spread + normal.variances[-1] * torch.eye(5, dtype=F64)
    found.save(tmp_path / "c.safetensors", {})
    model, x, t = GaussianMixture(sde, normal.mean[None], cov[None]), prior(sde, 64, (5,)), found.times[0]
    end = Calibrated(str(tmp_path / "c.safetensors")).solve(Reverse(model, eta=0.0), x, found.times)
    variances, u = torch.linalg.eigh(cov)
    shrink = (variances / (sde.alpha(t) ** 2 * variances + sde.var(t))).sqrt()
    right = normal.mean + ((x - sde.alpha(t) * normal.mean) @ u * shrink) @ u.T
    assert (end - right).abs().max() < 2e-5  # the file has float32


@every
def test_the_default_solver_is_a_calibration(sde, tmp_path):
    """And of data of any shape."""
    model = GaussianMixture(sde, torch.randn(3, 1, 2, 4, dtype=F64), 0.05)
    ts, x = to_zero(sde, 7), prior(sde, 32, (1, 2, 4))
    _default(sde, (1, 2, 4), ts, x).save(tmp_path / "c.safetensors", {})
    right = registry.build("solver", "exponential_abm").solve(Reverse(model, eta=0.0), x, ts)
    end = Calibrated(str(tmp_path / "c.safetensors")).solve(Reverse(model, eta=0.0), x, ts)
    assert (end - right).abs().max() < 1e-5


def test_what_is_kept_is_what_was_made(tmp_path):
    found = made(VP, (1, 2, 3))
    found.save(tmp_path / "c.safetensors", {"anything": 1})
    again = Calibration.load(tmp_path / "c.safetensors")
    assert (again.process, again.shape) == (found.process, found.shape)
    assert torch.equal(again.times, found.times)
    assert torch.equal(again.weights, found.weights.float().double())
    for name, part in vars(found.normal).items():
        assert torch.equal(getattr(again.normal, name), part.float().double())
    assert read(tmp_path / "c.safetensors")[1]["about"] == {"anything": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.fixture
def solver(tmp_path):
    made(VP, (5,)).save(tmp_path / "c.safetensors", {})
    return Calibrated(str(tmp_path / "c.safetensors"))


def test_a_sample_does_not_depend_on_its_neighbours(solver):
    holds(POINTS, solver, BATCH)


def test_it_takes_one_evaluation_a_step_and_the_steps_of_its_file(solver):
    seen = []
    hook = POINTS.register_forward_pre_hook(lambda _, args: seen.append(args[1].item()))
    x = sample(POINTS, 3, solver=solver, steps=4)
    hook.remove()
    assert seen == Calibration.load(solver.file).times[:-1].tolist()
    assert x.dtype == torch.float32
    model = GaussianMixture(VP, torch.randn(2, 5, dtype=F64), 0.1)
    single, double = (sample(model.to(kind), 8, solver=solver, steps=4) for kind in (torch.float32, F64))
    assert single.dtype == torch.float32
    assert (single - double).abs().max() < 1e-3


def refuses(words, call):
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)


def test_a_run_that_does_not_fit_is_refused(solver):
    edm = registry.build("sde", "edm")
    refuses("Calibrated has no file: make one", lambda: sample(POINTS, 2, solver=Calibrated(), steps=4))
    refuses("there is no calibration nowhere", lambda: sample(POINTS, 2, solver=Calibrated("nowhere"), steps=4))
    refuses("Calibrated.file = 3", lambda: Calibrated(3))
    refuses("steps = 5, but the calibration is of 4", lambda: sample(POINTS, 2, solver=solver, steps=5))
    refuses("leave steps, grid and denoise out", lambda: sample(POINTS, 2, solver=solver, steps=4, denoise=False))
    grid = registry.build("grid", "log_snr")
    refuses("leave steps, grid and denoise out", lambda: sample(POINTS, 2, solver=solver, steps=4, grid=grid))
    refuses("the calibration is of data of shape (5,)", lambda: sample(mixture(VP, 3), 2, solver=solver))
    refuses("but the model's process is {'name': 'edm'", lambda: sample(mixture(edm, 5), 2, solver=solver))
    other = registry.build("sde", {"name": "vp", "beta_max": 10.0})
    refuses("'beta_max': 10.0", lambda: sample(mixture(other, 5), 2, solver=solver))


def mixture(sde, size):
    return GaussianMixture(sde, torch.zeros(1, size), 0.1)


NAN = float("nan")
SPOILT = {
    "weights that are no numbers": ("weights", lambda x: x.index_fill(0, torch.tensor(1), NAN)),
    "a mean that is infinite": ("mean", lambda x: x / 0),
    "times that rise": ("times", lambda x: x.flip(0)),
    "times that stand": ("times", lambda x: x.index_copy(0, torch.tensor([1]), x[2:3])),
    "times that end early": ("times", lambda x: x + 1e-3),
    "a time alone": ("times", lambda x: x[-1:]),
    "times without a row": ("times", lambda x: x[-1]),
    "weights of fewer steps": ("weights", lambda x: x[1:]),
    "weights of no predictions": ("weights", lambda x: x[:, :0]),
    "weights of other directions": ("weights", lambda x: x[..., 1:]),
    "weights without a step": ("weights", lambda x: x[0]),
    "a variance of zero": ("variances", lambda x: 0 * x),
    "variances of other directions": ("variances", lambda x: x[1:]),
    "a basis of another space": ("basis", lambda x: x[:, 1:]),
    "a mean of another space": ("mean", lambda x: x[1:]),
    "no mean": ("mean", None),
}


@pytest.mark.parametrize(("name", "spoil"), SPOILT.values(), ids=list(SPOILT))
def test_tensors_that_are_no_calibration_are_refused(name, spoil, solver):
    tensors, card = read(solver.file)
    Calibration.load(solver.file)
    tensors = {k: v if k != name else spoil(v) for k, v in tensors.items() if k != name or spoil}
    write(solver.file, tensors, card)
    refuses("c.safetensors is no calibration", lambda: sample(POINTS, 2, solver=solver))


@pytest.mark.parametrize(
    "card", [{}, {"shape": 5}, {"shape": ["x"]}, {"shape": [5]}, {"shape": [-5], "calibration": {}}], ids=str
)
def test_cards_that_are_none_are_refused(card, solver):
    write(solver.file, read(solver.file)[0], card)
    refuses("c.safetensors is no calibration", lambda: sample(POINTS, 2, solver=solver))


def test_other_files_are_refused(solver, tmp_path):
    whole = (tmp_path / "c.safetensors").read_bytes()
    for name, content in (("half", whole[: len(whole) // 2]), ("empty", b""), ("text", b"x" * 400)):
        (tmp_path / name).write_bytes(content)
        refuses("is not a whole safetensors file", lambda name=name: Calibration.load(tmp_path / name))
    save_file({"times": torch.zeros(3)}, tmp_path / "foreign", {"card": json.dumps({})})
    refuses("was not written by scoresde", lambda: Calibration.load(tmp_path / "foreign"))
    net = registry.build("model", {"name": "mlp", "width": 8, "depth": 1}, shape=(5,), classes=0)
    save(tmp_path / "model", Denoiser(net, VP, registry.build("param", "v")))
    refuses("model is no calibration", lambda: Calibration.load(tmp_path / "model"))
    refuses("there is no calibration", lambda: Calibration.load(tmp_path))


def test_it_is_its_file_s_name(solver):
    assert registry.describe(solver) == {"name": "calibrated", "file": solver.file}
    assert registry.build("solver", registry.describe(solver)) == dataclasses.replace(solver)
