"""Make an average of weights of any length out of a run's snapshots."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoresde.cli.command import command, newest, record
from scoresde.errors import InputError

__all__ = ["Run", "main", "run"]


@dataclass
class Run:
    """An average's keys.

    Args:
        name: the settings are kept under outputs/<name>/<time>/.
        checkpoint: of a run that was trained with ema=power; by default the newest model.safetensors under outputs/.
        length: of the average, relative to the training's, in [0.001, 0.28).
        step: where it ends, a step that was saved; by default the checkpoint's.
        out: the .safetensors file to write; by default beside the checkpoint, named after length and step.
    """

    name: str = "ema"
    checkpoint: str | None = None
    length: float = 0.1
    step: int | None = None
    out: str | None = None


def main() -> None:
    """The command ``python ema.py`` or ``scoresde-ema``."""
    command("ema", [], ["scoresde.cli.ema:Run"], "scoresde.cli.ema:run")


def run(config: dict[str, Any], folder: Path) -> None:
    """Read, average, write."""
    from scoresde.checkpoint import save
    from scoresde.posthoc import reconstruct
    from scoresde.training import CHECKPOINT

    given, length = config["checkpoint"], config["length"]
    path = Path(given) if given else newest(CHECKPOINT, "train one with python train.py ema=power")
    end = "" if config["step"] is None else f"-{config['step']}"
    out = Path(config["out"] or path.with_name(f"{path.stem}.ema-{length:g}{end}.safetensors"))
    if out.suffix != ".safetensors" or out.resolve() == path.resolve():
        raise InputError(f"out = {out}, but it must be another .safetensors file than the checkpoint")
    model, step, off = reconstruct(path, length, config["step"])
    save(out, model, {"step": step, "ema": {"length": length}})
    record(folder, config)
    print(f"average        of length {length:g} at step {step}, {off:.1%} from its density")
    print(f"checkpoint     {out}\nnext           python sample.py checkpoint={out}")
