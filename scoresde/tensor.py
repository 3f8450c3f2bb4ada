"""Coefficients that depend on time meet batches of data."""

import torch
from torch import Tensor

from scoresde.errors import InputError

__all__ = ["expand", "inner", "time_like"]


def expand(coefficient: Tensor, x: Tensor) -> Tensor:
    """Give a coefficient of time the shape in which it multiplies a batch.

    Args:
        coefficient: shape () or (B,), as the time it was computed from.
        x: data, shape (B, ...).

    Returns:
        The coefficient, shape () or (B, 1, ..., 1). One per sample comes in x's precision, float32 at the least;
        a scalar stays as it is (a scalar tensor never changes the precision of the batch it multiplies).

    Raises:
        InputError: when a (B,) coefficient meets a batch of another length.
    """
    if coefficient.ndim == 0:
        return coefficient
    if coefficient.ndim != 1 or x.ndim == 0 or coefficient.shape[0] != x.shape[0]:
        raise InputError(
            f"a time of shape {tuple(coefficient.shape)} does not fit data of shape {tuple(x.shape)}: "
            f"it must have shape () or ({x.shape[0] if x.ndim else 'B'},)"
        )
    precision = torch.promote_types(x.dtype, torch.float32)
    return coefficient.to(precision).reshape(-1, *[1] * (x.ndim - 1))


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample, ⟨a, b⟩, shape (B,), of two batches of shape (B, ...)."""
    return (a * b).flatten(1).sum(1)


def time_like(t: Tensor, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """One time per sample on x's device, shape (B,), without waiting for the device.

    Args:
        t: shape () or (B,); a scalar is best left on the CPU, where reading it costs no synchronisation.
        x: data, shape (B, ...).
        dtype: of the result; x's precision, float32 at the least, where None.

    Raises:
        InputError: when (B,) times meet a batch of another length.
    """
    dtype = dtype or torch.promote_types(x.dtype, torch.float32)
    if t.ndim == 0 and t.device.type == "cpu":  # added, not copied: a sum with such a scalar waits for nothing
        return torch.zeros(x.shape[0], device=x.device, dtype=dtype) + t
    if t.ndim > 0:
        expand(t, x)  # refuses another length
    return t.expand(x.shape[0]).to(x.device, dtype)
