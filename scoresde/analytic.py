"""Exact scores: a Gaussian mixture stays one under every Gaussian process."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import InputError
from scoresde.noise import Noise
from scoresde.score import Cond, GaussianPrediction, ScoreModel
from scoresde.sde.base import GaussianSDE, Process
from scoresde.tensor import expand

__all__ = ["GaussianMixture"]


Numbers = Tensor | Sequence[Any]
"""A tensor, or nested lists of numbers."""


@dataclass(frozen=True, eq=False)
class _Exact(GaussianPrediction):
    """A prediction that knows ε apart from x_0: where s is small, (x − α x_0)/s would lose its digits."""

    noise: Tensor

    @property
    def eps(self) -> Tensor:
        return self.noise

    def mix(self, on_x: Tensor, on_score: Tensor) -> Tensor:
        return on_x * self.x - on_score / self.std * self.noise

    def shift(self, grad: Tensor) -> "_Exact":
        x0 = super().shift(grad).x0
        return _Exact(self.x, x0, self.alpha, self.std, self.noise - self.std * grad)


class GaussianMixture(ScoreModel):
    """The exact score model of data p_0 = Σ_k w_k N(m_k, C_k): p_t = Σ_k w_k N(α m_k, α² C_k + s² I).

    Args:
        sde: the process.
        means: m_k, shape (K, *shape).
        covs: C_k over the D = prod(shape) coordinates: shape (K,) for multiples of the identity, (K, D) for diagonals,
            (K, D, D) in full. Zero is allowed: a point.
        weights: w_k > 0, shape (K,), equal by default; they are normalised.

    Raises:
        InputError: for a process without a Gaussian kernel, shapes that do not fit, a covariance that is not one.

    Source: Bishop 2006, "Pattern recognition and machine learning", eq. 2.113–2.117.
    """

    _means: Tensor
    _variances: Tensor
    _basis: Tensor | None
    _log_weights: Tensor

    def __init__(self, sde: Process, means: Numbers, covs: Numbers | float, weights: Numbers | None = None) -> None:
        super().__init__()
        if not isinstance(sde, GaussianSDE):
            raise InputError(f"GaussianMixture needs a GaussianSDE; {type(sde).__name__} is not one: try sde=vp")
        self.sde: GaussianSDE = sde
        means = torch.as_tensor(means)
        means = means if means.is_floating_point() else means.to(torch.get_default_dtype())
        if means.ndim < 2 or not means.isfinite().all():
            raise InputError(f"means must be finite, of shape (K, *shape) such as (K, 2), not {tuple(means.shape)}")
        self.shape = tuple(means.shape[1:])
        count, size = means.shape[0], math.prod(self.shape)
        dtype = means.dtype
        covs = torch.as_tensor(covs, dtype=torch.float64, device=means.device)
        covs = covs.expand(count) if covs.ndim == 0 else covs
        weights = torch.ones(count) if weights is None else torch.as_tensor(weights)
        if tuple(covs.shape) not in {(count,), (count, size), (count, size, size)}:
            raise InputError(
                f"covs of shape {tuple(covs.shape)} do not fit {count} means of {size} coordinates: "
                f"they must have shape ({count},), ({count}, {size}) or ({count}, {size}, {size})"
            )
        if weights.shape != (count,) or not (weights > 0).all():
            raise InputError(f"weights must be {count} numbers > 0, one for each mean, not {weights.tolist()}")
        basis = None
        if covs.ndim == 3:
            if not torch.allclose(covs, covs.mT):
                raise InputError("covs must be symmetric")
            variances, basis = torch.linalg.eigh(covs)
            variances = variances.where(variances.abs() > 1e-12 * variances.amax(), 0)
        else:
            variances = covs if covs.ndim == 2 else covs[:, None].expand(count, size)
        if not (variances >= 0).all():
            raise InputError(
                f"covs must be positive semidefinite; the least eigenvalue is {variances.min().item():.3g}"
            )
        self.register_buffer("_means", means.flatten(1))
        self.register_buffer("_variances", variances.to(dtype))
        self.register_buffer("_basis", None if basis is None else basis.to(dtype))
        self.register_buffer("_log_weights", weights.double().div(weights.sum()).log().to(means))

    def _whiten(self, x: Tensor, alpha: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """x − α m_k in the eigenbasis of C_k, shape (B, K, D), over the variances of x_t there; and these."""
        self.check_shape(x)
        offset = self._rotate(x.flatten(1)[:, None, :] - alpha * self._means.to(x.dtype), back=False)
        spread = alpha**2 * self._variances.to(x.dtype) + std**2
        return offset / spread, spread

    def _joint(self, pull: Tensor, spread: Tensor) -> Tensor:
        """log w_k p_t(x | k), shape (B, K)."""
        return self._log_weights.to(pull.dtype) - 0.5 * (pull**2 * spread + (2 * math.pi * spread).log()).sum(-1)

    def _rotate(self, rows: Tensor, *, back: bool) -> Tensor:
        """Rows (B, K, D) into the eigenbases of the covariances, or back."""
        if self._basis is None:
            return rows
        basis = self._basis.to(rows.dtype)
        return torch.einsum("bki,kij->bkj", rows, basis.mT if back else basis)

    def forward(self, x: Tensor, t: Tensor, cond: Cond | None = None) -> GaussianPrediction:
        """The exact prediction: x_0 is the posterior mean.

        Args:
            x: noisy data, shape (B, *shape).
            t: time, shape () or (B,).
            cond: not used.
        """
        self.sde.check_time(t)
        alpha, std = self.sde.alpha(t), self.sde.std(t)
        each = _over_components(alpha, x)
        pull, spread = self._whiten(x, each, _over_components(std, x))
        clean = self._means.to(x.dtype) + self._rotate(each * self._variances.to(x.dtype) * pull, back=True)
        parts = clean, self._rotate(pull, back=True)
        if len(self._means) > 1:
            share = self._joint(pull, spread).softmax(1)[..., None]
            parts = (share * clean).sum(1), (share * parts[1]).sum(1)
        x0, pulled = (part.reshape(x.shape) for part in parts)
        return _Exact(x, x0, expand(alpha, x), expand(std, x), expand(std, x) * pulled)

    def log_prob(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """log p_t(x), or log p_0(x) without a time: shape (B,), in nats.

        Args:
            x: shape (B, *shape).
            t: time, shape () or (B,).
        """
        if t is None and not (self._variances > 0).all():
            raise InputError("p_0 has no density where a variance is 0: give a time t > 0")
        one = torch.ones((), dtype=torch.float64)
        alpha, std = (one, one * 0) if t is None else (self.sde.alpha(t), self.sde.std(t))
        return self._joint(*self._whiten(x, _over_components(alpha, x), _over_components(std, x))).logsumexp(1)

    def draw(self, noise: Noise, t: Tensor | None = None) -> Tensor:
        """Samples of p_0, or of p_t: shape (B, *shape) where the noise's is.

        Args:
            noise: random numbers for (B, *shape).
            t: time, shape ().
        """
        edges = self._log_weights.exp().cumsum(0)[:-1].double()
        k = torch.searchsorted(edges, noise.uniform(()).contiguous())
        z = self._variances[k].sqrt() * noise.normal().flatten(1)
        z = z if self._basis is None else torch.einsum("bij,bj->bi", self._basis[k], z)
        x0 = (self._means[k] + z).reshape(noise.shape).to(noise.dtype)
        return x0 if t is None else self.sde.perturb(x0, t, noise.normal())


def _over_components(c: Tensor, x: Tensor) -> Tensor:
    """A coefficient of shape () or (B,) in a shape that broadcasts with (B, K, D)."""
    # a scalar stays on the CPU, where it multiplies data on any device without a transfer
    return c if c.ndim == 0 else expand(c, x).reshape(-1, 1, 1).to(x)
