"""Fit a multistep solver's grid and weights to a model, offline, from the model's own accurate paths.

The mean and covariance of the ends of the paths give a normal law whose flow is exact. What the prediction has beyond
it is weighed by numbers fitted step by step: at each step the solver stands on its *own* states, so that a step also
mends what can be foreseen of the errors before it. The numbers are fitted by weighted least squares in each principal
direction, shrunk to those of all directions together, and these to Adams–Bashforth's; how much, and on which grid,
paths that took no part decide. Where the default solver does better on yet other paths, the calibration is the default
solver.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import Diverged, InputError
from scoresde.grid.regular import Regular
from scoresde.noise import Noise
from scoresde.registry import describe
from scoresde.reverse import Reverse
from scoresde.score import Cond, GaussianPrediction, ScoreModel, evaluating
from scoresde.sde.base import GaussianSDE
from scoresde.solver.base import predict
from scoresde.solver.calibrated import Calibrated
from scoresde.solver.coefficients.calibration import Calibration, Normal
from scoresde.solver.coefficients.exponential import exponential
from scoresde.solver.coefficients.table import Level, levels
from scoresde.solver.exponential_abm import ExponentialABM

__all__ = ["Report", "Spread", "calibrate"]

_FINE = 160  # steps of the accurate paths
_MOST = 8  # predictions that a step remembers
_ROUNDS = 4  # of reweighting
_SHRINK = (1e-6, 1e-4, 1e-2, 1.0)
# ends of the grids to choose from, for data of deviation ½
_FINEST, _COARSEST = (0.08, 0.15, 0.15, 0.2, 0.2, 0.2, 0.25, 0.3, 0.3, 0.3), (25, 3, 6, 4, 6, 15, 10, 4, 8, 25)
_CLOCKS = tuple(zip(_FINEST, _COARSEST, strict=True))
_STREAMS = 2**62  # where the streams of the paths begin: far from those of samples and of training


@dataclass(frozen=True)
class Spread:
    """RMS over coordinates of the distance to the ends of accurate paths: over all paths, and quantiles over them."""

    rms: float
    median: float
    most: float
    """The 95th percentile."""

    @staticmethod
    def of(error: Tensor) -> "Spread":
        """From differences, shape (n, D)."""
        each = error.square().mean(1)
        return Spread(each.mean().sqrt().item(), each.median().sqrt().item(), each.quantile(0.95).sqrt().item())

    @property
    def score(self) -> float:
        """What choices are made by: the usual path, the difficult ones and the worst, which rule the RMS, all count."""
        return self.rms * self.median * self.most


@dataclass(frozen=True)
class Report:
    """What a calibration is worth, on paths that took no part in it.

    Args:
        fitted: distances of the fitted solver.
        default: those of the default solver at the same NFE.
        reference: those of accurate paths of half as many steps, which say how accurate the accurate ones are.
        helps: whether the fitted solver is the better one; otherwise the file holds the default solver.
    """

    fitted: Spread
    default: Spread
    reference: Spread
    helps: bool


@torch.no_grad()
def calibrate(
    model: ScoreModel,
    steps: int,
    file: str | Path,
    *,
    paths: int = 512,
    rank: int = 64,
    seed: int = 0,
    cond: Cond | None = None,
    batch: int = 256,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Calibrated, Report]:
    """Fit a solver to a model.

    Args:
        model: of a Gaussian process, in eval mode.
        steps: network evaluations that the solver will take, 2 to 40.
        file: where to keep the calibration, a ``.safetensors`` file.
        paths: how many paths of the model, ≥ 50: three of five are fitted to, one of five chooses, one measures.
        rank: at most so many principal directions of the data have weights of their own, ≥ 0.
        seed: of the paths' starting points.
        cond: conditions of the paths, shape (paths, ...) each.
        batch: how many paths the network sees at once.
        about: more to keep in the file beside the report, as plain values.
        progress: told after each network evaluation how many states the network has seen, and of how many.

    Returns:
        The solver, and what it is worth.

    Raises:
        InputError: for a model or numbers that cannot be calibrated.
        Diverged: for a model whose paths do not end on finite, different states.
    """
    if not isinstance(model, ScoreModel):
        raise InputError(f"model = {model!r}, but it must be an object of a ScoreModel class")
    process = model.sde
    if not isinstance(process, GaussianSDE):
        raise InputError(f"a calibration needs a GaussianSDE, and {type(process).__name__} is not one: try solver=heun")
    bounds = {"steps": (steps, 2, _FINE // 4), "paths": (paths, 50, 10**6), "rank": (rank, 0, 10**4)}
    for name, (value, least, most) in {**bounds, "batch": (batch, 1, 10**6)}.items():
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"{name} = {value!r}, but it must be a whole number from {least} to {most}")
    for name, rows in (cond or {}).items():
        if not isinstance(rows, Tensor):
            raise InputError(f"{name} = {rows!r}, but it must be a tensor with one row for each of {paths} paths")
        if rows.shape[:1] != (paths,):
            raise InputError(f"{name} has shape {tuple(rows.shape)}, but it needs one row for each of {paths} paths")
    parts = _Parts(model, batch, progress)
    reverse = Reverse(parts, cond, eta=0.0)
    noise = Noise(seed, (paths, *model.shape), device=_device(model), dtype=torch.float64, first=_STREAMS)
    start = process.prior(noise.shape, noise.device, torch.float64).icdf(noise.uniform())
    fits, choosing, measuring = (
        slice(3 * paths // 5),
        slice(3 * paths // 5, 4 * paths // 5),
        slice(4 * paths // 5, None),
    )

    usual = _to_zero(Regular(), process, steps)
    measured = len(start[measuring])
    parts.total = paths * (steps * (1 + len(_CLOCKS)) + _FINE) + measured * (_FINE // 2)
    default = ExponentialABM().solve(reverse, start, usual).flatten(1)
    scale = 2 * default[fits].std(0).square().mean().sqrt().item()
    if not 0 < scale < math.inf:
        raise Diverged(f"the model's paths end {scale / 2:g} apart: there is nothing to calibrate to")
    fine = _to_zero(Regular(0.01 * min(scale, 1), 60 * max(scale, 1)), process, _FINE)
    choices = {tuple(_nearest(fine, _to_zero(Regular(scale * c, scale * d), process, steps))) for c, d in _CLOCKS}
    parts.total -= paths * steps * (len(_CLOCKS) - len(choices))
    wanted = {i for choice in choices for i in choice}
    accurate = {
        i: x.flatten(1) for i, (_, x) in enumerate(ExponentialABM(order=4).iterate(reverse, start, fine)) if i in wanted
    }
    late = Reverse(parts, cond and {name: rows[measuring] for name, rows in cond.items()}, eta=0.0)
    coarse = ExponentialABM(order=4).solve(late, start[measuring], fine[::2]).flatten(1)

    end = accurate[_FINE]
    if lost := int((~end.isfinite().all(1)).sum()):
        raise Diverged(f"{lost} of {paths} accurate paths do not end on finite states: the model is not sound")
    normal = Normal.of(end[fits], rank)
    best: tuple[float, Calibration, Tensor] | None = None
    for choice in sorted(choices):
        path = levels(process, fine[list(choice)])
        weights, x = _fit(reverse, normal, path, [accurate[i] for i in choice], fits, choosing)
        # on all but the measuring paths: the worst of the choosing ones alone are too few to rule
        score = Spread.of((x - end)[: measuring.start]).score
        if math.isfinite(score) and (best is None or score < best[0]):
            fitted = Calibration(describe(process), model.shape, fine[list(choice)], normal, weights)
            best = score, fitted, x
    found = Spread.of(((best[2] if best else end * math.nan) - end)[measuring])
    usually, reference = Spread.of((default - end)[measuring]), Spread.of(coarse - end[measuring])
    report = Report(found, usually, reference, helps=found.score < usually.score)
    kept = best[1] if best and report.helps else _default(process, model.shape, usual, start)
    kept.save(Path(file), asdict(report) | dict(about or {}))
    return Calibrated(str(file)), report


def _fit(
    reverse: Reverse, normal: Normal, path: list[Level], targets: list[Tensor], fits: slice, choosing: slice
) -> tuple[Tensor, Tensor]:
    """Fit the weights of one grid.

    Args:
        reverse: what to solve.
        normal: the law whose flow is exact.
        path: the levels of the grid.
        targets: the accurate states there, shape (n, D).
        fits: which paths to fit to.
        choosing: which paths decide how much the weights are shrunk.

    Returns:
        The weights of a `Calibration`, and where they lead.
    """
    x, rank = targets[0] / path[0].alpha, len(normal.basis)
    past: list[tuple[Tensor, Tensor]] = []
    table = x.new_zeros(len(path) - 1, min(_MOST, len(path) - 1), rank + 1)
    shape = (-1, *reverse.model.shape)
    for i, (start, end) in enumerate(pairwise(path)):
        z = x - normal.mean
        x0 = predict(reverse, (start.alpha * x).reshape(shape), start.t).x0.flatten(1)
        past = [_split(x0 - normal.mean - _scale(normal, normal.share(start.sigma), z), normal), *past[: _MOST - 1]]
        exact = normal.mean + _scale(normal, normal.keep(start.sigma, end.sigma), z)
        inside, outside = _split(targets[i + 1] / end.alpha - exact, normal)

        # each direction in units of what a constant excess would do there
        unit = _constant(normal.variances.sqrt(), start.sigma, end.sigma)
        g = torch.stack([e[0] * unit[:-1] for e in past]), torch.stack([e[1] * unit[-1] for e in past])
        nodes = path[i::-1][: min(len(past), 2)]
        width = normal.variances.mean().sqrt()
        abm = ExponentialABM(width=width.item())
        _, plain, _ = exponential(start, end, nodes, "excess", abm.clock, width=abm.width, floor=abm.floor)
        prior = x.new_zeros(len(past))
        prior[: len(plain)] = x.new_tensor(plain) / end.alpha / _constant(width, start.sigma, end.sigma)

        best = math.inf
        for shrink, rounds in product(_SHRINK, (1, _ROUNDS)):
            found = _regress((g[0][:, fits], g[1][:, fits]), (inside[fits], outside[fits]), prior, shrink, rounds)
            left = (
                inside - torch.einsum("knr,kr->nr", g[0], found[:, :-1]),
                outside - torch.einsum("knd,k->nd", g[1], found[:, -1]),
            )
            score = Spread.of((left[0] @ normal.basis + left[1])[choosing]).score
            if not score >= best:  # where a path was lost it is no number, but there must be weights
                best, weights, missed = score, found * unit, left
        table[i, : len(past)] = weights
        x = targets[i + 1] / end.alpha - missed[0] @ normal.basis - missed[1]
    return table, x


def _regress(g: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor], prior: Tensor, shrink: float, rounds: int) -> Tensor:
    """Weighted least squares in each direction, shrunk to all together, and these to the prior: shape (k, r + 1).

    Args:
        g: features inside the basis, shape (k, n, r), and outside, shape (k, n, D).
        y: targets, shape (n, r) and (n, D).
        prior: shape (k,).
        shrink: the strength, in units of the features' own squares.
        rounds: of reweighting, which lets paths that cannot be followed lead the others less astray; 1 for none.
    """
    importance = y[0].new_ones(len(y[0]))
    for _ in range(rounds):
        gram = torch.einsum("pnr,qnr,n->rpq", g[0], g[0], importance)
        pull = torch.einsum("pnr,nr,n->rp", g[0], y[0], importance)
        rest_gram = torch.einsum("pnd,qnd,n->pq", g[1], g[1], importance)
        rest_pull = torch.einsum("pnd,nd,n->p", g[1], y[1], importance)
        gram, pull = torch.cat([gram, rest_gram[None]]), torch.cat([pull, rest_pull[None]])
        together = _ridge(gram.sum(0), pull.sum(0), prior, shrink)
        found = _ridge(gram, pull, together.expand_as(pull), shrink)
        left = (y[0] - torch.einsum("knr,rk->nr", g[0], found[:-1])).square().sum(1)
        left = left + (y[1] - torch.einsum("knd,k->nd", g[1], found[-1])).square().sum(1)
        importance = 1 / (
            left + left.median() + 1e-300
        )  # a path that cannot be followed must not lead the others astray
        importance = importance / importance.mean()
    return found.mT


def _ridge(gram: Tensor, pull: Tensor, prior: Tensor, shrink: float) -> Tensor:
    """The solution nearest to a prior, shape (..., k)."""
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    weight = shrink * diagonal + 1e-12 * diagonal.amax(-1, keepdim=True) + 1e-300
    missing = pull - (gram @ prior[..., None])[..., 0]
    return prior + torch.linalg.solve(gram + torch.diag_embed(weight), missing)


def _split(x: Tensor, normal: Normal) -> tuple[Tensor, Tensor]:
    """Coordinates in the basis, shape (n, r), and what is outside of it, shape (n, D)."""
    inside = x @ normal.basis.mT
    return inside, x - inside @ normal.basis


def _scale(normal: Normal, factors: Tensor, x: Tensor) -> Tensor:
    """x with each direction times its factor."""
    inside, outside = _split(x, normal)
    return (inside * factors[:-1]) @ normal.basis + outside * factors[-1]


def _constant(width: Tensor, sigma: float, after: float) -> Tensor:
    """What one unit of constant excess does to x̂ in a step, for normal data of such a deviation."""
    turn = (sigma / width).atan() - (after / width).atan()
    return (width**2 + after**2).sqrt() * (width**2 + sigma**2).sqrt() / (width * sigma) * turn


def _to_zero(grid: Regular, process: GaussianSDE, steps: int) -> Tensor:
    ts = grid(process, steps)
    ts[-1] = 0
    return ts


def _nearest(fine: Tensor, ts: Tensor) -> list[int]:
    """The places of a grid's times on a finer one, from its first to its last, no two the same."""
    places = (fine[:, None] - ts).abs().argmin(0).tolist()
    steps = len(ts) - 1
    for i in range(1, steps):
        places[i] = min(max(places[i], places[i - 1] + 1), len(fine) - 1 - (steps - i))
    return [0, *places[1:-1], len(fine) - 1]


def _default(process: GaussianSDE, shape: tuple[int, ...], ts: Tensor, like: Tensor) -> Calibration:
    """The default solver, which is exact on normal data of one deviation in all directions."""
    solver, size = ExponentialABM(), math.prod(shape)
    path, rows = levels(process, ts), [row for (row,) in solver.table(process, ts)]
    weights = torch.zeros(len(rows), max(len(row.weights) for row in rows), 1, dtype=torch.float64)
    for i, row in enumerate(rows):
        weights[i, : len(row.weights), 0] = torch.tensor(row.weights, dtype=torch.float64) / path[i + 1].alpha
    normal = Normal(like.new_zeros(size), like.new_zeros(0, size), like.new_tensor([solver.width**2]))
    return Calibration(describe(process), shape, ts, normal, weights)


def _device(model: ScoreModel) -> torch.device | None:
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else None


class _Parts(ScoreModel):
    """A model that sees so many samples at a time, and tells how many it has seen."""

    def __init__(self, model: ScoreModel, batch: int, tell: Callable[[int, int], None] | None) -> None:
        super().__init__()
        self.model, self.sde, self.shape, self.range = model, model.sde, model.shape, model.range
        self.batch, self.tell, self.seen, self.total = batch, tell, 0, 0

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> GaussianPrediction:
        """The parts, joined, of a model in eval mode."""
        with evaluating(self.model):
            said = []
            for i, part in enumerate(torch.split(x, self.batch)):
                some = {k: v[i * self.batch :][: self.batch] for k, v in (cond or {}).items()}
                said.append(self.model(part, t, some or None))
                self.seen += len(part)
                if self.tell:
                    self.tell(self.seen, self.total)
        return GaussianPrediction(x, torch.cat([each.x0 for each in said]), said[0].alpha, said[0].std)
