"""What a calibration fits and a file keeps: the steps of a multistep method, for one model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import InputError
from scoresde.registry import describe
from scoresde.sde.base import GaussianSDE
from scoresde.store import read, write

__all__ = ["Calibration", "Normal"]


@dataclass(frozen=True, eq=False)
class Normal:
    """A normal law of the data, N(m, Σ_j v_j u_j u_jᵀ + v_rest (I − Σ_j u_j u_jᵀ)), of which the flow is exact.

    Args:
        mean: m, shape (D,).
        basis: rows u_j, orthonormal, shape (r, D).
        variances: v_j and last v_rest, shape (r + 1,).
    """

    mean: Tensor
    basis: Tensor
    variances: Tensor

    def keep(self, sigma: float, after: float) -> Tensor:
        """√((v + σ̂_s²)/(v + σ̂²)): what the flow does to x̂ − m in each direction, shape (r + 1,)."""
        return ((self.variances + after**2) / (self.variances + sigma**2)).sqrt()

    def share(self, sigma: float) -> Tensor:
        """v/(v + σ̂²): what x_0 − m is expected to be of x̂ − m in each direction, shape (r + 1,)."""
        return self.variances / (self.variances + sigma**2)

    @staticmethod
    def of(x: Tensor, rank: int) -> "Normal":
        """The law with the mean, the leading principal directions and the total variance of data, shape (n, D)."""
        mean = x.mean(0)
        _, singular, basis = torch.linalg.svd(x - mean, full_matrices=False)
        size = x.shape[1]
        rank = min(rank, size, len(x) // 4)
        variances = singular**2 / (len(x) - 1)
        rest = variances[rank:].sum() / max(size - rank, 1)
        least = 1e-6 * variances.sum() / size  # a direction without variance has no flow to be exact on
        return Normal(mean, basis[:rank], torch.cat([variances[:rank], rest[None]]).clamp(min=float(least)))


@dataclass(frozen=True, eq=False)
class Calibration:
    """A grid, and the weights of a multistep method on it.

    Args:
        process: of the model, as `describe` has it.
        shape: of one sample.
        times: shape (steps + 1,), float64, the last 0.
        normal: the law of which the steps are exact.
        weights: of the last predictions' excess over the normal law's, the newest first, in each of its directions:
            shape (steps, most, r + 1).
    """

    process: dict[str, Any]
    shape: tuple[int, ...]
    times: Tensor
    normal: Normal
    weights: Tensor

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """Write it, whole or not at all, in float32 but for the times."""
        parts = {**vars(self.normal), "weights": self.weights}
        tensors = {"times": self.times} | {name: part.float() for name, part in parts.items()}
        write(path, tensors, {"calibration": self.process, "shape": list(self.shape), "about": about})

    @staticmethod
    def load(path: str | Path) -> "Calibration":
        """Read one.

        Raises:
            InputError: for a file that is missing, or is no calibration.
        """
        if not Path(path).is_file():
            raise InputError(f"there is no calibration {path}: make one with python calibrate.py checkpoint=… steps=…")
        tensors, card = read(path)
        try:
            shape = tuple(card["shape"])
            parts = {name: tensors[name].double() for name in ("times", "mean", "basis", "variances", "weights")}
            normal = Normal(parts["mean"], parts["basis"], parts["variances"])
            found = Calibration(card["calibration"], shape, parts["times"], normal, parts["weights"])
            steps, rank, size = len(found.times) - 1, len(normal.basis), torch.Size(shape).numel()
            fits = (
                steps > 0
                and isinstance(card["shape"], list)
                and all(type(n) is int and n > 0 for n in shape)
                and all(tensors[name].is_floating_point() for name in parts)
                and (found.times.ndim, normal.basis.ndim) == (1, 2)
                and all(bool(part.isfinite().all()) for part in parts.values())
                and bool((found.times.diff() < 0).all())
                and found.times[-1] == 0
                and found.weights.ndim == 3
                and found.weights.shape[1] > 0
                and (found.weights.shape[0], found.weights.shape[2]) == (steps, rank + 1)
                and normal.mean.shape == (size,)
                and normal.basis.shape == (rank, size)
                and normal.variances.shape == (rank + 1,)
                and bool((normal.variances > 0).all())
                and torch.allclose(normal.basis @ normal.basis.mT, torch.eye(rank, dtype=torch.float64), atol=1e-3)
            )
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise InputError(f"{path} is no calibration: {error!r}") from None
        if not fits:
            raise InputError(f"{path} is no calibration: its tensors are none, or do not fit each other")
        return found

    def check(self, process: GaussianSDE, shape: tuple[int, ...]) -> None:
        """Refuse a model of another process or shape.

        Raises:
            InputError: naming both.
        """
        if describe(process) != self.process:
            raise InputError(f"the calibration is of {self.process}, but the model's process is {describe(process)}")
        if tuple(shape) != self.shape:
            raise InputError(f"the calibration is of data of shape {self.shape}, but the model's is {tuple(shape)}")
