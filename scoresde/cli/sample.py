"""Draw samples from a trained model."""

import re
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoresde.cli.calibrate import find
from scoresde.cli.command import command, newest, pick_device, pick_labels, record
from scoresde.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from scoresde.score import Denoiser

__all__ = ["Run", "main", "run"]


@dataclass
class Run:
    """A sampling run's keys.

    Args:
        name: the samples are kept under outputs/<name>/<time>/.
        checkpoint: a model that train.py wrote; by default the newest under outputs/. solver=calibrated finds what
            calibrate.py left beside it.
        n: how many samples; by default 64, or as many as seeds.
        steps: of the grid; by default 50, or as many as grid=explicit has.
        tol: of a solver that chooses its own steps, in the place of its own fields: solver=adaptive tol=1e-2.
        seed: of the random numbers: sample i is a function of (seed, i).
        seeds: samples by name, each the first of its seed: seeds=7, seeds=0-15 or seeds=[0,3,7-9].
        batch: samples at a time, exactly: the last part is padded, so that no bit of a sample depends on the others (on
            a CPU). By default 256 at most, unpadded: samples may then differ by roundings from run to run.
        label: the class of all samples, for a model trained with labels=true; by default all classes in turn.
        denoise: whether to end at t = 0, on the data: a solver that can takes its last step there, any other stops at
            t_min, and one more network evaluation gives E[x_0 | x].
        trajectory: whether to keep the way there: trajectory.gif of the first 64 samples, states.npy and times.npy of
            all.
        compile: whether to compile the network, for many samples or steps; parts are then padded.
        device: auto, cpu, cuda, cuda:1, …
    """

    name: str = "sample"
    checkpoint: str | None = None
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
    """Load, sample, and say where everything is."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from scoresde.checkpoint import load
    from scoresde.cli.pictures import animation, picture
    from scoresde.errors import Diverged
    from scoresde.files import whole
    from scoresde.registry import build
    from scoresde.sampling import evaluations, seats, times, trajectory
    from scoresde.training import CHECKPOINT

    given = config["checkpoint"]
    path = Path(given) if given else newest(CHECKPOINT, "train a model with python train.py, or give checkpoint=…")
    if config["solver"] == {"name": "calibrated", "file": ""}:
        config["solver"]["file"] = str(find(path, config["steps"], config["label"]))
    if config["tol"] is not None:
        _tolerate(config["solver"], config["tol"])
    solver = build("solver", config["solver"])
    if config["tol"] is not None and solver.nfe(1) is not None:
        raise InputError(f"tol = {config['tol']}, but {solver!r} steps where the grid says: try solver=adaptive")
    grid = None if config["grid"] is None else build("grid", config["grid"])
    for key in ("n", "batch"):
        if config[key] is not None and config[key] < 1:
            raise InputError(f"{key} = {config[key]}, but it must be a whole number >= 1")
    if (config["n"] or 0) > 10**6:
        raise InputError(f"n = {config['n']}, but a million is the most at a time: draw the others with another seed")
    seed, n, denoise = config["seed"], config["n"] or 64, config["denoise"]
    numbers: Any = range(seed, seed + n)
    named = config["seeds"] is not None
    if named:
        numbers = _named(config["seeds"])
        if config["n"] not in (None, len(numbers)) or seed:
            key = "seed" if seed else "n"
            raise InputError(
                f"{key} = {config[key]} and seeds = {config['seeds']}, of {len(numbers)}: give one of them"
            )
        n = len(numbers)
    device = pick_device(config["device"])
    model = load(path, device)
    label, classes = config["label"], model.net.classes
    if label is None and classes:
        print(f"the model knows {classes} labels: sample i has label {'seed' if named else 'i'} mod {classes}")
    labels = torch.tensor(pick_labels(label, classes, numbers if named else range(n)), device=device)

    size = config["batch"] or min(n, 256)
    fixed = size if config["batch"] or config["compile"] else None
    parts = [(first, min(size, n - first)) for first in range(0, n, size)]
    rows = n if fixed is None else sum(fixed * len(seats(numbers[i : i + k], fixed)[0]) for i, k in parts)
    paths = [
        trajectory(
            model,
            k,
            solver=solver,
            steps=config["steps"],
            grid=grid,
            seed=numbers[first : first + k] if named else seed,
            cond={"label": labels[first : first + k]} if classes else None,
            denoise=denoise,
            first=0 if named else first,
            batch=fixed,
        )
        for first, k in parts
    ]
    ts = times(model.sde, solver, config["steps"], grid, denoise)
    declared, states = evaluations(solver, ts, denoise), len(ts) + (denoise and not solver.denoises)
    cost = "as many network evaluations as it takes" if declared is None else f"{declared} network evaluations a sample"
    name = config["solver"]["name"]
    print(f"sampling {n} of {path} with solver={name} steps={len(ts) - 1}, on {device}: {cost}")
    if rows > n:
        print(f"{size} at a time: {rows - n} more than asked for are drawn, and thrown away")
    if ts[0] != model.sde.t_max:
        print(
            f"the grid starts at t = {ts[0]:.4g}, not at t_max = {model.sde.t_max:g}: what is left of the data is lost"
        )
    if config["compile"]:
        print(f"compiled       in {_compile(model, size, labels if classes else None):.1f} s")

    counted = 0

    def count(_: Any, arguments: tuple[Any, ...]) -> None:
        nonlocal counted
        counted += len(arguments[0])

    model.register_forward_pre_hook(count)
    drawn: list[Tensor] = []
    frames: list[Tensor] = []
    clock: list[float] = []
    with ExitStack() as files:
        kept: Any = None
        with tqdm(total=states * len(parts), unit="step", mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
            for (first, k), steps in zip(parts, paths, strict=True):
                for i, (t, x) in enumerate(steps):
                    bar.update()
                    if not config["trajectory"]:
                        continue  # and no waiting for the device
                    x = x.cpu()
                    if kept is None:
                        draft = files.enter_context(whole(folder / "states.npy"))
                        shape = (states, n, *model.shape)
                        kept = np.lib.format.open_memmap(draft, "w+", x.numpy().dtype, shape)
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
                f"{bad} of {n} samples are not finite: more steps or another grid may help, if the model is sound"
            )
    record(folder, config)
    arrays = {"samples": samples.numpy()} | ({"times": np.array(clock)} if frames else {})
    for what, array in arrays.items():
        with whole(folder / f"{what}.npy") as draft:
            np.save(draft, array)
    evaluated = counted / rows
    said = "" if declared in (None, evaluated) else f", where {type(solver).__name__} declares {declared}"
    print(f"NFE            {evaluated:.4g} network evaluations a sample{said}")
    print(f"samples        {folder / 'samples.npy'}, {tuple(samples.shape)}")
    if frames:
        print(f"states         {folder / 'states.npy'}, {(len(clock), *samples.shape)}, at the times of times.npy")
    if made := picture(samples[:100], folder / "samples.png", model.range):
        print(f"picture        {made}")
    if frames and (made := animation(frames, clock, folder / "trajectory.gif", model.range)):
        print(f"animation      {made}")


def _tolerate(solver: dict[str, Any], tol: float) -> None:
    """Give a solver's fields a tolerance.

    Raises:
        InputError: for a solver that has none.
    """
    found = {"tol", "rtol", "atol", "tolerance"} & solver.keys()
    if not found:
        raise InputError(f"tol = {tol}, but solver={solver['name']} steps where the grid says: try solver=adaptive")
    solver.update(dict.fromkeys(found, tol))


def _named(given: Any) -> list[int]:
    """The seeds that ``7``, ``0-15`` or ``[0, 3, "7-9"]`` names.

    Raises:
        InputError: for what names none, or more than a million.
    """
    found: list[int] = []
    for part in given if isinstance(given, list) else str(given).split(","):
        low, _, high = str(part).replace(" ", "").partition("-")
        high = high or low
        if not re.fullmatch(r"\d{1,20} \d{1,20}", f"{low} {high}", re.ASCII) or int(low) > int(high):
            raise InputError(f"seeds = {given}, but it must name seeds: seeds=7, seeds=0-15 or seeds=[0,3,7-9]")
        if len(found) + int(high) - int(low) >= 10**6:
            raise InputError(f"seeds = {given}, but it must name a million at most: for more there is n, with one seed")
        found += range(int(low), int(high) + 1)
    if not found:
        raise InputError(f"seeds = {given}, but it must name seeds: seeds=7, seeds=0-15 or seeds=[0,3,7-9]")
    return found


def _compile(model: "Denoiser", size: int, labels: "Tensor | None") -> float:
    """Compile the network for batches of one size; the seconds that it takes.

    Raises:
        InputError: where it cannot be compiled.
    """
    import torch

    start = time.perf_counter()
    x = torch.zeros(size, *model.shape, device=next(model.parameters()).device)
    cond = None if labels is None else {"label": labels.new_zeros(size)}
    model.eval().net.compile(dynamic=False)
    try:
        with torch.no_grad():
            model(x, torch.tensor(model.sde.t_max, dtype=torch.float64), cond).x0.sum().item()
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"the network cannot be compiled here ({reason}): try compile=false") from None
    return time.perf_counter() - start
