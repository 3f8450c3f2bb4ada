"""Draw samples from a trained model."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scoresde.cli.calibrate import find
from scoresde.cli.command import command, newest, pick_device, pick_labels, record
from scoresde.cli.count import Count
from scoresde.cli.seeds import pick_samples
from scoresde.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from scoresde.score import Denoiser
    from scoresde.solver.base import Solver

__all__ = ["Run", "main", "run"]


@dataclass
class Run:
    """A sampling run's keys.

    Args:
        name: the samples are kept under outputs/<name>/<time>/.
        checkpoint: a model that train.py wrote, by default the newest under outputs/; or another project's.
            solver=calibrated finds what calibrate.py left beside it.
        recipe: the experiment/ recipe by which another project's was trained, where it cannot tell.
        n: how many samples; by default 64, or as many as seeds.
        steps: of the grid; by default 50, or as many as grid=explicit has.
        tol: of a solver that chooses its own steps, in the place of its own fields: solver=adaptive tol=1e-2.
        seed: of the random numbers: sample i is a function of (seed, i).
        seeds: samples by name, each the first of its seed: seeds=7, seeds=0-15 or seeds=[0,3,7-9].
        batch: samples at a time, exactly: the last part is padded, so that no bit of a sample depends on the others (on
            a CPU). By default 256 at most, unpadded: samples may then differ by roundings from run to run.
        label: the class of all samples, for a model trained with labels=true; by default all classes in turn, sample i
            of a seed having (seed + i) mod their number.
        denoise: whether to end at t = 0, on the data: a solver that can takes its last step there, any other stops at
            t_min, and one more network evaluation gives E[x_0 | x].
        trajectory: whether to keep the way there: trajectory.gif of the first 64 samples, states.npy and times.npy of
            all.
        compile: whether to compile the network, for many samples or steps; parts are then padded.
        device: auto, cpu, cuda, cuda:1, …
    """

    name: str = "sample"
    checkpoint: str | None = None
    recipe: str | None = None
    n: int | None = None
    steps: int | None = None
    tol: float | None = None
    seed: int = 0
    seeds: Any = None
    batch: int | None = None
    label: int | None = None
    denoise: bool = True
    trajectory: bool = False
    compile: bool = False
    device: str = "auto"


def main() -> None:
    """The command ``python sample.py`` or ``scoresde-sample``."""
    command("sample", ["solver", "grid"], ["scoresde.cli.sample:Run"], "scoresde.cli.sample:run")


def run(config: dict[str, Any], folder: Path) -> None:
    """Refuse what cannot be drawn, draw, keep it, and say where everything is."""
    import numpy as np

    from scoresde.cli.pictures import animation, picture
    from scoresde.files import whole

    plan = _plan(config)
    print("\n".join(plan.about))
    if config["compile"]:
        print(f"compiled       in {_compile(plan.model, plan.size, plan.labels):.1f} s")
    count = Count(plan.rows, each=plan.nfe is None)
    plan.model.register_forward_pre_hook(count)
    samples, frames, clock = _draw(plan, count, folder / "states.npy" if config["trajectory"] else None)
    record(folder, config)
    arrays = {"samples": samples.numpy()} | ({"times": np.array(clock)} if frames else {})
    for what, array in arrays.items():
        with whole(folder / f"{what}.npy") as draft:
            np.save(draft, array)
    said = "" if str(plan.nfe) in ("None", str(count)) else f", where {config['solver']['name']} declares {plan.nfe}"
    print(f"NFE            {count} network evaluations a sample{said}")
    print(f"samples        {folder / 'samples.npy'}, {tuple(samples.shape)}")
    if frames:
        print(f"states         {folder / 'states.npy'}, {(len(clock), *samples.shape)}, at the times of times.npy")
    if made := picture(samples[:100], folder / "samples.png", plan.model.range):
        print(f"picture        {made}")
    if frames and (made := animation(frames, clock, folder / "trajectory.gif", plan.model.range)):
        print(f"animation      {made}")


@dataclass
class _Plan:
    """What a configuration comes to: nothing in it will be refused any more."""

    model: "Denoiser"
    paths: "list[tuple[int, int, Iterator[tuple[Tensor, Tensor]]]]"
    """Of each part its first sample, how many they are, and their states."""
    n: int
    size: int
    """Samples at a time."""
    rows: int
    """Samples that the network sees, those that are thrown away with them."""
    length: int
    """States of a sample."""
    nfe: int | None
    labels: "Tensor | None"
    about: list[str]
    """What to say of it."""


def _plan(config: dict[str, Any]) -> _Plan:
    """Everything up to the first network evaluation.

    Raises:
        InputError: for what cannot be drawn.
    """
    import torch

    from scoresde.checkpoint import load
    from scoresde.registry import build, describe
    from scoresde.sampling import evaluations, seats, times, trajectory
    from scoresde.training import CHECKPOINT

    given, steps, label, denoise = (config[key] for key in ("checkpoint", "steps", "label", "denoise"))
    path = Path(given) if given else newest(CHECKPOINT, "train a model with python train.py, or give checkpoint=…")
    about = []
    if config["solver"] == {"name": "calibrated", "file": ""}:
        file, notes = find(path, steps, label)
        config["solver"]["file"] = str(file)
        about += notes
    solver = _solver(config["solver"], config["tol"])
    grid = None if config["grid"] is None else build("grid", config["grid"])
    numbers = pick_samples(config["n"], config["seed"], config["seeds"])
    named = config["seeds"] is not None
    if config["batch"] is not None and config["batch"] < 1:
        raise InputError(f"batch = {config['batch']}, but it must be a whole number >= 1")
    n, device = len(numbers), pick_device(config["device"])
    model = load(path, device, config["recipe"])
    classes = model.net.classes
    picked = torch.tensor(pick_labels(label, classes, numbers), device=device)
    labels = picked if classes else None
    if label is None and classes:
        about.append(f"the model knows {classes} labels: sample i of a seed has label (seed + i) mod {classes}")

    size = config["batch"] or min(n, 256)
    fixed = size if config["batch"] or config["compile"] else None
    parts = [(first, min(size, n - first)) for first in range(0, n, size)]
    rows = n if fixed is None else sum(fixed * len(seats(numbers[i : i + k], fixed)[0]) for i, k in parts)
    paths = [
        trajectory(
            model,
            k,
            solver=solver,
            steps=steps,
            grid=grid,
            seed=numbers[first : first + k] if named else config["seed"],
            cond=None if labels is None else {"label": labels[first : first + k]},
            denoise=denoise,
            first=0 if named else first,
            batch=fixed,
        )
        for first, k in parts
    ]
    paths[0] = chain([next(paths[0])], paths[0])  # with its first state a solver refuses what it does not take
    ts = times(model.sde, solver, steps, grid, denoise)
    nfe, length = evaluations(solver, ts, denoise), len(ts) + (denoise and not solver.denoises)
    cost = "as many network evaluations as it takes" if nfe is None else f"{nfe} network evaluations a sample"
    name, t_max = config["solver"]["name"], model.sde.t_max
    if path.suffix != ".safetensors":
        about.append("the model's process: " + " ".join(f"{key}={value}" for key, value in describe(model.sde).items()))
    about.append(f"sampling {n} of {path} with solver={name} steps={len(ts) - 1}, on {device}: {cost}")
    if rows > n:
        about.append(f"{size} at a time: {rows - n} more than asked for are drawn, and thrown away")
    if ts[0] != t_max:
        about.append(f"the grid starts at t = {ts[0]:.4g}, not at t_max = {t_max:g}: what is left of the data is lost")
    runs = [(first, k, states) for (first, k), states in zip(parts, paths, strict=True)]
    return _Plan(model, runs, n, size, rows, length, nfe, labels, about)


def _draw(plan: _Plan, count: Count, keep: Path | None) -> "tuple[Tensor, list[Tensor], list[float]]":
    """Go along the paths.

    Args:
        plan: what to draw.
        count: is told where a part begins.
        keep: a file for the states of all samples, shape (states, n, ...); None for none.

    Returns:
        The samples, on the CPU; where states are kept, those of the first samples, and their times.

    Raises:
        Diverged: for samples that are not finite.
    """
    import numpy as np
    import torch
    from tqdm import tqdm

    from scoresde.errors import Diverged
    from scoresde.files import whole

    drawn: list[Tensor] = []
    frames: list[Tensor] = []
    clock: list[float] = []
    total, often = plan.length * len(plan.paths), 0.1 if sys.stderr.isatty() else 10
    with ExitStack() as files, tqdm(total=total, unit="step", mininterval=often) as bar:
        kept: Any = None
        for first, k, states in plan.paths:
            count.begin()
            for i, (t, x) in enumerate(states):
                bar.update()
                if keep is None:
                    continue  # and no waiting for the device
                x = x.cpu()
                if kept is None:
                    shape = (plan.length, plan.n, *plan.model.shape)
                    kept = np.lib.format.open_memmap(files.enter_context(whole(keep)), "w+", x.numpy().dtype, shape)
                kept[i, first : first + k] = x.numpy()
                if not drawn:
                    frames.append(x[:64])
                    clock.append(t.item())
            drawn.append(x.cpu())
        kept = None  # unmapped, so that the file is whole
        samples = torch.cat(drawn)
        if not samples.isfinite().all():
            bad = int((~samples.flatten(1).isfinite().all(1)).sum())
            raise Diverged(
                f"{bad} of {plan.n} samples are not finite: more steps or another grid may help, if the model is sound"
            )
    return samples, frames, clock


def _solver(spec: dict[str, Any], tol: float | None) -> "Solver":
    """The solver that is asked for, to a tolerance if one is given.

    Raises:
        InputError: for a tolerance that it does not have.
    """
    from scoresde.registry import build

    if tol is None:
        return cast("Solver", build("solver", spec))
    found = {"tol", "rtol", "atol", "tolerance"} & spec.keys()
    spec.update(dict.fromkeys(found, tol))
    solver: Solver = build("solver", spec)
    if not found or solver.nfe(1) is not None:
        raise InputError(f"tol = {tol}, but {solver!r} steps where the grid says: try solver=adaptive")
    return solver


def _compile(model: "Denoiser", size: int, labels: "Tensor | None") -> float:
    """Compile the network and its scaling, as one graph for batches of one size; the seconds it takes.

    Raises:
        InputError: where it cannot be compiled.
    """
    import torch

    start = time.perf_counter()
    x = torch.zeros(size, *model.shape, device=next(model.parameters()).device)
    cond = None if labels is None else {"label": labels.new_zeros(size)}
    model.eval().forward = torch.compile(model.forward, dynamic=False)  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            model(x, torch.tensor(model.sde.t_max, dtype=torch.float64), cond).x0.sum().item()
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"the network cannot be compiled here ({reason}): try compile=false") from None
    return time.perf_counter() - start
