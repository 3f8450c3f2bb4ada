"""Draw samples from a trained model."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoresde.cli.command import command, newest, pick_device, record

__all__ = ["Run", "main", "run"]


@dataclass
class Run:
    """A sampling run's keys.

    Args:
        name: the samples are kept under outputs/<name>/<time>/.
        checkpoint: a model that train.py wrote; by default the newest under outputs/.
        n: how many samples.
        steps: steps of the solver.
        seed: of the random numbers.
        batch: samples at a time: as many as memory holds.
        label: the class of all samples, for a model trained with labels=true; by default all classes in turn.
        denoise: whether to end with the denoised E[x_0 | x] at t_min.
        animate: whether to make trajectory.gif.
        device: auto, cpu, cuda, cuda:1, …
    """

    name: str = "sample"
    checkpoint: str | None = None
    n: int = 64
    steps: int = 50
    seed: int = 0
    batch: int = 256
    label: int | None = None
    denoise: bool = True
    animate: bool = True
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
    from scoresde.errors import Diverged, InputError
    from scoresde.files import whole
    from scoresde.registry import build
    from scoresde.sampling import trajectory
    from scoresde.training import CHECKPOINT

    given = config["checkpoint"]
    path = Path(given) if given else newest(CHECKPOINT, "train a model with python train.py, or give checkpoint=…")
    solver, grid = build("solver", config["solver"]), build("grid", config["grid"])
    for key in ("n", "batch"):
        if config[key] < 1:
            raise InputError(f"{key} = {config[key]}, but it must be a whole number >= 1")
    device = pick_device(config["device"])
    model = load(path, device)
    label, classes = config["label"], model.net.classes
    if label is None and classes:
        print(f"the model knows {classes} labels: sample i has label i mod {classes}")
    if label is not None and not 0 <= label < classes:
        has = f"labels 0 to {classes - 1}" if classes else "no labels: train with labels=true"
        raise InputError(f"label = {label}, but the model has {has}")

    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    model.net.register_forward_pre_hook(count)
    n, batch = config["n"], config["batch"]
    drawn: list[Any] = []
    frames: list[Any] = []
    times: list[float] = []
    labels = (
        torch.arange(n, device=device) % max(classes, 1) if label is None else torch.full((n,), label, device=device)
    )
    parts = [(first, min(batch, n - first)) for first in range(0, n, batch)]
    paths = [
        trajectory(
            model,
            size,
            solver=solver,
            steps=config["steps"],
            grid=grid,
            seed=config["seed"],
            cond={"label": labels[first : first + size]} if classes else None,
            denoise=config["denoise"],
            first=first,
        )
        for first, size in parts
    ]
    print(f"sampling {n} of {path} with solver={config['solver']['name']} steps={config['steps']}, on {device}")
    total = (config["steps"] + 1 + config["denoise"]) * len(parts)
    with tqdm(total=total, unit="step", mininterval=0.1 if sys.stderr.isatty() else 10) as bar:
        for steps in paths:
            for t, x in steps:
                bar.update()
                if config["animate"] and not drawn:
                    frames.append(x[:64].cpu())
                    times.append(t.item())
            drawn.append(x.cpu())
    samples = torch.cat(drawn)
    if not samples.isfinite().all():
        bad = int((~samples.flatten(1).isfinite().all(1)).sum())
        raise Diverged(
            f"{bad} of {n} samples are not finite: more steps or another grid may help, if the model is sound"
        )
    record(folder, config)
    with whole(folder / "samples.npy") as draft:
        np.save(draft, samples.numpy())
    print(f"NFE            {calls // len(parts)} network evaluations a sample")
    print(f"samples        {folder / 'samples.npy'}, {tuple(samples.shape)}")
    if made := picture(samples[:100], folder / "samples.png", model.range):
        print(f"picture        {made}")
    if frames and (made := animation(frames, times, folder / "trajectory.gif", model.range)):
        print(f"animation      {made}")
