"""Dense maps, convolutions and group norms with the paper's initialization."""

import math
from typing import TypeVar

from torch import nn

__all__ = ["conv", "groups", "head", "linear", "norm"]

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def linear(inputs: int, outputs: int, scale: float = 1.0) -> nn.Linear:
    """A dense map with weights from U(-b, b), b = √(3·scale / fan_avg), and no bias at the start.

    Args:
        inputs, outputs: features in and out.
        scale: ≥ 0; 0 starts at zero (the paper's code says 1e-10).

    Source: Ho et al. 2020, official code; Song et al. 2021, official code, `default_init`.
    """
    return _initialize(nn.Linear(inputs, outputs), scale)


def conv(
    inputs: int, outputs: int, size: int = 3, *, scale: float = 1.0, stride: int = 1, padding: int | None = None
) -> nn.Conv2d:
    """A square convolution, started as `linear`.

    Args:
        inputs, outputs: channels in and out.
        size: of the kernel, odd.
        scale: as for `linear`.
        stride: of the output.
        padding: zeros on each side; None keeps the image's size.
    """
    return _initialize(nn.Conv2d(inputs, outputs, size, stride, size // 2 if padding is None else padding), scale)


def groups(channels: int) -> int:
    """How many groups a norm of so many channels has: min(C/4, 32)."""
    return min(channels // 4, 32)


def norm(channels: int) -> nn.GroupNorm:
    """Group norm in the paper's groups, ε = 1e-6."""
    return nn.GroupNorm(groups(channels), channels, eps=1e-6)


def head(channels: int, outputs: int, scale: float = 0.0) -> nn.Sequential:
    """What writes an image from features: norm, silu and a convolution."""
    return nn.Sequential(norm(channels), nn.SiLU(), conv(channels, outputs, scale=scale))


def _initialize(layer: Layer, scale: float) -> Layer:
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
