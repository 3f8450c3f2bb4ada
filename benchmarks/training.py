"""What a training step costs, and what settings change: the demo's network, a step's time against the plain one's.

    python benchmarks/training.py                                       on one process, with every setting in turn
    torchrun --standalone --nproc_per_node=2 benchmarks/training.py     by two processes

Settings take turns, and the shortest time over several steps of each counts. "waiting" is the share of its time for
which a loop waits for data: digits in memory, and as PNG files in a folder.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from scoresde import batches
from scoresde.data.base import Samples, Source
from scoresde.data.digits import Digits
from scoresde.data.folder import Folder
from scoresde.registry import build
from scoresde.score import Denoiser
from scoresde.training import Training, fit

PLAIN = Training(steps=10**6, batch=64, save_every=10**6)
SETTINGS = {"bf16": {"precision": "bf16"}, "compile": {"compile": True}, "accumulate=4": {"accumulate": 4}}


def network(device: str) -> Denoiser:
    """The demo's."""
    torch.manual_seed(0)
    sizes = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "dropout": 0.0}
    net = build("model", {"name": "ncsnpp", **sizes}, shape=(1, 8, 8), classes=0)
    return Denoiser(net, build("sde", "vp"), build("param", "edm"), (-1.0, 1.0)).to(device)


def files(folder: Path) -> Source:
    """The digits as PNG files."""
    pixels = ((Digits().load().take(torch.arange(1797)).x[:, 0] + 1) * 127.5).round().to(torch.uint8)
    for i, image in enumerate(pixels.numpy()):
        Image.fromarray(image).save(folder / f"{i:04}.png")
    return Folder(str(folder), mode="L").load()


def waiting(data: Source, folder: str, device: str, steps: int) -> float:
    """The share of the loop's time that it waits for data."""
    spent = 0.0
    read = batches.Batches.read

    def timed(*arguments: object) -> Iterator[tuple[int, Samples]]:
        nonlocal spent
        found = read(*arguments)  # type: ignore[arg-type]
        while True:
            begun = time.perf_counter()
            batch = next(found)
            spent += time.perf_counter() - begun
            yield batch

    batches.Batches.read = timed  # type: ignore[method-assign, assignment]
    try:
        run = fit(network(device), data, build("loss", "dsm"), PLAIN, folder)
        for _ in range(5):
            next(run)
        spent, begun = 0.0, time.perf_counter()
        for _ in range(steps):
            next(run)
        return spent / (time.perf_counter() - begun)
    finally:
        batches.Batches.read = read  # type: ignore[method-assign]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=3, help="at a turn")
    parser.add_argument("--turns", type=int, default=4)
    chosen = parser.parse_args()
    ranks, first = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0") == "0"
    data, loss = Digits().load(), build("loss", "dsm")
    settings = {"plain": {}} | (SETTINGS if ranks == 1 else {})
    with tempfile.TemporaryDirectory() as name:
        runs = {
            kind: fit(network(chosen.device), data, loss, replace(PLAIN, **fields), name)
            for kind, fields in settings.items()
        }
        least = dict.fromkeys(runs, float("inf"))
        for turn in range(chosen.turns + 1):
            for kind, run in runs.items():
                begun = time.perf_counter()
                for _ in range(chosen.steps):
                    next(run)
                if turn:  # the first warms up
                    least[kind] = min(least[kind], (time.perf_counter() - begun) / chosen.steps)
        if first:
            print(
                f"torch {torch.__version__}, {chosen.device}, {ranks} processes, {torch.get_num_threads()} threads each"
            )
            for kind, seconds in least.items():
                print(f"{kind:<14}{1e3 * seconds:7.1f} ms a step of 64, {seconds / least['plain']:.2f} of plain's")
        if ranks == 1:
            for kind, source in (("in memory", data), ("PNG files", files(Path(name)))):
                print(f"waiting for data {kind}: {waiting(source, name, chosen.device, 60):.2%} of the time")


if __name__ == "__main__":
    main()
