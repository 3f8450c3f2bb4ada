"""Each sample at its own pace, in as few evaluations as a tolerance of the final error permits."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from scoresde.errors import check, typed
from scoresde.grid.regular import Regular
from scoresde.noise import Noise
from scoresde.registry import build
from scoresde.reverse import Reverse
from scoresde.sde.base import SDE, GaussianSDE
from scoresde.solver.base import Solver, predict
from scoresde.solver.coefficients.table import levels
from scoresde.tensor import expand

__all__ = ["Adaptive"]

_MOST = 4  # predictions that a step uses
_NEAR, _FAR = 1.5, 10.0  # how often a step's error counts on the data, and how often more where noise is all
_U, _W = (torch.from_numpy(a) / 2 for a in np.polynomial.legendre.leggauss(12))


@dataclass(frozen=True)
class Adaptive(Solver):
    """`exponential_abm` with variable steps: what the corrector changes is the error, and it costs no evaluation.

    In X = x̂/r, where r² = d² + σ̂², the flow is dX/dφ = V with φ = arctan(σ̂/d). The error of a step is
    d ‖X_corrected − X_predicted‖, RMS over the sample's coordinates, times 1.5 on the data and more where there is more
    noise, up to 11.5: there it decides between modes, and what follows amplifies it. Where it exceeds the tolerance the
    step is refused, and taken again at a smaller size. Every sample has its own steps, also where others have failed;
    one that has arrived is asked about again as it was last, until all have. Between its steps it is reported by the
    corrector's polynomial, which also leads it from t_min onto the data.

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
    denoises = True
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
        self.begin(sde, x, ts, noise)
        process = cast(GaussianSDE, cast(Reverse, sde).model.sde)
        pair: Any = build("solver", "exponential_abm")
        clock = _Clock(pair.width, pair.floor, cast(Regular, pair.default_grid(process)))
        path = levels(process, ts)  # the network is asked no later than t_min; the polynomial leads on to the data
        scales = [at.alpha * math.hypot(clock.width, at.sigma) for at in path]
        places = clock.grid.scale(ts.new_tensor([at.sigma for at in path])).to(x.device)
        ends = clock.grid.scale((-process.log_snr(torch.where(ts == 0, process.t_min, ts)) / 2).exp())
        way = (ends[-1] - ends[0]).item()
        reports = ((ends - ends[0]) / way - 1e-12).tolist()  # as shares of the way
        first, last = places[0], ends[-1].to(x.device)

        def said(y: Tensor, s: Tensor) -> Tensor:
            """V at X = y, made even: one network evaluation at each sample's own time."""
            sigma = clock.grid.level(s)
            t = process.time(-2 * sigma.log()).clamp(process.t_min, process.t_max)
            radius = (clock.width**2 + sigma**2).sqrt()
            x0 = predict(sde, expand(process.alpha(t) * radius, y) * y, t).x0
            excess = x0 - expand(clock.width**2 / radius, y) * y
            return -expand(radius / (clock.width * sigma) / clock.evened(sigma), y) * excess

        yield ts[0], x
        batch = x.shape[0]
        at = first.expand(batch).clone()
        y = x / scales[0]
        nodes, known = at.new_zeros(batch, _MOST), torch.ones(batch, dtype=torch.int64, device=x.device)
        values = x.new_zeros(_MOST, *x.shape)
        nodes[:, 0], values[0] = at, said(y, at)
        asked, target = y, at
        size = (last - first).expand(batch) / 16
        open_, done = dict[int, Tensor](), 1
        while done < len(ts):
            going = (last - at) / way > 1e-12
            h = torch.where((last - at - size) / way < 1e-9, last - at, size)
            target = torch.where(going, at + h, target)
            moving = expand(going.to(x.dtype), x) > 0
            guess = y + clock.integral(at, target, nodes, (known - 1).clamp(max=_MOST - 2), values)
            asked = torch.where(moving, guess, asked)  # one that has arrived is asked about as it was last
            new = said(asked, target)
            newer, newest = torch.cat([target[:, None], nodes[:, :-1]], 1), torch.cat([new[None], values[:-1]])
            better = y + clock.integral(at, target, newer, known.clamp(max=_MOST - 1), newest)
            error = clock.width * (_rms(better - guess) - 8 * torch.finfo(x.dtype).eps * _rms(better)).clamp(min=0)
            ratio = error * (_NEAR + _FAR / (1 + (clock.width / clock.grid.level(target)) ** 2)) / self.tol
            fits = ~(ratio > 1) & going  # what is not finite goes on to its end
            keep = expand(fits.to(x.dtype), x) > 0
            before, base = at, y
            at, y = torch.where(fits, target, at), torch.where(keep, better, y)
            nodes, values = torch.where(fits[:, None], newer, nodes), torch.where(keep, newest, values)
            known = torch.where(fits, (known + 1).clamp(max=_MOST), known)
            change = (0.8 * ratio.clamp(min=1e-9) ** (-1 / (known + 1).clamp(max=_MOST))).clamp(0.25, 2.0)
            size = torch.where(going, h * torch.where(change.isnan(), 2.0, change), size)
            left, right = (before - first) / way, (at - first) / way
            slowest, fastest = right.aminmax()
            for i in range(done, len(ts)):
                if reports[i] > fastest:
                    break
                there = places[i].expand(batch)
                passed = expand((fits & (left < reports[i]) & (right >= reports[i])).to(x.dtype), x) > 0
                now = scales[i] * (base + clock.integral(before, there, nodes, known - 1, values))
                open_[i] = torch.where(passed, now, open_.get(i, now))
            while done < len(ts) and reports[done] <= slowest:
                yield ts[done], open_.pop(done)
                done += 1


def _rms(y: Tensor) -> Tensor:
    return y.flatten(1).double().square().mean(1).sqrt()


class _Clock(NamedTuple):
    """Where samples are, in the scale of a grid, and how they go on from there."""

    width: float
    floor: float
    grid: Regular

    def evened(self, sigma: Tensor) -> Tensor:
        """σ̂/√(σ̂² + c²): V is odd near the data, and divided by this even, as log(σ̂² + c²) is."""
        return sigma / (sigma**2 + self.floor**2).sqrt()

    def integral(self, start: Tensor, end: Tensor, nodes: Tensor, newest: Tensor, values: Tensor) -> Tensor:
        """∫ V dφ, where V made even is the polynomial through the first ``newest + 1`` values of each sample.

        Args:
            start, end, nodes: places, shape (B,), (B,) and (B, k).
            newest: the last value to use, shape (B,).
            values: V made even there, shape (k, B, ...).
        """
        count = nodes.shape[1]
        s = start[:, None] + (end - start)[:, None] * (_U.to(start) + 0.5)
        sigma = self.grid.level(s)
        low, high = self.grid.floor, self.grid.ceiling
        rate = (sigma + low) * (sigma + high) / (high - low)  # dσ̂/ds
        angle = rate * self.width / (self.width**2 + sigma**2)  # dφ/ds
        measure = (end - start)[:, None] * _W.to(start) * angle * self.evened(sigma)
        used = torch.arange(count, device=nodes.device) <= newest[:, None]
        places, u = ((level**2 + self.floor**2).log() for level in (self.grid.level(nodes), sigma))
        total = torch.zeros_like(values[0])
        for j in range(count):
            polynomial = measure
            for i in range(count):
                if i != j:
                    factor = (u - places[:, i, None]) / (places[:, j] - places[:, i])[:, None]
                    polynomial = polynomial * torch.where((used[:, i] & used[:, j])[:, None], factor, 1.0)
            weight = torch.where(used[:, j], polynomial.sum(1), 0.0)
            part = torch.where(expand(used[:, j].to(total.dtype), total) > 0, values[j], 0)
            total = total + expand(weight, total) * part
        return total
