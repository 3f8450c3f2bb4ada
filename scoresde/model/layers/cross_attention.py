"""Attention from data to a sequence of tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.model.layers.primitive import groups

__all__ = ["CrossAttention"]


class CrossAttention(nn.Module):
    """Features read tokens: h + W softmax(q kᵀ/√d) v with q from the normed h and k, v from the tokens.

    W starts at zero, so that a network starts as the one without tokens. A token of zeros is none: it is attended to
    by nothing, and beside the tokens there is always a key and value of zeros, so that a sequence without any token
    leaves h as it is. No map has a bias.

    Args:
        channels: of the features.
        tokens: the width of a token.
        last: whether channels are the last axis, (B, N, C), rather than the second, (B, C, ...).

    Source: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", section 3.3; the key
    of zeros as `add_zero_attn` of torch's `MultiheadAttention`.
    """

    HEAD = 64
    """Channels of a head, where they divide all channels; else there is one head."""

    def __init__(self, channels: int, tokens: int, *, last: bool = False) -> None:
        super().__init__()
        self.last = last
        self.heads = max(1, channels // self.HEAD) if channels % self.HEAD == 0 else 1
        self.norm = nn.LayerNorm(channels) if last else nn.GroupNorm(_groups(channels), channels, eps=1e-6)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(tokens, 2 * channels, bias=False)
        self.out = nn.Linear(channels, channels, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, h: Tensor, tokens: Tensor | None) -> Tensor:
        """The features (B, C, ...), or (B, N, C), and tokens (B, L, T) or None for none; the shape of h."""
        if tokens is None:
            return h
        x = self.norm(h)
        x = x if self.last else x.flatten(2).transpose(1, 2)
        tokens = tokens.to(x.dtype)
        q = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(F.pad(tokens, (0, 0, 1, 0))).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        absent = F.pad((tokens == 0).all(2), (1, 0), value=False)[:, None, None]
        # written out: torch's fused kernels have no second derivative, which losses with ∇·s need
        weights = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).masked_fill(absent, -torch.inf).softmax(3)
        read = self.out((weights @ v).transpose(1, 2).flatten(2))
        return h + (read if self.last else read.transpose(1, 2).reshape(h.shape))


def _groups(channels: int) -> int:
    """The largest number of groups up to the usual one that divides any number of channels."""
    return next(n for n in range(max(1, groups(channels)), 0, -1) if channels % n == 0)
