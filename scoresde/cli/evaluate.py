"""Measure how far samples are from data."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoresde.cli.command import command, newest, record

__all__ = ["Run", "main", "run"]


@dataclass
class Run:
    """An evaluation's keys.

    Args:
        name: the figures are kept under outputs/<name>/<time>/.
        samples: a samples.npy that sample.py wrote; by default the newest under outputs/.
    """

    name: str = "evaluate"
    samples: str | None = None


def main() -> None:
    """The command ``python evaluate.py`` or ``scoresde-evaluate``."""
    command("evaluate", ["data", "metric"], ["scoresde.cli.evaluate:Run"], "scoresde.cli.evaluate:run")


def run(config: dict[str, Any], folder: Path) -> None:
    """Load, measure, print."""
    import numpy as np
    import torch

    from scoresde.errors import InputError
    from scoresde.files import whole
    from scoresde.registry import build

    given = config["samples"]
    path = Path(given) if given else newest("samples.npy", "draw them with python sample.py, or give samples=…")
    metrics = {name: build("metric", spec) for name, spec in config["metric"].items()}
    data = build("data", config["data"])
    try:
        samples = torch.from_numpy(np.load(path, allow_pickle=False)).float()
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is not an array of samples ({error})") from None
    if tuple(samples.shape[1:]) != data.shape:
        name, shapes = config["data"]["name"], (tuple(samples.shape[1:]), data.shape)
        raise InputError(
            f"{path} holds samples of shape {shapes[0]}, but data={name} has {shapes[1]}: try another data"
        )
    if not samples.isfinite().all():
        raise InputError(f"{path} holds numbers that are not finite")
    source = data.load()
    truth = source.take(torch.arange(len(source)))
    print(f"{len(samples)} samples of {path} against data={config['data']['name']}, {len(truth.x)} of it\n")
    figures: dict[str, float] = {}
    for name, metric in metrics.items():
        try:
            found = metric(samples, truth)
        except InputError as error:
            print(f"  {name} is left out: {error}")
            continue
        figures |= found
        for what, value in found.items():
            print(f"  {what:<60}{value:>10.4g}", flush=True)
    if not figures:
        raise InputError("no metric could be measured")
    record(folder, config)
    with whole(folder / "metrics.json") as draft:
        draft.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"\nfigures        {folder / 'metrics.json'}")
