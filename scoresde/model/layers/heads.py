"""Attention in heads, over pixels or patches."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend"]


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """For each column of q the mean of v's columns, weighted by the softmax of qᵀk/√C; all (B, heads, C, N)."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        rows = [each.transpose(2, 3).contiguous() for each in (q, k, v)]
        found = F.scaled_dot_product_attention(rows[0], rows[1], rows[2]).transpose(2, 3)
        # as the query lies: a transposed image would turn all that follows to channels_last, weights at every call too
        return found.contiguous() if q.stride(3) == 1 else found
    # Written out: torch's fused kernels have no second derivative, which losses with ∇·s need. Keys come first, so
    # that the second product reads the weights as they lie.
    weights = (k.transpose(2, 3) @ (q * q.shape[2] ** -0.5)).softmax(dim=2)
    return v @ weights
