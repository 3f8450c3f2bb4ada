"""Write another project's checkpoint in scoresde's own format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoresde.cli.command import command, record, version
from scoresde.errors import InputError

__all__ = ["Run", "main", "run"]


@dataclass
class Run:
    """A conversion's keys.

    Args:
        name: the settings are kept under outputs/<name>/<time>/.
        checkpoint: the file or folder to read: score_sde_pytorch .pth, EDM and EDM2 .pkl, ADM .pt, diffusers folders.
        out: the .safetensors file to write; by default beside the settings.
        recipe: the experiment/ recipe by which it was trained, where the checkpoint cannot tell.
        licence: of the weights, as their authors give it: it goes into the file, and is not checked.
    """

    name: str = "convert"
    checkpoint: str | None = None
    out: str | None = None
    recipe: str | None = None
    licence: str | None = None


def main() -> None:
    """The command ``python convert.py`` or ``scoresde-convert``."""
    command("convert", [], ["scoresde.cli.convert:Run"], "scoresde.cli.convert:run")


def run(config: dict[str, Any], folder: Path) -> None:
    """Read, write, and say what it is."""
    from scoresde import __version__
    from scoresde.checkpoint import describe_model, load, save
    from scoresde.store import read_any
    from scoresde.training import CHECKPOINT

    if config["checkpoint"] is None:
        raise InputError("there is nothing to convert: give checkpoint=…")
    path, out = Path(config["checkpoint"]), Path(config["out"] or folder / CHECKPOINT)
    if out.suffix != ".safetensors":
        raise InputError(f"out = {out}, but it must be a .safetensors file")
    if out.exists():
        raise InputError(f"out = {out} exists: choose another, or remove it")
    if path.suffix == ".safetensors" and read_any(path)[1] is not None:
        raise InputError(f"{path} is a checkpoint of scoresde already, with a card that would be lost: copy it")
    model = load(path, recipe=config["recipe"])
    source = {"file": path.name, "sha256": version(path), "recipe": config["recipe"], "licence": config["licence"]}
    save(out, model, {"source": source, "converted": f"scoresde {__version__}"})
    load(out)  # what is written can be read
    record(folder, config)
    card = describe_model(model)
    print(f"read           {path}, SHA-256 {source['sha256']}")
    for what in ("model", "sde", "param"):
        print(f"{what:<15}{' '.join(f'{key}={value}' for key, value in card[what].items())}")
    print(f"parameters     {sum(parameter.numel() for parameter in model.parameters()):,}")
    print(f"range          {card['range'] or 'not known'}")
    print(f"licence        {config['licence'] or 'not given: say licence=… to keep it in the file'}")
    print(f"checkpoint     {out}")
    print(f"next           python sample.py checkpoint={out}")
