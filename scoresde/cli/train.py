"""Train a score network."""

import csv
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from scoresde.cli.command import command, one_line, pick_device, rank, record

__all__ = ["Run", "main", "run"]


@dataclass
class Run:
    """A training run's other keys.

    Args:
        name: the run is kept under outputs/<name>/<time>/.
        resume: the folder of a run to go on with, or last; its configuration holds but for what is given anew.
        preview_every: steps between sample previews; 0 for none.
        tensorboard: whether to log for TensorBoard too (pip install "scoresde[log]").
        device: auto, cpu, cuda, cuda:1, …
    """

    name: str = "train"
    resume: str | None = None
    preview_every: int = 1_000
    tensorboard: bool = False
    device: str = "auto"


def main() -> None:
    """The command ``python train.py`` or ``scoresde-train``."""
    with one_line("train"):
        sys.argv[1:] = _resumed(sys.argv[1:])
        if rank() > 0:  # one run, one folder: the first process's
            sys.argv[1:] = [*(a for a in sys.argv[1:] if not a.startswith("hydra.run.dir=")), "hydra.run.dir=."]
    command(
        "train",
        ["sde", "model", "param", "loss", "data", "ema"],
        ["scoresde.training:Training", "scoresde.cli.train:Run"],
        "scoresde.cli.train:run",
    )


def run(config: dict[str, Any], folder: Path) -> None:
    """Build, train, and say where everything is."""
    import torch
    from tqdm import tqdm

    from scoresde.cli.pictures import picture
    from scoresde.errors import InputError
    from scoresde.plot import loss_curve
    from scoresde.registry import build
    from scoresde.sampling import sample
    from scoresde.score import Denoiser
    from scoresde.store import read
    from scoresde.training import CHECKPOINT, RESUME, Training, fit

    how = Training(**{f.name: config[f.name] for f in fields(Training)})
    if config["preview_every"] < 0:
        raise InputError(f"preview_every = {config['preview_every']}, but it must be a whole number >= 0")
    device = pick_device(config["device"])
    sde, param, loss, data, ema = (build(group, config[group]) for group in ("sde", "param", "loss", "data", "ema"))
    torch.manual_seed(how.seed)
    net = build("model", config["model"], shape=data.shape, classes=data.classes if how.labels else 0)
    model = Denoiser(net, sde, param, data.range).to(device)
    samples = data.load()
    if config["resume"] and rank() == 0:
        _same_run(folder, config)
    progress = fit(model, samples, loss, how, folder, ema=ema, resume=bool(config["resume"]))
    if rank() > 0:
        for _ in progress:
            pass
        return
    done = read(folder / RESUME)[1]["step"] if config["resume"] else 0
    board = _board(folder) if config["tensorboard"] else None
    count = sum(p.numel() for p in net.parameters())
    names = {group: config[group]["name"] for group in ("sde", "model", "param", "loss", "data")}
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    where = f"{device.partition(':')[0]}, {ranks} processes" if ranks > 1 else device
    print(f"training {' '.join(f'{k}={v}' for k, v in names.items())}: {count:,} parameters, on {where}, in {folder}")

    rows = _Log(folder / "loss.csv", keep=done)
    label = torch.arange(16, device=device) % data.classes if how.labels else None
    with tqdm(total=how.steps, initial=done, unit="step", mininterval=1 if sys.stderr.isatty() else 10) as bar:
        for now in progress:
            if now.step == done + 1:
                record(folder, config)  # the first step went well: the run exists
            rows.add(now.step, now.loss, now.gradient, now.lr)
            bar.update()
            if now.step % 20 == 0 or now.step == how.steps:
                bar.set_postfix(loss=f"{rows.recent():.4f}", refresh=False)
                if board is not None:
                    board.add_scalar("loss", rows.recent(), now.step)
                    board.add_scalar("gradient norm", now.gradient, now.step)
                    board.add_scalar("learning rate", now.lr, now.step)
            if config["preview_every"] and now.step % config["preview_every"] == 0 and now.step < how.steps:
                cond = None if label is None else {"label": label}
                shown = sample(now.average, 16, steps=18, seed=how.seed, cond=cond)
                picture(shown, folder / "previews" / f"step_{now.step:07d}.png", data.range)
    rows.close()
    if board is not None:
        board.close()
    curve = loss_curve(rows.steps, rows.losses, folder / "loss.png")
    print(f"checkpoint     {folder / CHECKPOINT}\nloss curve     {curve}")
    print(f"next           python sample.py checkpoint={folder / CHECKPOINT}")


def _same_run(folder: Path, config: dict[str, Any]) -> None:
    """Refuse to go on with a run under another name: other data, another loss, other draws."""
    from scoresde.errors import InputError

    kept = folder / "train.config.yaml"
    before = yaml.safe_load(kept.read_text(encoding="utf-8")) if kept.is_file() else None
    for key in ("data", "loss", "labels", "flip", "dequantize", "batch", "seed", "ema"):
        if isinstance(before, dict) and before.get(key) != config[key]:
            was, asked = before.get(key), config[key]
            raise InputError(f"cannot resume {folder}: it was trained with {key} = {was}, not {asked}; start a new run")


class _Log:
    """loss.csv: one row a step, on disk as it happens."""

    def __init__(self, path: Path, keep: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = list(csv.reader(path.open(encoding="utf-8")))[1:] if keep and path.exists() else []
        before = [row for row in before if len(row) == 4 and int(row[0]) <= keep]
        self.steps, self.losses = [int(row[0]) for row in before], [float(row[1]) for row in before]
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerows([["step", "loss", "gradient", "lr"], *before])

    def add(self, step: int, loss: float, gradient: float, lr: float) -> None:
        self.steps.append(step)
        self.losses.append(loss)
        self._rows.writerow([step, f"{loss:.6g}", f"{gradient:.6g}", f"{lr:.6g}"])
        if step % 50 == 0:
            self._file.flush()

    def recent(self) -> float:
        """The mean of the last hundred losses: one step's is mostly noise."""
        last = self.losses[-100:]
        return sum(last) / len(last)

    def close(self) -> None:
        self._file.close()


def _board(folder: Path) -> Any:
    from scoresde.errors import InputError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            'tensorboard=true needs TensorBoard: pip install "scoresde[log]", or tensorboard=false'
        ) from None
    return SummaryWriter(str(folder / "tensorboard"))


def _resumed(arguments: list[str]) -> list[str]:
    """With resume=FOLDER, or resume=last, the overrides that made the run come first, and it goes on in its folder."""
    given = next((a.removeprefix("resume=") for a in arguments if a.startswith("resume=")), "")
    if given in ("", "null"):
        return arguments
    folder = Path(given)
    if given == "last":
        runs = sorted(Path("outputs").rglob("resume.safetensors"), key=lambda path: path.stat().st_mtime)
        folder = runs[-1].parent if runs else folder
    kept = folder / "train.overrides.yaml"
    # without it there is nothing to resume, as reading the checkpoint then says
    before = [str(o) for o in yaml.safe_load(kept.read_text(encoding="utf-8")) or []] if kept.is_file() else []
    changed = {a.partition("=")[0] for a in arguments}
    return [*(o for o in before if o.partition("=")[0] not in changed), *arguments, f"hydra.run.dir={folder}"]
