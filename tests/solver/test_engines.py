"""Outside engines, one for each sample: what one sample does, no other notices, and nothing is left running."""

import signal
import threading
import time

import pytest
import torch

from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.reverse import Reverse
from scoresde.sde.vp import VP
from scoresde.solver.engine import rendezvous
from scoresde.solver.ode import ODE
from scoresde.solver.solve_ivp import SolveIVP

BEFORE = 1

F64 = torch.float64
MODEL = GaussianMixture(VP(), torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=F64), 0.1)
TS = torch.tensor([1.0, 0.4, 0.05], dtype=F64)
METHODS = [
    *(ODE(method, tol, tol) for method, tol in (("dopri5", 1e-4), ("dopri8", 1e-4), ("bosh3", 1e-3))),
    *(ODE(method, 1e-2, 1e-2) for method in ("fehlberg2", "adaptive_heun")),
    *(SolveIVP(method, 1e-4, 1e-4) for method in ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")),
]
every_method = pytest.mark.parametrize("solver", METHODS, ids=lambda s: f"{type(s).__name__}-{s.method}")


class Watched(GaussianMixture):
    """Keeps the shapes that it was asked about, and does something first."""

    def __init__(self, first=lambda call: None):
        super().__init__(VP(), MODEL._means, 0.1)
        self.seen, self.first = [], first

    def forward(self, x, t, cond=None):
        self.seen.append((tuple(x.shape), tuple(t.shape)))
        self.first(len(self.seen))
        return super().forward(x, t, cond)


def states():
    return torch.tensor([[0.3, -1.2], [-2.0, 0.1], [0.9, 0.8], [1e-3, 0.2]], dtype=F64)


def path(solver, x, model=MODEL):
    return torch.stack([state for _, state in solver.iterate(Reverse(model, eta=0.0), x, TS)])


@every_method
@pytest.mark.parametrize("other", [30.0, float("nan"), float("inf")], ids=str)
def test_a_sample_s_bits_do_not_depend_on_its_neighbours(solver, other):
    x, y = states(), states()
    y[1:3] = other
    left, right = path(solver, x), path(solver, y)
    assert torch.equal(left[:, [0, 3]], right[:, [0, 3]])
    assert left.isfinite().all()
    assert right[1:, 1:3].isnan().all() or other == 30.0


@every_method
def test_engines_side_by_side_are_engines_in_turn(solver, monkeypatch):
    """An engine that kept its state outside of its thread, as Fortran's common blocks, would show here."""
    together = path(solver, states())
    monkeypatch.setattr(rendezvous, "_AT_ONCE", 1)
    assert torch.equal(together, path(solver, states()))
    monkeypatch.setattr(rendezvous, "_AT_ONCE", 3)
    assert torch.equal(together, path(solver, states()))


@every_method
def test_the_network_is_called_for_the_whole_batch_with_a_time_for_each(solver):
    many, calls = Watched(), []
    path(solver, states(), many)
    assert set(many.seen) == {((4, 2), (4,))}
    for x in states():
        one = Watched()
        path(solver, x[None], one)
        calls.append(len(one.seen))
    assert max(calls) <= len(many.seen) <= max(calls) + 2  # roundings of another batch may cost a step


@pytest.mark.parametrize("solver", [ODE(), SolveIVP()], ids=lambda s: type(s).__name__)
def test_steps_are_the_sample_s_own(solver):
    """Within the tolerance of the flow at both ends of the batch, beside a sample a thousand times as large."""
    x = torch.cat([states(), 1e3 * states()])
    exact = path(ODE("dopri8", 1e-12, 1e-12), states())
    torch.testing.assert_close(path(solver, x)[:, :4], exact, rtol=0, atol=1e-3)


class Wrong(Exception):
    pass


@pytest.mark.parametrize("solver", [ODE(), SolveIVP(), SolveIVP("LSODA")], ids=str)
@pytest.mark.parametrize("call", [1, 9])
def test_an_error_reaches_the_caller_and_no_thread_is_left(solver, call):
    def fail(now):
        if now == call:
            raise Wrong

    with pytest.raises(Wrong):
        path(solver, states(), Watched(fail))
    assert threading.active_count() <= BEFORE


def test_an_error_of_an_engine_reaches_the_caller():
    def engine(drift, start):
        drift(start, 1.0)
        raise Wrong

    with pytest.raises(Wrong):
        rendezvous.solve_each(Reverse(MODEL, eta=0.0), states(), TS, engine)
    assert threading.active_count() <= BEFORE


@pytest.fixture(autouse=True)
def before():
    """How many threads there were: a runner of tests, and other tests, may have left some."""
    global BEFORE
    BEFORE = threading.active_count()


@pytest.fixture
def interruptible():
    """Control-C as in a terminal; a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.timeout(30)
def test_control_c_ends_all_engines(interruptible):
    def interrupt(now):
        if now == 9:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        path(ODE(), states(), Watched(interrupt))
    assert threading.active_count() <= BEFORE


@pytest.mark.timeout(30)
def test_control_c_while_an_engine_computes(interruptible):
    def engine(drift, start):
        time.sleep(0.5)
        return drift(start, 1.0)

    threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        rendezvous.solve_each(Reverse(MODEL, eta=0.0), states(), TS, engine)
    assert threading.active_count() <= BEFORE


def test_an_abandoned_run_leaves_nothing():
    run = ODE().iterate(Reverse(MODEL, eta=0.0), states(), TS)
    next(run)
    next(run)
    assert threading.active_count() <= BEFORE
    run.close()
    assert threading.active_count() <= BEFORE


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("solver", [ODE(), SolveIVP()], ids=lambda s: type(s).__name__)
def test_the_gradient_mode_of_the_caller_changes_nothing(solver, mode):
    right = path(solver, states())
    with mode():
        found = path(solver, states())
        assert torch.is_grad_enabled() == (mode is torch.enable_grad)
    assert torch.equal(found, right)
    assert not found.requires_grad


@pytest.mark.timeout(60)
@pytest.mark.parametrize("solver", [ODE(), *(SolveIVP(m) for m in ("RK45", "Radau", "BDF", "LSODA"))], ids=str)
def test_all_that_is_not_finite_ends(solver):
    found = path(solver, torch.full((3, 2), float("nan"), dtype=F64))
    assert found.isnan().all()


class Pole(Reverse):
    """dx/dt = −x² from t = 1 down: x = 1/(1/x − (1 − t)), at infinity before the end where x > 1/0.95."""

    def __init__(self):
        super().__init__(MODEL, eta=0.0)

    def drift(self, x, t):
        return -(x**2)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("solver", [ODE(), *(SolveIVP(m) for m in ("RK45", "Radau", "LSODA"))], ids=str)
def test_a_solution_that_ends_early_is_not_a_number(solver):
    x = torch.tensor([[0.5, -1.0], [2.0, 0.0], [0.25, 0.5]], dtype=F64)
    found = solver.solve(Pole(), x, TS)
    assert found[1].isnan().all()
    exact = 1 / (1 / x[[0, 2]] - 0.95)
    torch.testing.assert_close(found[[0, 2]], exact, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("solver", [ODE(), SolveIVP()], ids=lambda s: type(s).__name__)
def test_gradients_that_would_be_lost_are_refused(solver):
    x = states().requires_grad_()
    with pytest.raises(InputError, match=r"^an engine with steps of its own carries no gradients, .*x\.detach\(\)"):
        path(solver, x)
    with torch.no_grad():
        assert torch.equal(path(solver, x), path(solver, states()))
    assert path(ODE("rk4"), x).requires_grad
