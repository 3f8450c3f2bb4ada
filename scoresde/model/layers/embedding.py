"""Noise levels and labels as vectors."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.model.layers.primitive import linear

__all__ = ["Condition", "Fourier", "Positional"]


class Positional(nn.Module):
    """Sinusoidal features: sin(ωᵢτ), cos(ωᵢτ) with τ = 250·noise and ωᵢ from 1 down to 1e-4.

    The paper gives τ = 999·t. The constant makes noise levels in [-4, 2] span as much of the frequencies' range;
    noise = 999·t/250 are the paper's features.

    Args:
        size: how many features, even and ≥ 4.

    Source: Ho et al. 2020, official code, `get_timestep_embedding`.
    """

    SCALE = 250.0
    frequencies: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        exponents = torch.arange(size // 2) / (size // 2 - 1)
        self.register_buffer("frequencies", 10000.0**-exponents, persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Features of noise levels (B,), shape (B, size)."""
        angle = self.SCALE * noise.to(self.frequencies.dtype)[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class Fourier(nn.Module):
    """Gaussian Fourier features: sin(2πwᵢτ), cos(2πwᵢτ) with τ = 4·noise = ln(s/α) and wᵢ ~ N(0, scale²).

    τ is ln σ in the VE SDE, as in the paper. The frequencies are the same in every network of a size and are saved
    with the weights.

    Args:
        size: how many features, even.
        scale: of the frequencies, > 0.

    Source: Song et al. 2021, appendix C.2 and official code; Tancik et al. 2020.
    """

    frequencies: Tensor

    def __init__(self, size: int, scale: float) -> None:
        super().__init__()
        self.size = size
        fixed = torch.Generator().manual_seed(0)
        self.register_buffer("frequencies", scale * torch.randn(size // 2, generator=fixed, device="cpu"))

    def forward(self, noise: Tensor) -> Tensor:
        """Features of noise levels (B,), shape (B, size)."""
        angle = 2 * math.pi * 4 * noise.to(self.frequencies.dtype)[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class Condition(nn.Module):
    """The embedding of noise level and label: silu(W₂ silu(W₁(features + L onehot(label)))).

    The last silu, which the paper's code takes again in every block, is taken once.

    Args:
        features: of the noise level, with their number in `size`.
        size: of the embedding.
        classes: the number of labels, 0 for none.

    Source: Song et al. 2021, official code; the label as in Karras et al. 2022, official code, `SongUNet`.
    """

    def __init__(self, features: Positional | Fourier, size: int, classes: int) -> None:
        super().__init__()
        self.features = features
        self.first = linear(features.size, size)
        self.second = linear(size, size)
        # a row of an embedding is the linear map of a one-hot vector
        self.label = nn.Embedding(classes, features.size) if classes else None
        if self.label is not None:
            nn.init.xavier_uniform_(self.label.weight, gain=math.sqrt(classes))

    def forward(self, noise: Tensor, label: Tensor | None) -> Tensor:
        """The embedding of noise levels (B,) and labels (B,) or None, shape (B, size)."""
        h = self.features(noise)
        if self.label is not None and label is not None:
            known = (label >= 0).to(h.dtype)[:, None]
            h = h + known * self.label(label.clamp(min=0))
        return F.silu(self.second(F.silu(self.first(h))))
