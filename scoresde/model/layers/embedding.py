"""Noise levels, labels and embeddings as vectors."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.model.layers.primitive import linear

__all__ = ["Condition", "Fourier", "Positional", "vector"]


class Positional(nn.Module):
    """Sinusoidal features: sin(ωᵢτ), cos(ωᵢτ) with τ = 250·noise and ωᵢ from 1 down to 1e-4.

    The paper gives τ = 999·t. The constant makes noise levels in [-4, 2] span as much of the frequencies' range;
    noise = 999·t/250 are the paper's features.

    Args:
        size: how many features, even and ≥ 4.
        shift: ωᵢ = 10000^(-i/(size/2 - shift)): 1 ends at 1e-4, 0 one frequency before it.
        cosine_first: whether the cosines come before the sines.

    Source: Ho et al. 2020, official code, `get_timestep_embedding`; shift=0 with cosines first: Nichol & Dhariwal
    2021, official code, `timestep_embedding`.
    """

    SCALE = 250.0
    frequencies: Tensor

    def __init__(self, size: int, *, shift: int = 1, cosine_first: bool = False) -> None:
        super().__init__()
        self.size, self.cosine_first = size, cosine_first
        # rounded as the papers' code rounds: at τ = 999 the last bit of a frequency shows
        exponents = torch.arange(size // 2, dtype=torch.float32) * -(math.log(10000) / (size // 2 - shift))
        self.register_buffer("frequencies", exponents.exp(), persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        """Features of noise levels (B,), shape (B, size)."""
        # the noise level may come in float64: an index of 999 is exact then, and so is what is made of it
        angle = (self.SCALE * noise).to(self.frequencies.dtype)[:, None] * self.frequencies
        parts = [angle.cos(), angle.sin()] if self.cosine_first else [angle.sin(), angle.cos()]
        return torch.cat(parts, dim=1)


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
        # in the order of the paper's code: angles are in the hundreds, and their last bits show
        angle = (4 * noise).to(self.frequencies.dtype)[:, None] * self.frequencies * 2 * math.pi
        return torch.cat([angle.sin(), angle.cos()], dim=1)


def vector(inputs: int, outputs: int) -> nn.Linear | None:
    """The map of a vector that a network is conditioned on, without a bias, so that zeros are no condition.

    Args:
        inputs: its width, 0 for none.
        outputs: what it becomes.
    """
    if inputs == 0:
        return None
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.xavier_uniform_(layer.weight)
    return layer


class Condition(nn.Module):
    """The embedding of all conditions but tokens: silu(W₂ silu(W₁(features + L onehot(label) + E embedding))).

    The last silu, which the paper's code takes again in every block, is taken once.

    Args:
        features: of the noise level, with their number in `size`.
        size: of the embedding.
        classes: the number of labels, 0 for none.
        embedding: the width of the vector, 0 for none.

    Source: Song et al. 2021, official code; label and vector as in Karras et al. 2022, official code, `SongUNet`.
    """

    def __init__(self, features: Positional | Fourier, size: int, classes: int, embedding: int = 0) -> None:
        super().__init__()
        self.features = features
        self.first = linear(features.size, size)
        self.second = linear(size, size)
        # a row of an embedding is the linear map of a one-hot vector
        self.label = nn.Embedding(classes, features.size) if classes else None
        if self.label is not None:
            nn.init.xavier_uniform_(self.label.weight, gain=math.sqrt(classes))
        self.vector = vector(embedding, features.size)

    def forward(self, noise: Tensor, label: Tensor | None, embedding: Tensor | None = None) -> Tensor:
        """The embedding of noise levels (B,), labels (B,) or None and vectors (B, E) or None, shape (B, size)."""
        h = self.features(noise)
        if self.label is not None and label is not None:
            known = (label >= 0).to(h.dtype)[:, None]
            h = h + known * self.label(label.clamp(min=0))
        if self.vector is not None and embedding is not None:
            h = h + self.vector(embedding.to(h.dtype))
        return F.silu(self.second(F.silu(self.first(h))))
