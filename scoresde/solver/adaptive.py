"""Each sample at its own pace, in as few evaluations as a tolerance of the final error permits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.grid.regular import Regular
from scoresde.noise import Noise
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE, GaussianSDE
from scoresde.solver.base import Solver, check_times, predict
from scoresde.tensor import expand

__all__ = ["Adaptive"]

_WIDTH, _FLOOR = 0.5, 0.25  # as of exponential_abm
_MOST = 4  # predictions that a step uses
_SHARE = 0.2  # of the tolerance that the estimated error of a step may be
_U, _W = (torch.from_numpy(a) / 2 for a in np.polynomial.legendre.leggauss(12))


@dataclass(frozen=True)
class Adaptive(Solver):
    """`exponential_abm` with variable steps: what the corrector changes is the error, and it costs no evaluation.

    In X = x̂/r, where r² = d² + σ̂², the flow is dX/dφ = V with φ = arctan(σ̂/d). A step is refused, and taken again at a
    smaller size, where d ‖X_corrected − X_predicted‖, RMS over the sample's coordinates, is more than a fifth of the
    tolerance. Every sample has its own steps, also where others have failed. Between its steps it is reported by the
    corrector's polynomial.

    Args:
        tol: the RMS distance to the exact flow at the grid's end to aim at, > 0, for data of deviation about d = ½;
            what the precision of x cannot resolve is not counted as error.

    Raises:
        InputError: for a tolerance that is not positive, or a process that is not a GaussianSDE.

    Source: scoresde's own; Hairer, Nørsett & Wanner 1993, "Solving ordinary differential equations I", III.5 (variable
    steps) and II.4 (step size control).
    """

    needs = GaussianSDE
    adaptive = True
    order = 4
    tol: float = 1e-2

    def __post_init__(self) -> None:
        """Refuse a tolerance that is none."""
        typed(self)
        check(self, "tol", 0 < self.tol < float("inf"), "a number > 0")

    def nfe(self, steps: int) -> None:
        """Each sample decides."""

    def iterate(self, sde: SDE, x: Tensor, ts: Tensor, noise: Noise | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Step over the times of the grid, and report there; see `Solver.iterate`."""
        self.check(sde)
        check_times(sde, ts)
        process = cast(GaussianSDE, cast(Reverse, sde).model.sde)
        clock = Regular()
        stops = clock.scale((-process.log_snr(ts) / 2).exp()).to(x.device)
        first, last = stops[0], stops[-1]
        way = last - first

        def said(y: Tensor, s: Tensor) -> Tensor:
            """V at X = y, made even: one network evaluation at each sample's own time."""
            sigma = clock.level(s)
            t = process.time(-2 * sigma.log()).clamp(process.t_min, process.t_max)
            radius = (_WIDTH**2 + sigma**2).sqrt()
            x_hat = expand(radius, y) * y
            x0 = predict(sde, expand(process.alpha(t), y) * x_hat, t).x0
            excess = x0 - expand(_WIDTH**2 / radius**2, y) * x_hat
            return -expand(radius / (_WIDTH * sigma) / _evened(sigma), y) * excess

        def scaled(y: Tensor, s: Tensor) -> Tensor:
            """The state x where X = y."""
            sigma = clock.level(s)
            alpha = process.alpha(process.time(-2 * sigma.log()).clamp(process.t_min, process.t_max))
            return expand(alpha * (_WIDTH**2 + sigma**2).sqrt(), y) * y

        yield ts[0], x
        batch = x.shape[0]
        at = first.expand(batch).clone()
        y = x / expand(scaled(torch.ones_like(at), at), x)
        nodes, known = at.new_zeros(batch, _MOST), torch.zeros(batch, dtype=torch.int64, device=x.device)
        values = x.new_zeros(_MOST, *x.shape)
        nodes[:, 0], known, values[0] = at, known + 1, said(y, at)
        before, base = at, y  # where the last step of each sample began
        size = (way / 16).expand(batch).clone()
        for t, stop in zip(ts[1:], stops[1:], strict=True):
            while (going := (at - stop) / way < -1e-12).any():
                h = torch.where((last - at - size) / way < 1e-9, last - at, size)
                target = torch.where(going, at + h, at)
                guess = y + _integral(at, target, nodes, (known - 1).clamp(max=_MOST - 2), values)
                new = said(guess, target)
                newer, newest = torch.cat([target[:, None], nodes[:, :-1]], 1), torch.cat([new[None], values[:-1]])
                better = y + _integral(at, target, newer, known.clamp(max=_MOST - 1), newest)
                error = _WIDTH * (_rms(better - guess) - 8 * torch.finfo(x.dtype).eps * _rms(better)).clamp(min=0)
                ratio = error / (_SHARE * self.tol)
                fits = ~(ratio > 1) & going  # what is not finite goes on to its end
                keep = expand(fits.to(x.dtype), x) > 0
                before, base = torch.where(fits, at, before), torch.where(keep, y, base)
                at, y = torch.where(fits, target, at), torch.where(keep, better, y)
                nodes, values = torch.where(fits[:, None], newer, nodes), torch.where(keep, newest, values)
                known = torch.where(fits, (known + 1).clamp(max=_MOST), known)
                change = (0.8 * ratio.clamp(min=1e-9) ** (-1 / (known + 1).clamp(max=_MOST))).clamp(0.25, 2.0)
                size = torch.where(going, h * torch.where(change.isnan(), 2.0, change), size)
            there = stop.expand(batch)
            yield t, scaled(base + _integral(before, there, nodes, known - 1, values), there)


def _rms(y: Tensor) -> Tensor:
    return y.flatten(1).double().square().mean(1).sqrt()


def _evened(sigma: Tensor) -> Tensor:
    """σ̂/√(σ̂² + c²): V is odd near the data, and divided by this even, as the clock is."""
    return sigma / (sigma**2 + _FLOOR**2).sqrt()


def _integral(start: Tensor, end: Tensor, nodes: Tensor, newest: Tensor, values: Tensor) -> Tensor:
    """∫ V dφ, where V made even is the polynomial through the first ``newest + 1`` values of each sample.

    Args:
        start, end, nodes: places in the clock of `Regular`, shape (B,), (B,) and (B, k).
        newest: the last value to use, shape (B,).
        values: V made even there, shape (k, B, ...).
    """
    grid = Regular()

    def level(s: Tensor) -> Tensor:
        sigma = grid.level(s)
        return (sigma**2 + _FLOOR**2).log() / 2

    count = nodes.shape[1]
    s = start[:, None] + (end - start)[:, None] * (_U.to(start) + 0.5)
    sigma = grid.level(s)
    rate = (sigma + grid.floor) * (sigma + grid.ceiling) / (grid.ceiling - grid.floor)  # dσ̂/ds
    measure = (end - start)[:, None] * _W.to(start) * rate * _WIDTH / (_WIDTH**2 + sigma**2) * _evened(sigma)
    used = torch.arange(count, device=nodes.device) <= newest[:, None]
    places, u = level(nodes), level(s)
    total = torch.zeros_like(values[0])
    for j in range(count):
        polynomial = measure
        for i in range(count):
            if i != j:
                factor = (u - places[:, i, None]) / (places[:, j] - places[:, i])[:, None]
                polynomial = polynomial * torch.where((used[:, i] & used[:, j])[:, None], factor, 1.0)
        weight = torch.where(used[:, j], polynomial.sum(1), 0.0)
        total = total + expand(weight, total) * torch.where(expand(used[:, j].to(total.dtype), total) > 0, values[j], 0)
    return total
