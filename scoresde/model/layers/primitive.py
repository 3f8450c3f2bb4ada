"""Dense maps, convolutions and group norms with the paper's initialization, and dropout."""

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Dropout", "conv", "groups", "head", "linear", "norm"]

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


def groups(channels: int, size: int = 4) -> int:
    """How many groups a norm of so many channels has: min(C/size, 32), for groups of ``size`` channels at the least."""
    return min(channels // size, 32)


def norm(channels: int, size: int = 4) -> nn.GroupNorm:
    """Group norm in the paper's `groups`, ε = 1e-6."""
    return nn.GroupNorm(groups(channels, size), channels, eps=1e-6)


def head(channels: int, outputs: int, scale: float = 0.0, *, group: int = 4) -> nn.Sequential:
    """What writes an image from features: norm, in groups of so many channels, silu and a convolution."""
    return nn.Sequential(norm(channels, group), nn.SiLU(), conv(channels, outputs, scale=scale))


class Dropout(nn.Module):
    """Entries are zero with probability p and grow by 1/(1 − p) otherwise; on the CPU, in half of torch's time.

    There four masks are cut from one random number, which rounds p to a multiple of 2⁻¹⁶; the growth fits what p
    became. Without training, and for p = 0, nothing is drawn.

    Args:
        p: the probability, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, to the same."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        kept = max(1, round((1 - self.p) * 2**16))
        numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        mask = numbers.view(torch.int16)[: x.numel()].view(x.shape) <= kept - 2**15 - 1
        return x * mask.to(x.dtype).mul_(2**16 / kept)


def _initialize(layer: Layer, scale: float) -> Layer:
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
