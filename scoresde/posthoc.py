"""An average of weights of any length, made after training of the snapshots that were kept."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scoresde.checkpoint import load
from scoresde.ema.power import Power
from scoresde.errors import InputError
from scoresde.score import Denoiser
from scoresde.store import read

__all__ = ["SNAPSHOTS", "reconstruct", "shares"]

SNAPSHOTS = "snapshots"
"""The folder, in a run's, of the averages that each save keeps."""


def shares(kept: Sequence[tuple[float, float]], wanted: tuple[float, float]) -> tuple[NDArray[np.float64], float]:
    """How much of each kept average is in the one that comes nearest to another, by least squares over time.

    Args:
        kept: (t, γ) of each: an average at step t of density (γ + 1) τ^γ/t^(γ+1) over τ ∈ [0, t].
        wanted: those of the other.

    Returns:
        One number for each, which may be negative; together 1. And how far the sum of the densities lies from the one
        wanted: the root of the integral of the squared difference, as a share of the wanted one's.

    Source: Karras et al. 2024, appendix C.2.
    """
    t, g = np.array([*kept, wanted], dtype=np.float64).T
    early, late = np.minimum(t[:, None], t), np.maximum(t[:, None], t)
    # γ of the later one: the product of the densities is integrated up to the earlier end
    last = np.where(t[:, None] > t, g[:, None], g)
    products = (g[:, None] + 1) * (g + 1) / (g[:, None] + g + 1) * (early / late) ** last / late
    scale = np.sqrt(np.diag(products))[:-1]
    inner = products[:-1, :-1] / np.outer(scale, scale)
    found = np.linalg.lstsq(inner, products[:-1, -1] / scale, rcond=1e-13)[0] / scale
    found /= found.sum()
    difference = np.append(found, -1.0)
    return found, math.sqrt(max(0.0, difference @ products @ difference) / products[-1, -1])


def reconstruct(checkpoint: Path, length: float, step: int | None = None) -> tuple[Denoiser, int, float]:
    """The average of a length, of the snapshots beside a run's checkpoint.

    Args:
        checkpoint: the run's.
        length: in [0.001, 0.28), as of `Power`.
        step: where the average ends, one of the snapshots'; the checkpoint's by default.

    Returns:
        The model, the step, and how far the density of what it is made of lies from the one wanted: the root of the
        integral of the squared difference, as a share of the wanted one's.

    Raises:
        InputError: for a run without snapshots, a step without one, and a length that no density has.
    """
    exponent = Power(length=length, other=0.2 if length != 0.2 else 0.1).exponents()[0]
    model = load(checkpoint)
    folder = checkpoint.parent / SNAPSHOTS
    named = [(path, re.fullmatch(r"step_(\d+)", path.stem)) for path in folder.glob("*.safetensors")]
    files = {int(name[1]): path for path, name in named if name}
    if not files:
        raise InputError(f"{checkpoint.parent} holds no {SNAPSHOTS}: train with ema=power, which keeps them")
    about = read(checkpoint)[1].get("about", {})
    end = about.get("step", max(files)) if step is None else step
    if end not in files:
        raise InputError(f"step = {end} has no snapshot: there are {', '.join(map(str, sorted(files)))}")
    weights = dict(model.net.named_parameters())
    taken = {number: _exponents(files[number], weights) for number in sorted(files) if number <= end}
    kept = [(float(number), gamma) for number, gammas in taken.items() for gamma in gammas]
    share, off = shares(kept, (float(end), exponent))
    left = iter(share.tolist())
    with torch.no_grad():
        sums = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
        for number, gammas in taken.items():
            tensors, _ = read(files[number])
            for i in range(len(gammas)):
                part = next(left)
                for name, total in sums.items():
                    total.add_(tensors[f"{i}.{name}"], alpha=part)
        for name, weight in weights.items():
            weight.copy_(sums[name])
    return model, end, off


def _exponents(file: Path, weights: Mapping[str, Tensor]) -> list[float]:
    """γ of each average in a snapshot, which must be of the network."""
    tensors, card = read(file)
    gammas = card.get("exponents")
    if not isinstance(gammas, list) or not all(isinstance(each, float) and each > 0 for each in gammas):
        raise InputError(f"{file} is no snapshot that ema=power kept: move it away")
    for name, weight in weights.items():
        for i in range(len(gammas)):
            if getattr(tensors.get(f"{i}.{name}"), "shape", None) != weight.shape:
                raise InputError(f"{file} is a snapshot of another network than the checkpoint: move it away")
    return gammas
