"""Fit a solver's grid and weights to a trained model."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoresde.cli.command import command, newest, pick_device, pick_labels, record, version
from scoresde.errors import InputError

__all__ = ["Run", "find", "main", "run"]


@dataclass
class Run:
    """A calibration's keys.

    Args:
        name: the settings are kept under outputs/<name>/<time>/, the calibration itself beside the checkpoint.
        checkpoint: a model that train.py wrote, by default the newest under outputs/; or another project's.
        recipe: the experiment/ recipe by which another project's was trained, where it cannot tell.
        steps: network evaluations that solver=calibrated will take, 2 to 40: another calibration for each number.
        paths: of the model, to fit to and to measure on, 50 at least.
        rank: at most so many principal directions of the data have weights of their own.
        seed: of the paths.
        batch: paths that the network sees at once.
        label: the class of all paths, for a model trained with labels=true; by default all classes in turn.
        device: auto, cpu, cuda, cuda:1, …
    """

    name: str = "calibrate"
    checkpoint: str | None = None
    recipe: str | None = None
    steps: int = 8
    paths: int = 512
    rank: int = 64
    seed: int = 0
    batch: int = 256
    label: int | None = None
    device: str = "auto"


def main() -> None:
    """The command ``python calibrate.py`` or ``scoresde-calibrate``."""
    command("calibrate", [], ["scoresde.cli.calibrate:Run"], "scoresde.cli.calibrate:run")


def run(config: dict[str, Any], folder: Path) -> None:
    """Load, fit, and say what it is worth."""
    import torch
    from tqdm import tqdm

    from scoresde.calibration import calibrate
    from scoresde.checkpoint import load
    from scoresde.training import CHECKPOINT

    given = config["checkpoint"]
    path = Path(given) if given else newest(CHECKPOINT, "train a model with python train.py, or give checkpoint=…")
    steps, paths, device = config["steps"], config["paths"], pick_device(config["device"])
    model = load(path, device, config["recipe"])
    classes, about = model.net.classes, {"checkpoint": version(path), "label": config["label"]}
    labels = torch.tensor(pick_labels(config["label"], classes, range(paths)), device=device)
    file = _beside(path, steps)
    often = 0.1 if sys.stderr.isatty() else 10
    with tqdm(unit="evaluation", unit_scale=True, mininterval=often, delay=0.1) as bar:

        def show(seen: int, total: int) -> None:
            if bar.total is None:  # what is refused was refused before the first evaluation
                if config["label"] is None and classes:
                    print(f"the model knows {classes} labels: path i has label i mod {classes}")
                print(f"calibrating {path} for {steps} network evaluations a sample, on {device}")
            bar.total = total
            bar.update(seen - bar.n)

        how = {key: config[key] for key in ("paths", "rank", "seed", "batch")}
        cond = {"label": labels} if classes else None
        _, report = calibrate(model, steps, file, **how, cond=cond, about=about, progress=show)
    record(folder, config)
    print(f"\nRMS distance to the ends of accurate paths, over {paths - 4 * paths // 5} paths that took no part\n")
    print(f"  {'':<24}{'RMS':>12}{'median':>12}{'95 % within':>14}")
    rows = {"calibrated": report.fitted, "default solver": report.default, "accurate paths": report.reference}
    for what, found in rows.items():
        print(f"  {what:<24}{found.rms:>12.3g}{found.median:>12.3g}{found.most:>14.3g}")
    print("\naccurate paths: by the distance to paths of half as many steps")
    if report.fitted.median < 3 * report.reference.median:
        print("the accurate paths are hardly more accurate than the calibration: it may be better than it looks")
    if report.helps:
        print(f"it helps: the median is {report.fitted.median / report.default.median:.2g} of the default solver's")
    else:
        print("it does not help: the default solver is no farther off, and it is what the file holds")
    print(f"calibration    {file}")
    recipe = f" recipe={config['recipe']}" if config["recipe"] else ""
    print(f"next           python sample.py solver=calibrated steps={steps} checkpoint={path}{recipe}")


def find(checkpoint: Path, steps: int | None, label: int | None) -> tuple[Path, list[str]]:
    """The calibration beside a checkpoint, and what is to be said of it.

    Args:
        checkpoint: the model's file.
        steps: of the solver; None where there is but one calibration.
        label: the class of all samples, None for several.

    Raises:
        InputError: where there is none, or one of another version of the checkpoint, saying how to make it.
    """
    from scoresde.store import read

    if not checkpoint.exists():
        raise InputError(f"there is no checkpoint {checkpoint}: train one with python train.py, or give checkpoint=…")
    name = re.compile(rf"{re.escape(checkpoint.stem)}\.calibrated-([1-9]\d*)\.safetensors")
    there = sorted(int(found[1]) for file in checkpoint.parent.iterdir() if (found := name.fullmatch(file.name)))
    steps = there[0] if steps is None and len(there) == 1 else steps
    make = f"python calibrate.py checkpoint={checkpoint} steps={steps or 8}"
    if steps not in there:
        which = f"there are those for steps = {', '.join(map(str, there))}" if there else "there is none for any"
        wanted = "whose steps are not said" if steps is None else f"for steps = {steps}"
        raise InputError(f"{checkpoint} has no calibration {wanted}, {which}: make it with {make}")
    file = _beside(checkpoint, steps)
    match read(file)[1]:
        case {"about": {"checkpoint": str(made_for)}} if made_for != version(checkpoint):
            raise InputError(f"{file} was made for another version of {checkpoint}: make it anew with {make}")
        case {"about": {"label": int(made)}} if made != label:
            return file, [f"{file} was made for label {made}: on others it is less accurate"]
    return file, []


def _beside(checkpoint: Path, steps: int) -> Path:
    return checkpoint.with_name(f"{checkpoint.stem}.calibrated-{steps}.safetensors")
