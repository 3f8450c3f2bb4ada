"""The benchmark's problems: laws whose probability flow is known to ten digits, and where its paths start.

`PROBLEMS` holds six. Four may be tuned on, two may not (``held_out``). In x̂ = x/α and σ̂ = s/α the flow of every
Gaussian process is the same, dx̂/dσ̂ = ε, so one reference serves them all; a process says only where it starts.

    python benchmarks/problems.py        solves all of them and prints how far two references are apart
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.fft import idctn
from scipy.integrate import solve_ivp
from sklearn.covariance import LedoitWolf
from torch import Tensor

from scoresde.analytic import GaussianMixture
from scoresde.data.digits import Digits
from scoresde.sde.base import GaussianSDE
from scoresde.sde.edm import EDM
from scoresde.sde.ve import VE
from scoresde.sde.vp import VP

__all__ = ["PROBLEMS", "PROCESSES", "Problem", "problem", "sigma"]

F64 = torch.float64
PROCESSES: dict[str, GaussianSDE] = {"vp": VP(), "ve": VE(), "edm": EDM()}
_CLOCK = EDM(t_min=1e-9, t_max=1e4)  # α = 1 and s = t: the flow in x̂ and σ̂
_ZERO = 1e-8  # where the reference stops: the flow is smooth in σ̂², so that the rest is of the order of 1e-16
_CACHE = Path(os.environ.get("SCORESDE_BENCHMARK_CACHE", "outputs/benchmark"))

Law = tuple[Tensor, Tensor]
"""Means (K, D) and covariances (K,), (K, D) or (K, D, D)."""


@dataclass(frozen=True)
class Problem:
    """A mixture of Gaussians, the starting points of its paths and their end points.

    Args:
        name, title: in a file, and in a picture.
        law: makes the mixture.
        points: how many paths are compared.
        held_out: whether nothing may be tuned on it.
    """

    name: str
    title: str
    law: Callable[[], Law]
    points: int
    held_out: bool = False

    @cached_property
    def mixture(self) -> Law:
        """Means and covariances, float64."""
        means, covs = self.law()
        return means.to(F64), covs.to(F64)

    @cached_property
    def exact(self) -> GaussianMixture:
        """The exact model in x̂ and σ̂: α = 1, and time is the deviation of the noise, from 1e-9 to 1e4."""
        return GaussianMixture(_CLOCK, *self.mixture)

    def model(self, process: GaussianSDE) -> GaussianMixture:
        """The exact model under a process, float64."""
        return GaussianMixture(process, *self.mixture)

    def draw(self, n: int, deviation: float, seed: int) -> Tensor:
        """Samples of x̂ where the noise has this deviation, shape (n, D)."""
        means, covs = (a.numpy() for a in self.mixture)
        rng = np.random.default_rng([seed, 20260])
        k = rng.integers(len(means), size=n)
        z, noise = rng.standard_normal((2, n, means.shape[1]))
        if covs.ndim == 3:
            z = np.einsum("nij,nj->ni", np.linalg.cholesky(covs + 1e-14 * np.eye(means.shape[1]))[k], z)
        else:
            z = np.sqrt(covs[k] if covs.ndim == 2 else covs[k, None]) * z
        return torch.from_numpy(means[k] + z + deviation * noise)

    def flow(self, x: Tensor, start: float, stops: Sequence[float], tolerance: float = 1e-13) -> list[Tensor]:
        """The exact flow of x̂ from one σ̂ to others.

        A single Gaussian has it in closed form. A mixture is integrated by an eighth-order method in
        ½ log(σ̂² + c²), where the flow is smooth down to σ̂ = 0.

        Args:
            x: states at `start`, shape (n, D).
            start: σ̂ there.
            stops: σ̂ of the states wanted, falling; 0 is the data.
            tolerance: of the integration, relative and absolute.

        Returns:
            The states, shape (n, D) each.
        """
        means, covs = self.mixture
        if len(means) == 1:
            assert covs.ndim == 2, "a single Gaussian comes in its eigenbasis"
            wide = covs + start**2
            return [means + ((covs + stop**2) / wide).sqrt() * (x - means) for stop in stops]
        least = torch.linalg.eigvalsh(covs).min() if covs.ndim == 3 else covs.min()
        c_squared = float(least.clamp(min=1e-4))

        def slope(s: float, y: np.ndarray) -> np.ndarray:
            level = max(np.exp(2 * s) - c_squared, _ZERO**2) ** 0.5
            eps = self.exact(torch.from_numpy(y).reshape(x.shape), torch.tensor(level, dtype=F64)).eps
            return (eps * ((level**2 + c_squared) / level)).numpy().ravel()

        ends = [0.5 * np.log(max(level, _ZERO) ** 2 + c_squared) for level in (start, *stops)]
        found = solve_ivp(
            slope, (ends[0], ends[-1]), x.numpy().ravel(), "DOP853", ends[1:], rtol=tolerance, atol=tolerance
        )
        assert found.success, found.message
        return [torch.from_numpy(y.copy()).reshape(x.shape) for y in found.y.T]

    def paths(self, process: GaussianSDE) -> tuple[Tensor, Tensor]:
        """Where the benchmark's paths start and where the exact flow ends.

        All processes have the same paths, of the law at the largest σ̂ of `PROCESSES`.

        Returns:
            x at t_max, of the exact law p_{t_max}, and the data at σ̂ = 0: shape (points, D) each, float64.
        """
        tops = sorted({sigma(p, p.t_max) for p in PROCESSES.values()}, reverse=True)
        digest = hashlib.sha256(b"".join(a.numpy().tobytes() for a in self.mixture)).hexdigest()
        file = _CACHE / f"{self.name}-{digest[:8]}.npz"  # another law is another file
        if not file.exists():
            first = self.draw(self.points, tops[0], seed=0)
            states = [first, *self.flow(first, tops[0], [*tops[1:], 0.0])]
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, states=torch.stack(states).numpy(), sigmas=[*tops, 0.0])
        with np.load(file) as kept:
            states, levels = torch.from_numpy(kept["states"]), kept["sigmas"]
        top = sigma(process, process.t_max)
        alpha = process.alpha(torch.tensor(process.t_max, dtype=F64))
        (i,) = np.flatnonzero(np.isclose(levels, top, rtol=1e-12))
        return alpha * states[i], states[-1]


def sigma(process: GaussianSDE, t: float) -> float:
    """σ̂ = s/α of a process at a time."""
    return float((-process.log_snr(torch.tensor(t, dtype=F64)) / 2).exp())


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _rotations(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return np.stack([np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(count)])


def _plane() -> Law:
    """Six tilted ellipses."""
    rng = _rng(1)
    means = 1.2 * rng.uniform(-1, 1, (6, 2))
    widths = np.exp(rng.uniform(np.log(0.05), np.log(0.4), (6, 2)))
    turn = _rotations(rng, 6, 2)
    return torch.from_numpy(means), torch.from_numpy(np.einsum("kij,kj,klj->kil", turn, widths**2, turn))


def _digits() -> Law:
    """One Gaussian for each class, with the shrunk covariance of Ledoit & Wolf 2004."""
    data = Digits().load()
    classes = [data.x.flatten(1)[data.label == k].double().numpy() for k in range(10)]
    fits = [LedoitWolf().fit(rows) for rows in classes]
    return (
        torch.from_numpy(np.stack([fit.location_ for fit in fits])),
        torch.from_numpy(np.stack([fit.covariance_ for fit in fits])),
    )


def _spectrum() -> Law:
    """Variances ∝ 1/i in the eigenbasis, as natural images have them, 0.25 on average."""
    variances = 1 / torch.arange(1, 3073, dtype=F64)
    return torch.zeros(1, 3072, dtype=F64), (0.25 * variances / variances.mean())[None]


def _fields(rng: np.random.Generator, count: int, cutoff: float) -> np.ndarray:
    """Smooth random fields of 3×32×32 of unit variance, shape (count, 3072)."""
    frequency = np.hypot(*np.meshgrid(np.arange(32), np.arange(32)))
    rough = rng.standard_normal((count, 3, 32, 32)) / (1 + (frequency / cutoff) ** 2)
    smooth = idctn(rough, axes=(2, 3), norm="ortho").reshape(count, -1)
    return (smooth - smooth.mean(1, keepdims=True)) / smooth.std(1, keepdims=True)


def _images() -> Law:
    """Ten smooth pictures, each with a smooth picture of its own of how much pixels vary."""
    rng = _rng(4)
    means = 0.5 * _fields(rng, 10, 3)
    widths = 0.15 * np.exp(0.5 * _fields(rng, 10, 2))
    return torch.from_numpy(means), torch.from_numpy(widths**2)


def _scales() -> Law:
    """Five components whose axes are from 0.01 to 3 long."""
    rng = _rng(5)
    means = rng.standard_normal((5, 16))
    widths = np.exp(rng.uniform(np.log(0.01), np.log(3), (5, 16)))
    turn = _rotations(rng, 5, 16)
    return torch.from_numpy(means), torch.from_numpy(np.einsum("kij,kj,klj->kil", turn, widths**2, turn))


def _planes() -> Law:
    """Eight planes of eight dimensions, with a little noise around them."""
    rng = _rng(6)
    means = 0.3 * rng.standard_normal((8, 256))
    spans = rng.standard_normal((8, 256, 8)) * np.linspace(0.04, 0.3, 8)
    covs = np.einsum("kir,kjr->kij", spans, spans) + 0.03**2 * np.eye(256)
    return torch.from_numpy(means), torch.from_numpy(covs)


PROBLEMS = [
    Problem("plane", "mixture of 6, 2-D", _plane, 256),
    Problem("digits", "digits, 64-D", _digits, 256),
    Problem("spectrum", "power-law Gaussian, 3,072-D", _spectrum, 64),
    Problem("images", "mixture of 10, 3,072-D", _images, 32),
    Problem("scales", "unequal scales, 16-D (held out)", _scales, 256, held_out=True),
    Problem("planes", "low rank and noise, 256-D (held out)", _planes, 64, held_out=True),
]


def problem(name: str) -> Problem:
    """The problem of a name."""
    return next(p for p in PROBLEMS if p.name == name)


def main() -> None:
    """Solve every problem twice and print how far the solutions are apart."""
    for each in PROBLEMS:
        begun = time.perf_counter()
        _, end = each.paths(VP())
        spent = time.perf_counter() - begun
        x, _ = each.paths(VP())
        top = sigma(VP(), 1.0)
        again = each.flow(x / VP().alpha(torch.tensor(1.0, dtype=F64)), top, [0.0], tolerance=1e-11)[-1]
        off = (again - end).pow(2).mean(1).sqrt()
        begun = time.perf_counter()
        for _ in range(10):
            each.exact(x, torch.tensor(1.0, dtype=F64))
        call = (time.perf_counter() - begun) / 10
        print(
            f"{each.name:10s} {tuple(end.shape)!s:12s} RMS of the data {end.pow(2).mean().sqrt():.3f}  "
            f"references apart: RMS {off.pow(2).mean().sqrt():.1e}, most {off.max():.1e}  "
            f"{spent:.1f} s, {call * 1e3:.2f} ms an evaluation",
            flush=True,
        )


if __name__ == "__main__":
    main()
