"""What is known without sampling: exact laws and flows of a Gaussian, exact laws of a solver's output, orders.

A solver under test is a `Case`; a component of the registry is under every law by being in its folder.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import numpy as np
import torch

from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.errors import InputError
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.score import ScoreModel
from scoresde.sde.base import GaussianSDE

F64 = torch.float64

PROCESSES = [registry.build("sde", name) for name in registry.names("sde")]
GAUSSIAN = [sde for sde in PROCESSES if isinstance(sde, GaussianSDE)]
# an order is of smooth flows: a chain's β jumps from step to step
SMOOTH = [sde for sde in GAUSSIAN if not hasattr(sde, "steps")]
OTHER = [sde for sde in PROCESSES if not isinstance(sde, GaussianSDE)]

# three problems in one: independent coordinates narrower than, as wide as and wider than the noise in mid-interval
MEAN = torch.tensor([-1.0, 0.5, 2.0], dtype=F64)
VARIANCE = torch.tensor([0.25, 1.0, 4.0], dtype=F64)


def label(value: Any) -> str:
    """A component as pytest shows it."""
    return type(value).__name__ if not isinstance(value, str | int | float) else str(value)


def gaussian(sde: GaussianSDE) -> GaussianMixture:
    """The exact model of N(MEAN, diag VARIANCE)."""
    return GaussianMixture(sde, MEAN[None], VARIANCE[None])


def law(sde: GaussianSDE, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of x_t, shape (3,) each."""
    return sde.alpha(t) * MEAN, sde.alpha(t) ** 2 * VARIANCE + sde.var(t)


def flow(sde: GaussianSDE, x: torch.Tensor, t: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Where the probability-flow ODE takes x from t to s: every standardised coordinate stays what it is."""
    (before, wide), (after, narrow) = law(sde, t), law(sde, s)
    return after + (narrow / wide).sqrt() * (x - before)


def stretch(sde: GaussianSDE, steps: int, reach: float = 2.0, grade: float = 1.0) -> torch.Tensor:
    """A grid through the middle of the clock, log-SNR from −reach to reach, the same for all solvers.

    Steps grow smoothly, to three times the first in log-SNR, and are equal in nothing: a method that is wrong where
    steps are unequal must not look right. With ``grade`` q the first step is as small as steps⁻ᵠ: a multistep method of
    order p starts with one of first order, whose error, of the first step's square, is then no larger than its own.
    """
    ends = torch.tensor([sde.t_max, sde.t_min], dtype=F64)
    low, high = (max(-reach, min(reach, end)) for end in sde.log_snr(ends).tolist())
    u = torch.linspace(0, 1, steps + 1, dtype=F64) ** grade
    return sde.time(low + (high - low) * (u + u**2) / 2)


def slope(steps: list[int], errors: list[float]) -> float:
    """p, where the errors fall as steps⁻ᵖ: least squares of the logarithms."""
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


class Given(Noise):
    """Noise whose k-th draw is given: row k of ``rows``, shape (draws, B), the same in every coordinate."""

    def __init__(self, rows: torch.Tensor, shape: tuple[int, ...]) -> None:
        super().__init__(0, (rows.shape[1], *shape), dtype=rows.dtype)
        self.rows = iter(rows)

    def normal(self) -> torch.Tensor:
        row = next(self.rows)
        return row.reshape(-1, *[1] * (len(self.shape) - 1)).expand(self.shape)

    def uniform(self, event: tuple[int, ...] | None = None) -> torch.Tensor:
        raise NotImplementedError("a step that draws other than normal numbers cannot be probed")


class Recorded(Noise):
    """Noise that keeps what it gave."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.draws: list[torch.Tensor] = []

    def normal(self) -> torch.Tensor:
        self.draws.append(super().normal())
        return self.draws[-1]


class Counted(ScoreModel):
    """A model that counts its evaluations."""

    def __init__(self, model: ScoreModel) -> None:
        super().__init__()
        self.model, self.sde, self.shape, self.range = model, model.sde, model.shape, model.range
        self.calls = 0

    def forward(self, x, t, cond=None):
        self.calls += 1
        return self.model(x, t, cond)


def pushed(solver, sde, ts, mean, var, *, forward: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The exact mean and variance of a solver's output for N(mean, diag var) at ts[0], without sampling.

    With a Gaussian target the output is a sum over the draws: out(w) = out(0) + Σ_j f_j(w_j), where f_j is affine (or a
    polynomial, for SRK). Each batch element has one draw that is not zero, at a node of Gauss–Hermite quadrature, which
    integrates f_j and f_j² exactly up to degree seven.
    """
    reverse = sde if forward else Reverse(gaussian(sde), eta=solver.eta)
    heard = Recorded(0, (1, *mean.shape), dtype=F64)
    solver.solve(reverse, mean[None], ts, heard)
    draws = len(heard.draws)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(4))
    weights = weights / weights.sum()
    # draw 0 is the state's; the last column is out(0)
    rows = torch.kron(torch.eye(draws + 1, dtype=F64), nodes[None])
    rows = torch.cat([rows, rows.new_zeros(draws + 1, 1)], 1)
    x = mean + rows[0][:, None] * var.sqrt()
    out = solver.solve(reverse, x, ts, Given(rows[1:], tuple(mean.shape)))
    f = (out[:-1] - out[-1]).reshape(draws + 1, len(nodes), -1)
    first = torch.einsum("q,jqd->jd", weights, f)
    second = torch.einsum("q,jqd->jd", weights, f**2)
    return out[-1] + first.sum(0), (second - first**2).sum(0)


@dataclasses.dataclass(frozen=True)
class Case:
    """A solver with a name that says its fields."""

    name: str
    solver: Any

    def __str__(self) -> str:
        return self.name


def case(name: str, **fields: Any) -> Case:
    """A solver of the registry."""
    words = [f"{k}={v:g}" if isinstance(v, float) else str(v) for k, v in fields.items()]
    return Case("-".join([name, *words]), registry.build("solver", {"name": name, **fields}))


def runs(solver: Any) -> bool:
    """Whether it can sample at all: one that follows a file cannot where none is named."""
    return solver.refusal(Reverse(gaussian(GAUSSIAN[0]), eta=solver.eta)) is None


RUNNING = [name for name in registry.names("solver") if runs(registry.build("solver", name))]


def solvers(wanted: Callable[[Any], bool] = lambda solver: True) -> list[Case]:
    """Every solver of the registry that runs, at every option of its text fields and at every order that it has."""
    found = []
    for name in RUNNING:
        cls = registry.component("solver", name)
        hints = registry._hints(cls)
        options: dict[str, list[Any]] = {}
        for f in dataclasses.fields(cls):
            if get_origin(hints[f.name]) is Literal:
                options[f.name] = list(get_args(hints[f.name]))
            elif f.name == "order":
                options[f.name] = [1, 2, 3, 4]
        if name == "sa_solver":  # a lone predictor, and pairs of both
            pairs = [(1, 1), (3, 0), (2, 2), (3, 3)]
            found += [case(name, predictor_order=p, corrector_order=c) for p, c in pairs]
            continue
        if name == "ode":
            from scoresde.solver.ode import _METHODS

            options["method"] = list(_METHODS)
        if name == "picard":  # what it iterates towards
            options["tolerance"] = [0.0]
        for values in itertools.product(*options.values()):
            with contextlib.suppress(InputError):  # an order that there is not
                found.append(case(name, **dict(zip(options, values, strict=True))))
    return [c for c in found if wanted(c.solver)]


def to_within(solver: Any, tolerance: float) -> Any:
    """An adaptive solver at a tolerance."""
    fields = {f.name: tolerance for f in dataclasses.fields(solver) if f.name in ("tol", "rtol", "atol")}
    return dataclasses.replace(solver, **fields)


def at_eta(cases: list[Case], etas: tuple[float, ...]) -> list[Case]:
    """Each solver at each η that it takes; one whose η is its own as it is."""
    found = []
    for c in cases:
        free = "eta" in {f.name for f in dataclasses.fields(c.solver)}
        found += [Case(f"{c.name}-eta={e:g}", dataclasses.replace(c.solver, eta=e)) for e in etas] if free else [c]
    return found
