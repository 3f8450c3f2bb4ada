"""A calibration is worth what it says: on paths that it never saw, against the default solver, for every process."""

import dataclasses

import pytest
import torch

from scoresde import calibration, registry, sample
from scoresde.analytic import GaussianMixture
from scoresde.calibration import Spread, calibrate
from scoresde.errors import Diverged, InputError
from scoresde.grid.regular import Regular
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.score import GaussianPrediction, ScoreModel
from scoresde.solver.coefficients.calibration import Calibration
from scoresde.solver.exponential_abm import ExponentialABM
from scoresde.store import read

F64 = torch.float64
SDES = {name: registry.build("sde", name) for name in ("vp", "ve", "edm")}


def mixture(sde, shape=(8,)):
    """Modes in all directions: three in the plane, four elsewhere."""
    plane = shape == (2,)
    g = torch.Generator().manual_seed(3 if plane else 4)
    means = torch.randn(3 if plane else 4, *shape, generator=g, dtype=F64)
    return GaussianMixture(sde, means, 0.05) if plane else GaussianMixture(sde, 0.6 * means, 0.04)


def to_zero(grid, sde, steps):
    ts = grid(sde, steps)
    ts[-1] = 0
    return ts


def start(sde, n, shape, seed=77):
    noise = Noise(seed, (n, *shape), dtype=F64)
    return sde.prior(noise.shape, noise.device, F64).icdf(noise.uniform())


@pytest.fixture
def file(tmp_path):
    return tmp_path / "c.safetensors"


@pytest.mark.parametrize(("shape", "factor"), [((2,), 2), ((8,), 5)], ids=str)
@pytest.mark.parametrize("name", SDES)
def test_on_fresh_paths_it_is_nearer_than_the_default_solver(name, shape, factor, file):
    """Several times in the median, a little in RMS, which the few paths between modes rule; and as near as it said."""
    sde = SDES[name]
    model = mixture(sde, shape)
    solver, report = calibrate(model, 8, file)
    assert report.helps
    x, reverse = start(sde, 1000, shape), Reverse(model, eta=0.0)
    right = ExponentialABM(order=4).solve(reverse, x, to_zero(Regular(), sde, 320))
    default = Spread.of(ExponentialABM().solve(reverse, x, to_zero(Regular(), sde, 8)) - right)
    fitted = Spread.of(solver.solve(reverse, x, Calibration.load(file).times) - right)
    assert fitted.median < default.median / factor
    assert fitted.rms < default.rms / 1.2
    assert report.reference.median < fitted.median / 5
    for said, found in ((report.fitted, fitted), (report.default, default)):
        assert 2 / 3 < said.median / found.median < 3 / 2


@pytest.mark.parametrize("name", SDES)
def test_correlated_normal_data_is_sampled_exactly(name, file):
    """Up to what the accurate paths miss below t_min, where no model is asked: the default solver is 0.016 off."""
    sde, g = SDES[name], torch.Generator().manual_seed(5)
    a, mean = torch.randn(6, 6, generator=g, dtype=F64), torch.randn(6, generator=g, dtype=F64)
    cov = a @ a.T / 6 + 0.05 * torch.eye(6, dtype=F64)
    solver, report = calibrate(GaussianMixture(sde, mean[None], cov[None]), 8, file, paths=100)
    assert report.fitted.rms < 5e-5
    x, t = start(sde, 200, (6,)), torch.tensor(sde.t_max, dtype=F64)
    end = solver.solve(Reverse(GaussianMixture(sde, mean[None], cov[None]), eta=0.0), x, Calibration.load(file).times)
    variances, u = torch.linalg.eigh(cov)
    shrink = (variances / (sde.alpha(t) ** 2 * variances + sde.var(t))).sqrt()
    right = mean + ((x - sde.alpha(t) * mean) @ u * shrink) @ u.T
    assert Spread.of(end - right).rms < (2e-4 if name == "ve" else 5e-5)


def test_where_it_does_not_help_it_is_the_default_solver(file, monkeypatch):
    def useless(reverse, normal, path, targets, *_):
        return targets[0].new_ones(len(path) - 1, 1, len(normal.basis) + 1), targets[-1] + 1

    model = mixture(SDES["vp"])
    monkeypatch.setattr(calibration, "_fit", useless)
    solver, report = calibrate(model, 8, file, paths=60)
    assert not report.helps
    assert report.fitted.rms == pytest.approx(1)
    assert not read(file)[1]["about"]["helps"]
    default = sample(model, 16, solver=ExponentialABM(), steps=8)
    assert (sample(model, 16, solver=solver) - default).abs().max() < 1e-5


def test_a_fit_that_leads_nowhere_is_none(file, monkeypatch):
    def lost(reverse, normal, path, targets, *_):
        return targets[0].new_ones(len(path) - 1, 1, len(normal.basis) + 1), targets[-1] * torch.nan

    monkeypatch.setattr(calibration, "_fit", lost)
    solver, report = calibrate(mixture(SDES["vp"]), 8, file, paths=60)
    assert not report.helps
    assert report.fitted.rms != report.fitted.rms
    assert sample(mixture(SDES["vp"]), 4, solver=solver).isfinite().all()


@pytest.mark.parametrize(
    ("changed", "same"), [(range(40, 50), True), (range(30, 40), False), (range(5), False)], ids=str
)
def test_paths_that_measure_do_nothing_else(changed, same, file, monkeypatch):
    """Whatever they are, the fit is bitwise the same; those that fit and those that choose matter."""

    class Other(Noise):
        def uniform(self, event=None):
            u = super().uniform(event)
            u[list(changed)] = u[list(changed)] ** 3
            return u

    model = mixture(SDES["vp"])
    _, before = calibrate(model, 5, file, paths=50)
    one = Calibration.load(file)
    monkeypatch.setattr(calibration, "Noise", Other)
    _, after = calibrate(model, 5, file, paths=50)
    two = Calibration.load(file)
    assert before.helps
    assert after.helps
    assert torch.equal(one.weights, two.weights) == same
    if same:
        assert torch.equal(one.times, two.times)
        assert before != after


class Moved(ScoreModel):
    """A mixture that stands where its condition says."""

    def __init__(self, model):
        super().__init__()
        self.model, self.sde, self.shape = model, model.sde, model.shape

    def forward(self, x, t, cond=None):
        alpha, std, where = self.sde.alpha(t), self.sde.std(t), cond["where"].reshape(-1, *[1] * len(self.shape))
        return GaussianPrediction(x, self.model(x - alpha * where, t).x0 + where, alpha, std)


def test_conditions_stay_with_their_paths(file):
    """In every part of every batch: elsewhere the accurate paths would not be accurate."""
    model, where = Moved(mixture(SDES["vp"])), torch.arange(64, dtype=F64) % 3
    (_, one), (_, two) = (calibrate(model, 8, file, paths=64, cond={"where": where}, batch=batch) for batch in (64, 11))
    assert one.reference.rms < 1e-3
    assert two.reference.rms == pytest.approx(one.reference.rms, rel=1e-6)
    assert two.fitted.rms == pytest.approx(one.fitted.rms, rel=1e-2)


def test_images_are_their_pixels(file, tmp_path):
    flat, image = mixture(SDES["vp"], (8,)), mixture(SDES["vp"], (1, 2, 4))
    _, one = calibrate(flat, 5, file, paths=60)
    solver, two = calibrate(image, 5, tmp_path / "image.safetensors", paths=60)
    assert two.fitted.rms == pytest.approx(one.fitted.rms, rel=1e-6)
    assert sample(image, 3, solver=solver).shape == (3, 1, 2, 4)


def test_a_network_of_float32_can_be_calibrated(file):
    """Paths are in float64 whatever the network's precision, and the file serves both."""
    torch.manual_seed(0)
    from scoresde.score import Denoiser

    net = registry.build("model", {"name": "mlp", "width": 16, "depth": 1}, shape=(5,), classes=0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model = Denoiser(net, SDES["vp"], registry.build("param", "v")).eval()
    solver, report = calibrate(model, 6, file, paths=60, batch=16)
    assert report.reference.rms < report.default.rms
    assert sample(model, 4, solver=solver).dtype == torch.float32


def test_it_says_how_far_it_is_and_what_it_is_told(file):
    heard = []
    about = {"checkpoint": "abc"}
    _, report = calibrate(
        mixture(SDES["edm"]), 3, file, paths=50, batch=20, about=about, progress=lambda *now: heard.append(now)
    )
    seen = [done for done, _ in heard]
    assert seen == sorted(set(seen))
    assert heard[-1][0] == heard[-1][1]
    assert read(file)[1]["about"] == dataclasses.asdict(report) | about


def test_reweighting_lets_lost_paths_lead_nobody_astray():
    """One path of ten goes elsewhere: least squares is drawn there, and four rounds are not."""
    g = torch.Generator().manual_seed(0)
    features = torch.randn(2, 200, 3, generator=g, dtype=F64), torch.randn(2, 200, 6, generator=g, dtype=F64)
    truth = torch.tensor([0.7, -0.3], dtype=F64)
    targets = [torch.einsum("k,knd->nd", truth, f) for f in features]
    for y, f in zip(targets, features, strict=True):
        y[:20] = 5 * f[1][:20]
    plain, robust = (
        calibration._regress(features, tuple(targets), truth * 0, 1e-6, rounds) - truth[:, None] for rounds in (1, 4)
    )
    assert plain.abs().max() > 0.3
    assert robust.abs().max() < 0.03


def test_times_of_a_grid_are_found_on_a_finer_one():
    fine = torch.linspace(1, 0, 41, dtype=F64)
    for coarse in ([1.0, 0.52, 0.0], [1.0, 0.999, 0.998, 0.0], [1.0, 0.002, 0.001, 0.0]):
        places = calibration._nearest(fine, torch.tensor(coarse, dtype=F64))
        assert places[0] == 0
        assert places[-1] == 40
        assert len(places) == len(set(places))
        assert places == sorted(places)
    assert calibration._nearest(fine, torch.tensor([1.0, 0.52, 0.0], dtype=F64)) == [0, 19, 40]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"steps": 1}, "steps = 1, but it must be a whole number from 2 to 40"),
        ({"steps": 41}, "steps = 41"),
        ({"steps": 8.0}, "steps = 8.0"),
        ({"paths": 49}, "paths = 49"),
        ({"rank": -1}, "rank = -1"),
        ({"batch": 0}, "batch = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"cond": {"label": torch.zeros(7)}}, "label has shape (7,), but it needs one row for each of 60 paths"),
    ],
    ids=str,
)
def test_what_cannot_be_calibrated_is_refused(arguments, says, file):
    with pytest.raises(InputError) as caught:
        calibrate(**({"model": mixture(SDES["vp"]), "steps": 4, "file": file, "paths": 60} | arguments))
    assert says in str(caught.value)
    assert not file.exists()


class Spoilt(Moved):
    """Not a number late on some paths."""

    def forward(self, x, t, cond=None):
        said = self.model(x, t)
        return dataclasses.replace(said, x0=said.x0.where((x.abs().amax(1, keepdim=True) < 1.3) | (t > 0.1), torch.nan))


def test_a_model_that_is_not_sound_is_refused(file):
    with pytest.raises(Diverged, match=r"paths end nan apart|accurate paths do not end on finite states"):
        calibrate(Spoilt(mixture(SDES["vp"])), 4, file, paths=60)

    from tests.laws.test_sde import Stationary

    with pytest.raises(InputError, match="DoubleWell is not one: try solver=heun"):
        calibrate(Stationary(registry.build("sde", "double_well"), (2,)), 4, file, paths=60)
    assert not file.exists()
