"""Parallel in time: a window of steps at once, iterated until it no longer moves (ParaDiGMS)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.grid.base import Grid
from scoresde.noise import Noise
from scoresde.registry import nested
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE, GaussianSDE, Process
from scoresde.solver.base import Solver, predict
from scoresde.solver.coefficients.table import TableSolver, levels

__all__ = ["Picard"]


@dataclass(frozen=True)
class Picard(Solver):
    """Another solver's result, in fewer evaluations one after the other, each of a batch ``window`` times as large.

    The rule's steps x_(i+1) = k_i x_i + Σ_j w_ij p_(i−j) + noise are iterated for a window of steps: all predictions p
    at the states of the last iteration, by one network call, then all states from those predictions. What is linear in
    the steps is summed up exactly; the paper sums up their differences. A state is accepted when all before it in the
    window moved by no more than tolerance · √(α² + s²), the scale of data of unit variance, in RMS over coordinates;
    the paper's scale, the noise of a step, depends on the grid. The first is always: it takes no more iterations than
    there are steps. Windows slide at each sample's own pace; noise is that of the rule, drawn for each step once.

    With ``tolerance=0`` the result is the rule's, to rounding. Evaluations for each sample are more than the rule's:
    latency is what they buy. A sample that is no longer finite is NaN from there on.

    Args:
        base: the rule: any solver of one evaluation a step from a table of coefficients: ``solver/base=ddim``, with
            any η, ``exponential_ab``, …
        window: steps at once, ≥ 1.
        tolerance: ≥ 0.

    Raises:
        InputError: for a value out of range, or a rule of several evaluations a step.

    Source: Shih et al. 2023, "Parallel sampling of diffusion models", algorithm 1, section 3.2 for noise.
    """

    needs = GaussianSDE
    facts = ("1", "as needed", "parallel")
    base: TableSolver = nested("solver", "ddim")
    window: int = 32
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse a window that does not slide, and steps within which there are others."""
        typed(self)
        check(self, "window", self.window >= 1, "a whole number >= 1")
        check(self, "tolerance", 0 <= self.tolerance < float("inf"), "a number >= 0")
        single = isinstance(self.base, TableSolver) and all(self.base.nfe(n) == n for n in (1, 7))
        check(self, "base", single, "a solver of one evaluation a step from a table, such as ddim")

    order = property(lambda self: self.base.order)
    weak_order = property(lambda self: self.base.weak_order)
    eta = property(lambda self: self.base.eta)
    denoises = property(lambda self: self.base.denoises)

    def default_grid(self, process: Process) -> Grid:
        """The rule's."""
        return self.base.default_grid(process)

    def nfe(self, steps: int) -> None:
        """The tolerance decides."""

    def refusal(self, sde: SDE) -> str | None:
        """The rule's."""
        return self.base.refusal(sde)

    def iterate(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Slide until the last sample is at the end; see `Solver.iterate`."""
        noise = self.begin(sde, x, ts, noise)
        reverse = cast(Reverse, sde)
        process = cast(GaussianSDE, reverse.model.sde)
        rows = [row for (row,) in self.base.table(process, ts)]
        steps, width = len(rows), min(self.window, len(rows))
        past = max(len(row.weights) for row in rows) - 1
        draws = max(len(row.noise) for row in rows)

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)

        keep, skip = column([row.keep for row in rows]), column([row.skip for row in rows])
        weights = [column([([*row.weights] + [0.0] * past)[k] for row in rows]) for k in range(past + 1)]
        amplitudes = [column([([*row.noise] + [0.0] * draws)[k] for row in rows]) for k in range(draws)]
        allowed = column([self.tolerance * math.hypot(level.alpha, level.std) for level in levels(process, ts)[1:]])
        times = torch.stack([row.t for row in rows]).to(x.device)
        # the network's rows: the batch at the first step of its windows, then at the second, …
        cond = {name: torch.cat([each] * width) for name, each in (reverse.cond or {}).items()}
        wide = replace(reverse, cond=cond if reverse.cond else None)

        ahead = torch.arange(past + width, device=x.device)
        each = torch.arange(len(x), device=x.device)[:, None]
        at = torch.zeros(len(x), dtype=torch.long, device=x.device)
        p = x.new_zeros(len(x), past + width, *x.shape[1:])  # predictions: those before the window, then its own
        drawn: dict[int, list[Tensor]] = {}
        states: dict[int, Tensor] = {}
        low, high, heard = 0, 0, 0  # the slowest and the fastest sample's step, and up to which noise is drawn
        yield ts[0], x
        while low < steps:
            now = (at[:, None] + ahead[:width]).clamp(max=steps - 1)
            for i in range(heard, min(high + width, steps)):
                drawn[i] = [noise.normal() for _ in rows[i].noise] + [x] * (draws - len(rows[i].noise))
            heard = min(high + width, steps)
            drive = 0.0 * p[:, past:]
            for k in range(draws):
                z = torch.stack([drawn[i][k] for i in range(low, heard)])[now - low, each]
                drive = drive + _over(amplitudes[k][now], z) * z
            before = self._sweep(x, _over(keep[now], p), drive, [_over(w[now], p) for w in weights], p)
            asked = before[:, :width]
            said = getattr(predict(wide, asked.transpose(0, 1).flatten(0, 1), times[now].T.flatten()), self.base.of)
            said = said.unflatten(0, (width, len(x))).transpose(0, 1)
            p = torch.cat([p[:, :past], said - _over(skip[now], p) * asked], 1)
            after = self._sweep(x, _over(keep[now], p), drive, [_over(w[now], p) for w in weights], p)
            moved = (after - before)[:, 1:].flatten(2).double().square().mean(2).sqrt()
            taken = 1 + (moved <= allowed[now])[:, :-1].cumprod(1).sum(1)
            taken = torch.where(after[:, 1].flatten(1).isfinite().all(1), taken, width)  # lost: not worth waiting for
            there = torch.minimum(at + taken, torch.full_like(at, steps))
            first, high = low, int(there.max())
            low = int(there.min())
            for i in range(first + 1, high + 1):
                fresh = (at < i) & (i <= there)
                here = after[each[:, 0], (i - at).clamp(0, width)]
                states[i] = torch.where(_over(fresh, x).bool(), here, states.get(i, x))
            shift = there - at
            x, at = after[each[:, 0], shift], there
            p = p[each, (ahead + shift[:, None]).clamp(max=past + width - 1)]  # beyond the window as at its end
            for i in range(first + 1, low + 1):
                drawn.pop(i - 1, None)
                yield ts[i], states.pop(i)

    @staticmethod
    def _sweep(x: Tensor, keep: Tensor, drive: Tensor, weights: list[Tensor], p: Tensor) -> Tensor:
        """All states of the window from its first and all predictions: shape (B, window + 1, ...)."""
        width = drive.shape[1]
        for k, weight in enumerate(weights):
            newest = len(weights) - 1 - k
            drive = drive + weight * p[:, newest : newest + width]
        path = [x]
        for j in range(width):
            path.append(keep[:, j] * path[-1] + drive[:, j])
        return torch.stack(path, 1)


def _over(coefficient: Tensor, like: Tensor) -> Tensor:
    """A coefficient of samples, or of samples and steps, in the shape in which it multiplies ``like``."""
    return coefficient.reshape(*coefficient.shape, *[1] * (like.ndim - coefficient.ndim))
