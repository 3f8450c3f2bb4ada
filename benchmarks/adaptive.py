"""Error against evaluations of solvers that choose their steps: `adaptive`, and torchdiffeq's and SciPy's pairs.

    python benchmarks/adaptive.py                      everything: outputs/benchmark/adaptive.csv and its summary
    python benchmarks/adaptive.py --only scoresde      measures one package anew and keeps the rows of the others
    python benchmarks/adaptive.py --only               reads the table anew

The error is the root mean square, over paths and coordinates, of the distance to the end point of the exact flow, and
the NFE that of each path, the evaluation at the end included: the others stop at t_min, where one more gives
E[x_0 | x]. Their rtol and atol are one number. They integrate every path by itself (``each``, as `adaptive` does), and
as they are mostly used, the batch as one system with one step size (``whole``). The summary compares at the same
achieved error: it divides the NFE of `adaptive` by that of the best other one, log NFE interpolated over log error.
"""

import argparse
import csv
import itertools
import math
import multiprocessing
import os
import typing
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from problems import PROBLEMS, PROCESSES, problem
from scipy.integrate import solve_ivp
from torch import Tensor
from torchdiffeq import odeint
from tqdm import tqdm

from scoresde.analytic import GaussianMixture
from scoresde.reverse import Reverse
from scoresde.score import ScoreModel
from scoresde.solver.adaptive import Adaptive
from scoresde.solver.base import predict

OURS = (1e-1, 1e-2, 1e-3, 1e-4)
LADDER = tuple(10.0**-k for k in range(7))  # of the others
MOST, LEAST = 150, 1e-5  # the evaluations and the error after which the ladder of a method ends
POINTS = {"planes": 8, "spectrum": 4, "images": 4}  # paths that all integrate, where there are many dimensions
PACKAGES = ("scoresde", "torchdiffeq", "scipy")
TORCHDIFFEQ = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
SCIPY = ("RK45", "RK23", "DOP853")
STIFF = ("LSODA", "Radau")  # they ask for a column of the Jacobian by an evaluation
ROOT = Path(__file__).resolve().parent.parent


class Entry(NamedTuple):
    """A row of the table."""

    problem: str
    process: str
    package: str
    method: str
    batch: str
    tolerance: float
    paths: int
    rms: float
    p95: float
    nfe: float
    nfe_least: int
    nfe_most: int


class Counted(ScoreModel):
    """A model that counts the evaluations of each row: what is asked again as it was last is a path that waits."""

    def __init__(self, model: GaussianMixture) -> None:
        super().__init__()
        self.model, self.sde, self.shape = model, model.sde, model.shape
        self.calls = torch.zeros(())
        self.last: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Any:
        """What the model says."""
        t = t.expand(len(x))
        new = torch.ones(len(x)) if self.last is None else ((x != self.last[0]).any(1) | (t != self.last[1])).double()
        self.calls, self.last = self.calls + new, (x.clone(), t.clone())
        return self.model(x, t, cond)


Run = Callable[[Reverse, Tensor, Tensor], Tensor]
"""From a reverse, a state at the first time and times to the state at the last."""


def _adaptive(tol: float, reverse: Reverse, x: Tensor, ts: Tensor) -> Tensor:
    return Adaptive(tol=tol).solve(reverse, x, torch.cat([ts[:1], 0 * ts[:1]]))


def _torchdiffeq(method: str, tol: float, reverse: Reverse, x: Tensor, ts: Tensor) -> Tensor:
    low, high = ts[-1].item(), ts[0].item()

    def slope(t: Tensor, y: Tensor) -> Tensor:
        return reverse.drift(y, t.clamp(low, high))

    end = odeint(slope, x, ts, rtol=tol, atol=tol, method=method, options={"step_t": ts[-1:]})[-1]
    return predict(reverse, end, ts[-1]).x0


def _scipy(method: str, tol: float, reverse: Reverse, x: Tensor, ts: Tensor) -> Tensor:
    def slope(t: float, y: Any) -> Any:
        state = torch.from_numpy(y.copy()).reshape(x.shape)
        return reverse.drift(state, torch.tensor(t, dtype=ts.dtype)).numpy().ravel()

    found = solve_ivp(slope, (ts[0].item(), ts[-1].item()), x.numpy().ravel(), method, rtol=tol, atol=tol)
    return predict(reverse, torch.from_numpy(found.y[:, -1].copy()).reshape(x.shape), ts[-1]).x0


def methods(packages: list[str], dimensions: int) -> Iterator[tuple[str, str, Callable[..., Tensor]]]:
    """Package, method, and what runs it at a tolerance."""
    if "torchdiffeq" in packages:
        for method in TORCHDIFFEQ:
            yield "torchdiffeq", method, partial(_torchdiffeq, method)
    if "scipy" in packages:
        for method in (*SCIPY, *(STIFF if dimensions <= 16 else ())):
            yield "scipy", method, partial(_scipy, method)


def measure(packages: list[str], name: str, process: str, points: int) -> list[Entry]:
    """All rows of a problem and a process by some packages."""
    torch.set_num_threads(1)
    where, sde = problem(name), PROCESSES[process]
    exact, (start, right) = where.model(sde), where.paths(sde)
    ts = torch.tensor([sde.t_max, sde.t_min], dtype=torch.float64)
    few = min(POINTS.get(name, points), points)

    def row(package: str, method: str, batch: str, tol: float, run: Run, n: int, together: int) -> Entry:
        ends, calls = [], []
        for x in start[:n].split(together):
            model = Counted(exact)
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ends.append(run(Reverse(model, eta=0.0), x, ts))
            calls.append(model.calls)
        off, nfe = (torch.cat(ends) - right[:n]).pow(2).mean(1), torch.cat(calls)
        numbers = float(off.mean().sqrt()), float(off.sqrt().nan_to_num(math.inf).quantile(0.95))
        spread = float(nfe.mean()), int(nfe.min()), int(nfe.max())
        return Entry(name, process, package, method, batch, tol, n, *numbers, *spread)

    rows = []
    for tol, n in itertools.product(OURS if "scoresde" in packages else (), sorted({few, len(start)})):
        rows.append(row("scoresde", "adaptive", "each", tol, partial(_adaptive, tol), n, n))
    for package, method, run in methods(packages, start.shape[1]):
        for batch, together in (("each", 1), *((("whole", few),) if method not in STIFF else ())):
            for tol in LADDER:
                try:
                    rows.append(row(package, method, batch, tol, partial(run, tol), few, together))
                except AssertionError:  # torchdiffeq's word for steps that vanish
                    continue
                if rows[-1].rms < LEAST or rows[-1].nfe > MOST:
                    break
    return rows


def evaluations(rows: list[Entry], error: float, field: str = "nfe") -> float:
    """The NFE at which a method reaches an error: along the front of its rows, infinite beyond them."""
    points: list[tuple[float, float]] = []
    for row in sorted((row for row in rows if row.rms < math.inf), key=lambda row: (row.rms, getattr(row, field))):
        if not points or getattr(row, field) < points[-1][1]:  # none that is more accurate takes fewer
            points.append((row.rms, getattr(row, field)))
    if not points or error < points[0][0]:
        return math.inf
    x, y = np.log(points).T
    return float(np.exp(np.interp(math.log(error), x, y)))


def summary(rows: list[Entry]) -> str:
    """What the table says, per problem, process and tolerance of `adaptive`, in text."""
    lines = [
        f"{'':<9}{'':<8}{'tol':>7} {'paths':>5} {'RMS':>9} {'p95':>9} {'NFE (of a path)':>17}   at the same error, "
        "the best that takes each path by itself, and the best that takes them whole"
    ]
    ratios: dict[str, list[float]] = {"each": [], "whole": []}
    for row in rows:
        if row.package != "scoresde":
            continue
        cell = [r for r in rows if (r.problem, r.process) == (row.problem, row.process) and r.package != "scoresde"]
        text = f"{row.problem:<9}{row.process:<8}{row.tolerance:>7.0e} {row.paths:>5} {row.rms:>9.2g} {row.p95:>9.2g} "
        text += f"{row.nfe:>7.1f} {f'({row.nfe_least}–{row.nfe_most})':>9}"
        for batch in ratios if any(r.paths == row.paths for r in cell) else ():
            kinds = {(r.package, r.method) for r in cell if r.batch == batch}
            found = {
                kind: evaluations([r for r in cell if (r.package, r.method, r.batch) == (*kind, batch)], row.rms)
                for kind in kinds
            }
            kind, nfe = min(found.items(), key=lambda pair: pair[1])
            if nfe == math.inf:
                text += f"   {f'none within {MOST}':<37}"
                continue
            ratios[batch].append(row.nfe / nfe)
            text += f"   {' '.join(kind):<24}{nfe:>6.0f} {row.nfe / nfe:>6.2f}"
        lines.append(text)
    for batch, values in ratios.items():
        if values:
            lines.append(f"ratio of NFE, {batch}: median {np.median(values):.2f}, largest {max(values):.2f}")
    return "\n".join(lines)


def _read(path: Path) -> list[Entry]:
    kinds = typing.get_type_hints(Entry)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Entry(**{name: kinds[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]


def _write(path: Path, rows: list[Entry]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(Entry._fields)
        out.writerows([f"{value:.4g}" if isinstance(value, float) else value for value in row] for row in rows)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [p.name for p in PROBLEMS]
    parser.add_argument("--only", nargs="*", choices=PACKAGES, default=list(PACKAGES), help="what to measure anew")
    parser.add_argument("--problems", nargs="+", choices=names, default=names, help="all by default")
    parser.add_argument("--points", type=int, default=16, help="paths that the others integrate")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--table", type=Path, default=ROOT / "outputs/benchmark/adaptive.csv")
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in chosen.problems:
        problem(name).paths(PROCESSES["vp"])
    rows = [row for row in _read(chosen.table) if row.problem not in chosen.problems or row.package not in chosen.only]
    tasks = [
        (chosen.only, name, process, chosen.points) for name in chosen.problems for process in PROCESSES if chosen.only
    ]
    with ProcessPoolExecutor(chosen.jobs, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(measure, *task) for task in tasks]
        for done in tqdm(as_completed(running), "problem × process", total=len(tasks)):
            rows += done.result()
            rows.sort(key=lambda row: (names.index(row.problem), *row[1:5], row.paths, -row.tolerance))
            _write(chosen.table, rows)
    print(summary(rows))


if __name__ == "__main__":
    main()
