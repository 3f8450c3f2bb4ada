"""What is wrong is refused in one sentence, in Python too; what is not finite does not hang."""

import dataclasses
from itertools import islice

import pytest
import torch

from scoresde import sample
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.grid.log_snr import LogSNR
from scoresde.registry import build, component, groups, names
from scoresde.reverse import Reverse
from scoresde.score import ScoreModel
from scoresde.sde.base import GaussianSDE

from .exact import RUNNING, Counted

F64 = torch.float64
FIELDS = [
    (group, name, field.name)
    for group in groups()
    for name in names(group)
    if group != "model"
    for field in dataclasses.fields(component(group, name))
    if field.type in (int, float)
    if (field.name, name) not in {("eta", "euler_maruyama"), ("eta", "heun"), ("eta", "srk")}  # theirs Reverse refuses
]
VP = build("sde", "vp")
MIXTURE = GaussianMixture(VP, torch.zeros(1, 2), 0.1)


@pytest.mark.parametrize(("group", "name", "field"), FIELDS, ids="-".join)
@pytest.mark.parametrize("value", ["x", None, True], ids=str)
def test_a_number_is_a_number(group, name, field, value):
    with pytest.raises(InputError, match=rf"{field} = {value!r}, but it must be"):
        component(group, name)(**{field: value})


@pytest.mark.parametrize("t", [-0.1, 1.2, float("nan")])
def test_a_time_outside_the_process_is_refused(t):
    with pytest.raises(InputError, match=r"outside VP, whose times are \[1e-05, 1\]"):
        MIXTURE(torch.zeros(3, 2), torch.tensor(t))


@pytest.mark.parametrize(
    "ts", [[1.0, 0.5, -0.1], [2.0, 0.5], [1.0, 0.5, 0.5], [0.5, 1.0, 0.2], [1.0], [1.0, float("nan")]]
)
@pytest.mark.parametrize("solver", ["heun", "ddim", "ode", "solve_ivp"])
def test_times_that_are_no_grid_are_refused(ts, solver):
    with pytest.raises(InputError, match="times"):
        build("solver", solver).solve(Reverse(MIXTURE, eta=0.0), torch.zeros(3, 2), torch.tensor(ts, dtype=F64))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"solver": "heun"}, "solver = 'heun', but it must be an object of a Solver class"),
        ({"solver": component("solver", "heun")}, "must be an object of a Solver class"),
        ({"grid": "karras"}, "grid = 'karras'"),
        ({"n": 2.5}, "n = 2.5"),
        ({"seed": -1}, "seed = -1"),
        ({"cond": {"label": 3}}, "label = 3, but it must be a tensor"),
    ],
)
def test_sampling_says_what_it_wants(arguments, says):
    with pytest.raises(InputError) as caught:
        sample(**({"model": MIXTURE, "n": 2} | arguments))
    assert says in str(caught.value)


@pytest.mark.parametrize("solver", RUNNING)
def test_times_in_a_list_are_refused(solver):
    method = build("solver", solver)
    with pytest.raises(InputError, match=r"times = \[1\.0, 0\.5\], but they must be a tensor"):
        method.solve(Reverse(MIXTURE, eta=method.eta), torch.zeros(3, 2), [1.0, 0.5])


@pytest.mark.parametrize("solver", RUNNING)
@pytest.mark.parametrize(
    ("x", "got"),
    [
        (torch.zeros(0, 2), r"shape \(0, 2\), float32"),
        (torch.tensor(1.0), r"shape \(\), float32"),
        (torch.zeros(3, 2, dtype=torch.int64), r"shape \(3, 2\), int64"),
        ([[0.0, 0.0]], r"\[\[0\.0, 0\.0\]\]"),
    ],
    ids=["empty", "scalar", "whole", "list"],
)
def test_a_state_that_is_no_batch_is_refused(solver, x, got):
    method = build("solver", solver)
    with pytest.raises(InputError, match=rf"^x = {got}, but it must be a tensor of real numbers, \(B, \.\.\.\)"):
        method.solve(Reverse(MIXTURE, eta=method.eta), x, torch.tensor([1.0, 0.5], dtype=F64))


@pytest.mark.parametrize("solver", RUNNING)
def test_what_a_run_starts_with_costs_nothing(solver):
    """All refusals come with the first pair, before the network is asked."""
    method, counted = build("solver", solver), Counted(MIXTURE)
    x = torch.zeros(3, 2)
    (t, y), *_ = islice(
        method.iterate(Reverse(counted, eta=method.eta), x, torch.tensor([1.0, 0.5, 0.1], dtype=F64)), 1
    )
    assert t == 1.0
    assert y is x
    assert counted.calls == 0


def test_a_mixture_says_what_it_wants():
    with pytest.raises(InputError, match="means must be finite"):
        GaussianMixture(VP, torch.tensor([[float("nan"), 0.0]]), 0.1)
    with pytest.raises(InputError, match="means must be finite"):
        GaussianMixture(VP, torch.zeros(3), 0.1)
    with pytest.raises(InputError, match="no density"):
        GaussianMixture(VP, torch.zeros(1, 2), 0.0).log_prob(torch.zeros(1, 2))
    with pytest.raises(InputError, match=r"data of shape \(4, 3\) does not fit"):
        MIXTURE(torch.zeros(4, 3), torch.tensor(0.5))
    with pytest.raises(InputError, match="must be a tensor"):
        MIXTURE(torch.zeros(4, 2), 0.5)
    whole = GaussianMixture(VP, [[-1, 0], [1, 0]], 0.04, [1, 2])
    assert sample(whole, 200).std(0)[1] > 0.1  # whole numbers are not the precision of the covariance


class Spoilt(ScoreModel):
    """A score that is not finite for the second sample."""

    def __init__(self):
        super().__init__()
        self.sde, self.shape = VP, (2,)

    def forward(self, x, t, cond=None):
        said = MIXTURE(x, t)
        spoil = torch.zeros_like(x)
        spoil[1] = float("nan")
        return dataclasses.replace(said, x0=said.x0 + spoil, noise=said.noise + spoil)


@pytest.mark.parametrize("solver", RUNNING)
@pytest.mark.timeout(60)
def test_a_spoilt_neighbour_spoils_nothing_and_hangs_nothing(solver):
    method = build("solver", solver)
    mixed, clean = (sample(m, 3, solver=method, steps=5) for m in (Spoilt(), MIXTURE))
    assert mixed[1].isnan().all()
    assert torch.equal(mixed[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("name", [n for n in names("sde") if isinstance(build("sde", n), GaussianSDE)])
def test_coefficients_do_not_depend_on_the_gradient_mode(name):
    sde = build("sde", name)
    t = LogSNR()(sde, 7)[1:-1]
    before = GaussianSDE.drift_rate(sde, t), GaussianSDE.diffusion_squared(sde, t)
    with torch.inference_mode():
        inside = torch.linspace(0, 1, 8, dtype=F64)  # a tensor born in inference mode
        after = GaussianSDE.drift_rate(sde, t.clone()), GaussianSDE.diffusion_squared(sde, t.clone())
    assert inside.is_inference()
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", [n for n in names("sde") if isinstance(build("sde", n), GaussianSDE)])
def test_an_exact_score_is_exact_in_float32_too(name):
    sde = build("sde", name)
    x = torch.randn(50, 2, dtype=F64)
    t = torch.tensor(sde.t_min, dtype=F64)
    mixture = GaussianMixture(sde, torch.tensor([[-1.0, 0.5], [1.0, 0.0]]), 0.25)
    single, double = mixture(x.float(), t).score, mixture(x.float().double(), t).score
    assert ((single - double).abs() / (1 + double.abs())).max() < 1e-4


@pytest.mark.parametrize("mean", [-50.0, 50.0])
def test_noise_levels_that_do_not_occur_are_refused(mean):
    with pytest.raises(InputError, match="too far from VP"):
        build("loss/time", {"name": "log_normal", "mean": mean})(VP, torch.rand(4, dtype=F64))
    near = build("loss/time", {"name": "log_normal", "mean": mean / 5})(VP, torch.rand(4, dtype=F64))[0]
    assert ((near >= VP.t_min) & (near <= VP.t_max)).all()
