"""Layers that keep the magnitude of what goes through them: activations of unit variance stay of unit variance."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Features", "Weight", "cat", "mix", "normalize", "silu"]

EPSILON = 1e-4


def normalize(x: Tensor, dim: tuple[int, ...]) -> Tensor:
    """x over its root mean square along ``dim``, to which 1e-4 is added; computed in float32 at least."""
    size = math.prod([x.shape[d] for d in dim])  # a generator would break a compiled graph
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=wide)
    return x / (EPSILON + norm * size**-0.5).to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """silu(x)/0.596: of unit magnitude for normal x (eq. 81)."""
    return F.silu(x) / 0.596


def mix(a: Tensor, b: Tensor, t: float) -> Tensor:
    """((1 − t) a + t b)/√((1 − t)² + t²), the sum of two that are of unit magnitude (eq. 88)."""
    return a.lerp(b, t) / math.hypot(1 - t, t)


def cat(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Both along axis 1, each at the magnitude that its share of the result asks for (eq. 103)."""
    n, m = a.shape[1], b.shape[1]
    scale = math.sqrt(n + m) / math.hypot(1 - t, t)
    return torch.cat([scale / math.sqrt(n) * (1 - t) * a, scale / math.sqrt(m) * t * b], dim=1)


class Features(nn.Module):
    """Fourier features of unit magnitude: √2 cos(ωᵢ noise + φᵢ) (eq. 75), fixed and saved with the weights.

    Args:
        size: how many; ωᵢ/2π ~ N(0, 1), φᵢ ~ U(0, 2π).
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        frequencies, phases = torch.empty(size), torch.empty(size)
        if not frequencies.is_meta:
            fixed = torch.Generator().manual_seed(0)
            frequencies = 2 * math.pi * torch.randn(size, generator=fixed, device="cpu")
            phases = 2 * math.pi * torch.rand(size, generator=fixed, device="cpu")
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", phases)

    def forward(self, noise: Tensor) -> Tensor:
        """Features of noise levels (B,), shape (B, size)."""
        angle = noise.to(self.frequencies.dtype)[:, None] * self.frequencies + self.phases
        return angle.cos() * math.sqrt(2)


class Weight(nn.Module):
    """A dense map or a convolution without bias, each of whose outputs has a weight vector of unit length (eq. 47).

    In training the weights themselves are put back to unit variance before every use (eq. 66), so that the learning
    rate alone says how fast they turn; this is a write into a parameter.

    Args:
        inputs, outputs: channels in and out.
        size: of the square kernel, odd; 0 for a dense map.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *([size, size] if size else [])))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """gain · W x: (B, inputs) to (B, outputs), or (B, inputs, H, W) to (B, outputs, H, W)."""
        weight = self.scaled(gain).to(x.dtype)
        return F.linear(x, weight) if weight.ndim == 2 else F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def scaled(self, gain: Tensor | float = 1.0) -> Tensor:
        """The weights that are used: of length ``gain`` for every output."""
        axes = tuple(range(1, self.weight.ndim))
        if self.training:
            with torch.no_grad():
                self.weight.copy_(normalize(self.weight, axes))
        weight = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32))
        return normalize(weight, axes) * (gain / math.sqrt(weight[0].numel()))
