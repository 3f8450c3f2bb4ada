"""Error against network evaluations: this package's solvers and other packages' samplers on exact scores.

    python benchmarks/solvers.py                  all that the table lacks, its summary and the picture
    python benchmarks/solvers.py --only scoresde  measures one package anew and keeps the rows of the others
    python benchmarks/solvers.py --only           reads the table, summary and picture anew

The error is the root mean square, over paths and coordinates, of the distance to the end point of the exact flow; the
table has the median and the 95th percentile over paths, too. `problems` says what is solved, `peers` by whom else. The
whole table goes to outputs/benchmark/solvers.csv, its geometric means over problems and processes to docs/solvers.csv.
"""

import argparse
import csv
import dataclasses
import importlib.metadata
import itertools
import math
import multiprocessing
import os
import tempfile
import time
import typing
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from peers import Flow, Impossible, peers
from problems import PROBLEMS, PROCESSES, problem
from torch import Tensor
from tqdm import tqdm

import scoresde
from scoresde import registry
from scoresde.analytic import GaussianMixture
from scoresde.calibration import calibrate
from scoresde.errors import InputError
from scoresde.grid.base import Grid
from scoresde.plot.style import ACCENTS, BLUE, INK, SOFT, save
from scoresde.reverse import Reverse
from scoresde.sampling import evaluations, times
from scoresde.score import ScoreModel
from scoresde.solver.base import Solver, predict

NFE = (5, 8, 10, 15, 20, 35)
CALIBRATED = (8, 10, 20)  # NFE at which a calibration is made for every problem and process, a minute each
SOURCES = ("scoresde", "calibrated", "k-diffusion", "diffusers", "azula", "flow-matching")
ROOT = Path(__file__).resolve().parent.parent


class Entry(NamedTuple):
    """A row of the table."""

    problem: str
    process: str
    package: str
    version: str
    configuration: str
    nfe: int
    rms: float
    median: float
    p95: float
    seconds: float


Cell = tuple[str, str]
"""A problem and a process, by name."""


# this package


class _Counted(ScoreModel):
    """A model that counts its evaluations."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.sde, self.shape, self.calls = model, model.sde, model.shape, 0

    def forward(self, x: Tensor, t: Tensor, cond: Any = None) -> Any:
        self.calls += 1
        return self.model(x, t, cond)


def _solvers() -> Iterator[tuple[str, Solver]]:
    """The registry's deterministic solvers with a fixed number of evaluations, at every order and text option."""
    for name in registry.names("solver"):
        if name == "calibrated":
            continue
        cls = registry.component("solver", name)
        hints, fields = typing.get_type_hints(cls), {f.name for f in dataclasses.fields(cls)}
        options: dict[str, Any] = {
            field: typing.get_args(hint)
            for field, hint in hints.items()
            if typing.get_origin(hint) is typing.Literal and field in fields
        }
        if "order" in fields:
            options["order"] = (1, 2, 3, 4)
        if name == "ode":
            options["method"] = ("euler", "midpoint", "heun2", "heun3", "rk4")
        for values in itertools.product(*options.values()):
            try:
                solver = registry.build("solver", {"name": name, **dict(zip(options, values, strict=True))})
            except InputError:  # an option that needs another, or an order that there is not
                continue
            if solver.order is not None and not solver.adaptive and solver.eta == 0 and solver.nfe(1) is not None:
                yield " ".join([name, *map(str, values)]), solver


def _solve(solver: Solver, grid: Grid | None, exact: GaussianMixture, x: Tensor, nfe: int) -> Tensor:
    """The data after nfe evaluations, ended as `scoresde.sampling` ends."""
    process = exact.sde
    found = (times(process, solver, steps, grid) for steps in range(1, nfe + 1))
    ts = next((ts for ts in found if evaluations(solver, ts) == nfe), None)
    if ts is None:
        raise Impossible
    model = _Counted(exact)
    reverse = Reverse(model, eta=0.0)
    with torch.no_grad():
        end = solver.solve(reverse, x, ts)
        end = end if solver.denoises else predict(reverse, end, ts[-1]).x0
    assert model.calls == nfe, f"{model.calls} evaluations where {nfe} were declared"
    return end


def _calibrated(exact: GaussianMixture, x: Tensor, nfe: int) -> Tensor:
    """The data after nfe evaluations of a solver calibrated on other paths of the same model."""
    if nfe not in CALIBRATED:
        raise Impossible
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        solver, _ = calibrate(exact, nfe, Path(folder) / "calibration.safetensors", seed=1)
        return solver.solve(Reverse(exact, eta=0.0), x, times(exact.sde, solver))


# measuring


def _configurations(source: str, cell: Cell) -> Iterator[tuple[str, str, str, Callable[[int], Tensor]]]:
    """Package, version, name and run of each configuration."""
    where, process = problem(cell[0]), PROCESSES[cell[1]]
    exact, (x, _) = where.model(process), where.paths(process)
    if source == "calibrated":
        yield "scoresde", scoresde.__version__, "calibrated", partial(_calibrated, exact, x)
    elif source == "scoresde":
        named: dict[str, Grid] = {name: registry.build("grid", name) for name in ("log_snr", "karras")}
        for name, solver in _solvers():
            own = registry.describe(solver.default_grid(process))["name"]
            grids = {"": None} if name == "auto" else {own: None} | {k: v for k, v in named.items() if k != own}
            for grid_name, grid in grids.items():
                run = partial(_solve, solver, grid, exact, x)
                yield "scoresde", scoresde.__version__, f"{name} {grid_name}".strip(), run
    else:
        flow = Flow(where, process)
        for peer in peers(source):
            yield source, peer.version, peer.name, partial(peer, flow)


def measure(source: str, cell: Cell) -> list[Entry]:
    """All rows of a source for a problem and a process."""
    torch.set_num_threads(1)
    _, end = problem(cell[0]).paths(PROCESSES[cell[1]])
    rows = []
    for package, version, name, run in _configurations(source, cell):
        for nfe in NFE:
            begun = time.perf_counter()
            try:
                off = (run(nfe) - end).pow(2).flatten(1).mean(1)
            except Impossible:
                continue
            except Exception as error:  # a row less, not a table less
                tqdm.write(f"{package} {name} on {' '.join(cell)} at {nfe}: {type(error).__name__}: {error}")
                continue
            spent = time.perf_counter() - begun
            each = off.sqrt()
            numbers = float(off.mean().sqrt()), float(each.median()), float(each.nan_to_num(math.inf).quantile(0.95))
            rows.append(Entry(*cell, package, version, name, nfe, *numbers, spent))
    return rows


def table(tasks: list[tuple[str, Cell]], jobs: int) -> Iterator[list[Entry]]:
    """Measure sources on cells, in several processes: the rows of each, as they come."""
    if not tasks:
        return
    for name in tqdm(sorted({cell[0] for _, cell in tasks}), "references"):
        problem(name).paths(PROCESSES["vp"])
    heavy = ("images", "planes", "digits", "spectrum", "scales", "plane")  # the longest first
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context) as pool, tqdm(total=len(tasks), desc="source × problem × process") as bar:
        ordered = sorted(tasks, key=lambda task: heavy.index(task[1][0]))
        for done in as_completed([pool.submit(measure, *task) for task in ordered]):
            yield done.result()
            bar.update()


# reading the table

Key = tuple[str, str]
"""Package and configuration."""


def _geometric(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values)) if all(0 < v < math.inf for v in values) else math.nan


def means(rows: list[Entry], where: Callable[[Entry], bool] = lambda row: True) -> dict[tuple[Key, int], float]:
    """The geometric mean of each configuration's RMS at each NFE, of those that have one in every cell."""
    cells = {(row.problem, row.process) for row in rows if where(row)}
    found: dict[tuple[Key, int], list[float]] = defaultdict(list)
    for row in filter(where, rows):
        found[(row.package, row.configuration), row.nfe].append(row.rms)
    kept = {key: _geometric(values) for key, values in found.items() if len(values) == len(cells)}
    return {key: value for key, value in kept.items() if not math.isnan(value)}


def best(found: dict[tuple[Key, int], float], nfe: int, ours: bool) -> list[tuple[float, Key]]:
    """Configurations by their error at an NFE, the least first: this package's that nothing fitted, or the others'."""
    return sorted(
        (value, key)
        for (key, n), value in found.items()
        if n == nfe and (key[0] == "scoresde") == ours and key[1] != "calibrated"
    )


def summary(rows: list[Entry]) -> str:
    """What the table says, per NFE, in text."""
    held_out = {each.name for each in PROBLEMS if each.held_out}
    parts = {
        "all problems": lambda row: True,
        "held out": lambda row: row.problem in held_out,
        "the others": lambda row: row.problem not in held_out,
    }
    lines = []
    for title, where in parts.items():
        if not any(map(where, rows)):
            continue
        found = means(rows, where)
        lines += [
            "",
            f"{title}: geometric mean of the RMS error",
            f"{'NFE':>4}  {'best peer':<48} {'auto':>9} {'ratio':>6}",
        ]
        for nfe in NFE:
            others, mine = best(found, nfe, ours=False), best(found, nfe, ours=True)
            auto = found.get((("scoresde", "auto"), nfe), math.nan)
            text = f"{nfe:>4}  " + (f"{others[0][0]:.5f} {' '.join(others[0][1]):<40}" if others else f"{'–':<48}")
            text += f" {auto:9.5f} {auto / others[0][0] if others else math.nan:6.3f}"
            lines.append(text + (f"   best of ours {mine[0][0]:.5f} {mine[0][1][1]}" if mine else ""))
    cells: dict[tuple[str, str, int], list[Entry]] = defaultdict(list)
    for row in rows:
        cells[row.problem, row.process, row.nfe].append(row)
    fitted = [row for row in rows if row.configuration == "calibrated"]
    if fitted:
        lines += ["", "calibrated, and the best peer in each cell by itself", f"{'':28}{'median':>20}{'RMS':>26}"]
    for row in fitted:
        others = [e for e in cells[row.problem, row.process, row.nfe] if e.package != "scoresde"]
        text = f"{row.problem:<10} {row.process:<4} NFE {row.nfe:<3}"
        for field in ("median", "rms"):
            reached = [getattr(e, field) for e in others if getattr(e, field) < math.inf]  # not NaN either
            mine, least = getattr(row, field), min(reached, default=math.nan)
            text += f"   {mine:.5f} / {least:.5f} = {mine / least:6.3f}"
        lines.append(text)
    return "\n".join(lines)


def picture(rows: list[Entry]) -> Figure:
    """Error against NFE for each problem, geometric mean over processes: ours, the best peers, all others in grey."""
    overall, (auto, fitted) = means(rows), (("scoresde", "auto"), ("scoresde", "calibrated"))
    champions: list[Key] = []  # the best single peer at each NFE
    for nfe in NFE:
        champions += [key for _, key in best(overall, nfe, ours=False)[:1] if key not in champions]
    colours = dict(zip(champions, (*ACCENTS, "#7b5ea7", "#6b8e23", "#b08968"), strict=False))
    shown = [each for each in PROBLEMS if any(row.problem == each.name for row in rows)]
    columns = math.ceil(len(shown) / 2)
    figure = Figure(figsize=(3.7 * columns, 7.2), layout="constrained", facecolor="white", dpi=150)
    panels = figure.subplots(2, columns, sharex=True, squeeze=False).ravel()
    lines: dict[Key, Any] = {}
    for axes, each in zip(panels, shown, strict=False):
        curves: dict[Key, list[tuple[int, float]]] = defaultdict(list)
        for (key, nfe), value in means(rows, lambda row, name=each.name: row.problem == name).items():
            curves[key].append((nfe, value))
        for key, points in curves.items():
            x, y = zip(*sorted(points), strict=True)
            if key == auto:
                style = {"color": BLUE, "linewidth": 2.8, "marker": "o", "markersize": 5, "zorder": 5}
            elif key == fitted:
                style = {
                    "color": BLUE,
                    "linewidth": 1.6,
                    "linestyle": "--",
                    "marker": "D",
                    "markersize": 4,
                    "zorder": 4,
                }
            elif key in champions:
                style = {"color": colours[key], "linewidth": 1.4, "marker": "o", "markersize": 3, "zorder": 3}
            elif key[0] != "scoresde":
                style = {"color": SOFT, "linewidth": 0.5, "alpha": 0.3, "zorder": 1}
            else:
                continue
            (lines[key],) = axes.plot(x, y, **style)
        drawn = [value for key in (auto, fitted, *champions) for _, value in curves.get(key, [])]
        axes.set(xscale="log", yscale="log", ylim=(min(drawn) / 2, 2 * max(drawn)))
        axes.set_title(each.title, fontsize=10, color=INK, loc="left")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(NFE, [str(n) for n in NFE])
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(SOFT)
        axes.tick_params(which="both", color=SOFT, labelcolor=INK, labelsize=9)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("network evaluations", fontsize=10, color=INK)
    figure.supylabel("RMS distance to the end of the exact flow", fontsize=10, color=INK)
    told = [key for key in (auto, fitted, *champions) if key in lines]
    others = {key for key in lines if key not in told}
    labels = [" ".join(key) for key in told] + ([f"{len(others)} other configurations"] if others else [])
    handles = [lines[key] for key in told] + ([Line2D([], [], color=SOFT, linewidth=1)] if others else [])
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def _source(row: Entry) -> str:
    return row.configuration if row.configuration == "calibrated" else row.package


def _read(path: Path) -> list[Entry]:
    if not path.exists():
        return []
    kinds = typing.get_type_hints(Entry)
    with path.open(newline="", encoding="utf-8") as file:
        return [Entry(**{name: kinds[name](text) for name, text in row.items()}) for row in csv.DictReader(file)]


def _write(path: Path, header: list[str], rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(header)
        out.writerows([f"{value:.4g}" if isinstance(value, float) else value for value in row] for row in rows)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=SOURCES, help="what to measure anew")
    parser.add_argument("--problems", nargs="+", choices=[p.name for p in PROBLEMS], help="all by default")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--table", type=Path, default=ROOT / "outputs/benchmark/solvers.csv")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the summary and the picture go")
    chosen = parser.parse_args()
    # one thread each, and memory that is kept: the workers read both when they start
    os.environ |= {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31)}
    installed = []
    for source in SOURCES if chosen.only is None else chosen.only:
        try:
            importlib.metadata.version("scoresde" if source == "calibrated" else source)
            installed.append(source)
        except importlib.metadata.PackageNotFoundError:
            print(f"{source} is not installed, so it is left out: make benchmark installs all of them")
    cells = itertools.product(chosen.problems or [each.name for each in PROBLEMS], PROCESSES)
    tasks = list(itertools.product(installed, cells))
    rows = _read(chosen.table)
    if chosen.only is None:
        there = {(_source(row), (row.problem, row.process)) for row in rows}
        tasks = [task for task in tasks if task not in there]
    rows = [row for row in rows if (_source(row), (row.problem, row.process)) not in tasks]
    for more in table(tasks, chosen.jobs):  # an hour or two: what is done is kept
        rows = sorted([*rows, *more])
        _write(chosen.table, list(Entry._fields), rows)
    found = means(rows)
    versions = {(row.package, row.configuration): row.version for row in rows}
    wide = [
        [package, versions[package, name], name, *(found.get(((package, name), n), "") for n in NFE)]
        for package, name in sorted({key for key, _ in found})
    ]
    _write(chosen.docs / "solvers.csv", ["package", "version", "configuration", *map(str, NFE)], wide)
    save(picture(rows), chosen.docs / "images/solvers.png")
    print(summary(rows))


if __name__ == "__main__":
    main()
