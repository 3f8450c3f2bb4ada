"""Picard's iteration: the sequential result in fewer calls, each sample at its own pace."""

import pytest
import torch

from scoresde import registry, sample
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.grid.log_snr import LogSNR
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.score import Denoiser
from tests.laws.exact import Counted, Recorded

F64 = torch.float64
VP, VE = registry.build("sde", "vp"), registry.build("sde", "ve")
MODEL = GaussianMixture(VP, torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=F64), 0.1)
WIDE = GaussianMixture(VP, torch.randn(10, 64, generator=torch.Generator().manual_seed(0), dtype=F64), 0.05)
RULES = [
    {"name": "ddim"},
    {"name": "ddim", "eta": 0.5},
    {"name": "ddim", "eta": 1.0},
    {"name": "exponential_ab", "of": "x0", "order": 3},
    {"name": "exponential_ab", "of": "eps", "order": 2},
    {"name": "exponential_ab", "of": "v", "order": 2},
    {"name": "ancestral"},
    {"name": "sde_dpmpp"},
    {"name": "unipc"},
    {"name": "lms"},
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda r: "-".join(map(str, r.values())))


def picard(rule="ddim", **fields):
    return registry.build("solver", {"name": "picard", "base": rule, **fields})


def grid(sde, steps, *, onto_data=True):
    ts = LogSNR()(sde, steps)
    if onto_data:
        ts[-1] = 0
    return ts


def run(solver, model, steps, n=4, seed=1):
    """Every state, the calls, and how many draws."""
    counted, noise = Counted(model), Recorded(seed, (n, *model.shape), dtype=F64)
    ts = grid(model.sde, steps, onto_data=solver.denoises)
    x = model.sde.std(ts[0]) * Noise(seed + 1, (n, *model.shape), dtype=F64).normal()
    pairs = list(solver.iterate(Reverse(counted, eta=solver.eta), x, ts, noise))
    assert [t.item() for t, _ in pairs] == ts.tolist()
    return torch.stack([state for _, state in pairs]), counted.calls, len(noise.draws)


@every_rule
@pytest.mark.parametrize("window", [1, 7, 40, 100])
def test_without_tolerance_every_state_is_the_rule_s(rule, window):
    sequential, _, heard = run(registry.build("solver", rule), MODEL, 40)
    parallel, calls, drawn = run(picard(rule, window=window, tolerance=0.0), MODEL, 40)
    torch.testing.assert_close(parallel, sequential, rtol=1e-9, atol=1e-9)
    assert drawn == heard
    assert calls <= 40
    if window == 1:
        assert calls == 40


@pytest.mark.parametrize("sde", [VP, VE], ids=["VP", "VE"])
def test_on_every_process(sde):
    model = GaussianMixture(sde, MODEL._means, 0.1)
    sequential = run(registry.build("solver", "ddim"), model, 40)[0]
    torch.testing.assert_close(run(picard(tolerance=0.0), model, 40)[0], sequential, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", [MODEL, WIDE], ids=["2-D", "64-D"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(("steps", "depth"), [(100, 35), (400, 60)])
def test_fewer_calls_one_after_the_other_within_the_tolerance(model, eta, steps, depth):
    """In the median: a path beside a boundary between modes may end in the other one."""
    rule = {"name": "ddim", "eta": eta}
    sequential = run(registry.build("solver", rule), model, steps)[0][-1]
    for tolerance in (1e-2, 1e-3):
        parallel, calls, _ = run(picard(rule, window=100, tolerance=tolerance), model, steps)
        assert calls <= depth
        errors = (parallel[-1] - sequential).square().mean(1).sqrt()
        assert errors.median() < 10 * tolerance


def test_a_smaller_tolerance_is_nearer_and_slower():
    sequential = run(registry.build("solver", "ddim"), MODEL, 100)[0][-1]
    found = [run(picard(tolerance=tolerance), MODEL, 100) for tolerance in (1e-1, 1e-2, 1e-3, 1e-5)]
    errors = [(path[-1] - sequential).square().mean().sqrt().item() for path, _, _ in found]
    calls = [calls for _, calls, _ in found]
    assert errors == sorted(errors, reverse=True)
    assert calls == sorted(calls)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_sample_s_bits_do_not_depend_on_its_neighbours(eta):
    """Whose windows slide at other paces: far out, in the prior, and not at all."""
    solver, ts = picard({"name": "ddim", "eta": eta}, window=10), grid(VP, 50)
    x = torch.randn(4, 2, dtype=F64)
    ends = []
    for other in (0.3, 1e3, float("nan"), float("inf")):
        y = x.clone()
        y[1:3] = other
        path = list(solver.iterate(Reverse(MODEL, eta=eta), y, ts, Noise(0, (4, 2), dtype=F64)))
        ends.append(torch.stack([state[[0, 3]] for _, state in path]))
        assert ends[-1].isfinite().all()
        if other != other:
            assert all(state[1:3].isnan().all() for _, state in path)
    assert all(torch.equal(end, ends[0]) for end in ends)


def test_windows_slide_at_the_sample_s_own_pace():
    """Together they need no more calls than the slowest alone."""
    x, ts, solver = 3 * torch.randn(5, 2, dtype=F64), grid(VP, 100), picard(window=10, tolerance=1e-4)

    def calls(part):
        counted = Counted(MODEL)
        solver.solve(Reverse(counted, eta=0.0), part, ts)
        return counted.calls

    each = [calls(x[i : i + 1]) for i in range(5)]
    assert min(each) < max(each)
    assert calls(x) == max(each)


def test_the_network_sees_one_shape():
    seen = set()

    class Watched(Counted):
        def forward(self, x, t, cond=None):
            seen.add((tuple(x.shape), tuple(t.shape)))
            return super().forward(x, t, cond)

    picard(window=8).solve(Reverse(Watched(MODEL), eta=0.0), torch.randn(3, 2, dtype=F64), grid(VP, 30))
    assert seen == {((24, 2), (24,))}


def test_conditions_go_with_their_samples():
    net = registry.build("model", {"name": "mlp", "width": 16, "depth": 1}, shape=(2,), classes=3)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model, label = Denoiser(net, VP, registry.build("param", "v")), torch.tensor([0, 2, 1, -1])
    ends = [
        sample(model, 4, solver=solver, steps=20, cond={"label": label})
        for solver in (registry.build("solver", "ddim"), picard(window=6, tolerance=0.0))
    ]
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"window": 0}, r"Picard\.window = 0, but it must be a whole number >= 1"),
        ({"tolerance": -1.0}, r"Picard\.tolerance = -1\.0, but it must be a number >= 0"),
        ({"rule": {"name": "dpm_solver"}}, r"Picard\.base = .*, but it must be a solver of one evaluation a step"),
    ],
)
def test_what_it_cannot_iterate_is_refused(fields, says):
    with pytest.raises(InputError, match=says):
        picard(**fields)
