"""Coefficients of published methods, each against its paper's formula as the paper spells it."""

import math
from itertools import pairwise

import pytest
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from tests.laws.exact import law, pushed, slope, stretch

F64 = torch.float64
VP, EDM = registry.build("sde", "vp"), registry.build("sde", "edm")
TS = torch.tensor([0.7, 0.55, 0.43, 0.36, 0.28], dtype=F64)
MODEL = GaussianMixture(VP, torch.tensor([[0.5, -1.0], [-0.4, 0.8]], dtype=F64), 0.3)
X = torch.tensor([[0.3, -0.8], [1.2, 0.4], [-0.6, -1.5]], dtype=F64)


def solver(name, **fields):
    return registry.build("solver", {"name": name, **fields})


def solve(name, ts=TS, x=X, model=MODEL, **fields):
    return solver(name, **fields).solve(Reverse(model, eta=0.0), x, ts)


def path(name, ts=TS, **fields):
    return [x for _, x in solver(name, **fields).iterate(Reverse(MODEL, eta=0.0), X, ts)]


def at(t):
    """α, s, λ."""
    return VP.alpha(t), VP.std(t), VP.log_snr(t) / 2


def same(found, right):
    torch.testing.assert_close(found, right, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("deis", {"order": 1}),
        ("lms", {"order": 1}),
        ("dpm_solver", {"order": 1}),
        ("dpmpp", {"order": 1, "variant": "multistep"}),
        ("dpmpp", {"order": 1, "variant": "singlestep"}),
        ("exponential_ab", {"of": "x0", "order": 1}),
    ],
)
def test_ddim_by_other_names(name, fields):
    same(solve(name, **fields), solve("ddim"))


def test_the_first_step_of_unipc_and_any_last_one_onto_the_data_are_ddims():
    for order in (2, 3, 4):
        same(solve("unipc", TS[:2], order=order), solve("ddim", TS[:2]))
    onto = torch.tensor([0.3, 0.0], dtype=F64)
    for name in ("unipc", "dpmpp", "dpm_solver", "deis", "lms", "pndm", "edm"):
        same(solve(name, onto), MODEL(X, onto[0]).x0)


def test_dpm_solver_2_is_algorithm_1():
    (a, _, lam), (b, r, to) = at(TS[0]), at(TS[1])
    h = to - lam
    middle = VP.time(lam + to)
    c, w, _ = at(middle)
    u = c / a * X - w * torch.expm1(h / 2) * MODEL(X, TS[0]).eps
    same(solve("dpm_solver", TS[:2], order=2), b / a * X - r * torch.expm1(h) * MODEL(u, middle).eps)


def test_dpm_solver_3_is_algorithm_2():
    (a, _, lam), (b, r, to) = at(TS[0]), at(TS[1])
    h, first, second = to - lam, 1 / 3, 2 / 3
    t1, t2 = VP.time(2 * (lam + first * h)), VP.time(2 * (lam + second * h))
    (a1, s1, _), (a2, s2, _) = at(t1), at(t2)
    e0 = MODEL(X, TS[0]).eps
    u1 = a1 / a * X - s1 * torch.expm1(first * h) * e0
    d1 = MODEL(u1, t1).eps - e0
    bend = torch.expm1(second * h) / (second * h) - 1
    u2 = a2 / a * X - s2 * torch.expm1(second * h) * e0 - s2 * second / first * bend * d1
    d2 = MODEL(u2, t2).eps - e0
    right = b / a * X - r * torch.expm1(h) * e0 - r / second * (torch.expm1(h) / h - 1) * d2
    same(solve("dpm_solver", TS[:2], order=3), right)


def test_dpmpp_2s_is_algorithm_1():
    (_, s, lam), (b, r, to) = at(TS[0]), at(TS[1])
    h = to - lam
    middle = VP.time(lam + to)
    c, w, _ = at(middle)
    u = w / s * X - c * torch.expm1(-h / 2) * MODEL(X, TS[0]).x0
    right = r / s * X - b * torch.expm1(-h) * MODEL(u, middle).x0
    same(solve("dpmpp", TS[:2], order=2, variant="singlestep"), right)


def multistep(third):
    """DPM-Solver++(3M) with its D_2 weighed by ``third``, from the states of the solver itself."""
    xs = path("dpmpp", order=3)
    m2, m1, m0 = (MODEL(x, t).x0 for x, t in zip(xs[1:4], TS[1:4], strict=True))
    lams = [at(t)[2] for t in TS]
    (_, s, _), (b, r, _) = at(TS[3]), at(TS[4])
    h, h0, h1 = lams[4] - lams[3], lams[3] - lams[2], lams[2] - lams[1]
    r0, r1 = h0 / h, h1 / h
    d10, d11 = (m0 - m1) / r0, (m1 - m2) / r1
    d1, d2 = d10 + r0 / (r0 + r1) * (d10 - d11), (d10 - d11) / (r0 + r1)
    em = torch.expm1(-h)
    x = r / s * xs[3] - b * em * m0 + b * (em / h + 1) * d1 - third * b * ((em + h) / h**2 - 0.5) * d2
    return xs[4], x


def test_dpmpp_3m_is_the_released_one_with_twice_its_second_difference():
    same(*multistep(2))
    found, released = multistep(1)
    assert (found - released).abs().max() > 1e-4


def test_dpmpp_2m_is_algorithm_2():
    xs = path("dpmpp", order=2)
    m1, m0 = (MODEL(x, t).x0 for x, t in zip(xs[2:4], TS[2:4], strict=True))
    (_, _, before), (_, s, lam), (b, r, to) = at(TS[2]), at(TS[3]), at(TS[4])
    h = to - lam
    k = (lam - before) / h
    same(xs[4], r / s * xs[3] - b * torch.expm1(-h) * ((1 + 1 / (2 * k)) * m0 - m1 / (2 * k)))


@pytest.mark.parametrize("variant", ["B1", "B2"])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_unipc_is_its_algorithms_with_both_states(p, variant):
    """Predictor and corrector apart, with the paper's linear systems: the last state is the predictor's."""
    corrected, said = X, []
    lams = [at(t)[2].item() for t in TS]

    def go(i, k, extra):
        (_, s, _), (b, r, _) = at(TS[i]), at(TS[i + 1])
        h = lams[i + 1] - lams[i]
        x = r / s * corrected - b * math.expm1(-h) * said[i]
        ratios = [(lams[i - j] - lams[i]) / h for j in range(1, k)]
        differences = [(said[i - j] - said[i]) / q for j, q in enumerate(ratios, 1)]
        if extra is not None:
            ratios, differences = [*ratios, 1.0], [*differences, extra - said[i]]
        size = -h if variant == "B1" else math.expm1(-h)
        if len(ratios) == 1:
            weights = torch.tensor([0.5], dtype=F64)
        elif ratios:
            phi, rhs = math.expm1(-h) / -h - 1, []
            for n in range(1, len(ratios) + 1):
                rhs.append(phi * math.factorial(n) / size)
                phi = phi / -h - 1 / math.factorial(n + 1)
            rows = torch.tensor([[q**n for q in ratios] for n in range(len(ratios))], dtype=F64)
            weights = torch.linalg.solve(rows, torch.tensor(rhs, dtype=F64))
        return x - b * size * sum(w * d for w, d in zip(weights, differences, strict=True)) if ratios else x

    guess = X
    for i in range(len(TS) - 1):
        said.append(MODEL(guess, TS[i]).x0)
        if i:
            last, said_here = i - 1, said.pop()
            corrected = go(last, min(i, p), said_here)
            said.append(said_here)
        guess = go(i, min(i + 1, p), None)
    same(solve("unipc", order=p + 1, variant=variant), guess)


def test_lms_on_equal_steps_has_the_weights_of_adams_and_bashforth():
    ts = torch.linspace(3, 1, 6, dtype=F64)
    table = solver("lms", order=4).table(EDM, ts)
    same(torch.tensor(table[-1][0].weights, dtype=F64), -0.4 / 24 * torch.tensor([55.0, -59, 37, -9], dtype=F64))
    assert table[-1][0].keep == 1


def test_deis_on_equal_times_of_edm_is_lms():
    ts = torch.linspace(3, 1, 6, dtype=F64)
    for a, b in zip(solver("deis", order=3).table(EDM, ts), solver("lms", order=3).table(EDM, ts), strict=True):
        assert a[0].weights == pytest.approx(b[0].weights, rel=1e-12)


def test_pndm_is_algorithm_2():
    def transfer(x, e, t, s):
        return VP.alpha(s) / VP.alpha(t) * (x - VP.std(t) * e) + VP.std(s) * e

    x, ets = X, []
    for i, (t, s) in enumerate(pairwise(TS)):
        ets.append(MODEL(x, t).eps)
        middle = (t + s) / 2
        if i < 3:
            e2 = MODEL(transfer(x, ets[-1], t, middle), middle).eps
            e3 = MODEL(transfer(x, e2, t, middle), middle).eps
            e = (ets[-1] + 2 * e2 + 2 * e3 + MODEL(transfer(x, e3, t, s), s).eps) / 6
        else:
            e = (55 * ets[-1] - 59 * ets[-2] + 37 * ets[-3] - 9 * ets[-4]) / 24
        x = transfer(x, e, t, s)
    same(solve("pndm"), x)


def test_edm_is_algorithm_2_with_its_noise():
    ts = torch.tensor([3.0, 2.0, 1.0, 0.0], dtype=F64)
    model = GaussianMixture(EDM, torch.tensor([[0.5, -1.0]], dtype=F64), 0.3)
    made = solver("edm", churn=0.6, churn_min=0.5, churn_max=2.5, churn_noise=1.01)
    found = made.solve(Reverse(model, eta=0.0), X, ts, Noise(3, (3, 2), dtype=F64))
    x, noise = X, Noise(3, (3, 2), dtype=F64)
    for t, s in pairwise(ts):
        up = t * 1.2 if 0.5 <= t <= 2.5 else t
        x = x + (up**2 - t**2).sqrt() * 1.01 * noise.normal() if up > t else x
        d = (x - model(x, up).x0) / up
        guess = x + (s - up) * d
        x = x + (s - up) * (d + (guess - model(guess, s).x0) / s) / 2 if s > 0 else guess
    same(found, x)


@pytest.mark.parametrize("sde", [VP, EDM], ids=["VP", "EDM"])
def test_churn_leaves_the_law_to_second_order(sde):
    errors, steps = [], [24, 48, 96]
    for n in steps:
        ts = stretch(sde, n)
        found = pushed(solver("edm", churn=4.0), sde, ts, *law(sde, ts[0]))
        errors.append(sum((a - b).norm().item() for a, b in zip(found, law(sde, ts[-1]), strict=True)))
    assert slope(steps, errors) == pytest.approx(2, abs=0.2)


def test_churn_is_not_taken_back():
    with pytest.raises(InputError, match="the times must fall"):
        solver("edm", churn=1.0).solve(Reverse(MODEL, eta=0.0), X, TS.flip(0))


def test_a_tableau_knows_its_order():
    for a, b, order in [
        ((), (1.0,), 1),
        ((0.5,), (0.0, 1.0), 2),
        ((0.5, -1.0, 2.0), (1 / 6, 2 / 3, 1 / 6), 3),
        ((0.5, 0.0, 0.75), (2 / 9, 3 / 9, 4 / 9), 3),
        ((1 / 3, -1 / 3, 1.0, 1.0, -1.0, 1.0), (1 / 8, 3 / 8, 3 / 8, 1 / 8), 4),
        ((0.5, 0.0, 0.5, 0.0, 0.0, 1.0), (0.25, 0.25, 0.25, 0.25), 2),
    ]:
        made = solver("runge_kutta", a=a, b=b)
        assert (made.order, made.cost) == (order, len(b))
    assert (solver("rk4").order, solver("euler").order) == (4, 1)
    same(solve("runge_kutta", a=(1.0,), b=(0.5, 0.5)), solve("heun"))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"b": (0.5, 0.4)}, r"RungeKutta\.b = .* weights with the sum 1"),
        ({"a": (0.5,)}, r"RungeKutta\.a = .* 3 numbers, a_21, a_31, a_32, …, for 3 weights in b"),
        ({"a": (1.5,), "b": (0.5, 0.5)}, r"RungeKutta\.a = .* sums in \[0, 1\]"),
        ({"a": (float("nan"),), "b": (0.5, 0.5)}, r"RungeKutta\.a = .* finite numbers"),
        ({"b": ()}, r"RungeKutta\.b"),
    ],
    ids=str,
)
def test_what_is_no_tableau_is_refused(fields, says):
    with pytest.raises(InputError, match=says):
        solver("runge_kutta", **fields)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("dpm_solver", {"order": 4}),
        ("dpmpp", {"order": 0}),
        ("unipc", {"order": 1}),
        ("unipc", {"order": 5}),
        ("deis", {"order": 5}),
        ("lms", {"order": 0}),
        ("edm", {"churn": -1.0}),
        ("edm", {"churn_noise": 0.0}),
        ("edm", {"churn_min": 2.0, "churn_max": 1.0}),
    ],
)
def test_fields_out_of_range_are_refused(name, fields):
    with pytest.raises(InputError, match=rf"\.{list(fields)[-1]} = "):
        solver(name, **fields)
