"""RefineNet with instance norm++: the blocks of NCSNv2."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConvBlock", "InstanceNormPlus", "Refine"]


class InstanceNormPlus(nn.Module):
    """γ (instance norm of x + α m) + β, where m are the image's means by channel, normed over the channels.

    Args:
        channels: ≥ 2.

    Source: Song & Ermon 2019, appendix A.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(channels))
        self.gamma = nn.Parameter(torch.empty(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        nn.init.normal_(self.alpha, 1, 0.02)
        nn.init.normal_(self.gamma, 1, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        means = x.mean((2, 3))
        means = (means - means.mean(1, keepdim=True)) / (means.var(1, keepdim=True) + 1e-5).sqrt()
        # F.instance_norm refuses an image of one pixel in training; as a group norm of one channel each it is the same
        normed = F.group_norm(x, x.shape[1], eps=1e-5)
        scale = self.gamma[:, None, None]
        return scale * normed + (self.gamma * self.alpha * means + self.beta)[:, :, None, None]


class ConvBlock(nn.Module):
    """Two convolutions after norm and ELU, added to the input; the first block of a level halves the image or dilates.

    Args:
        inputs, outputs: channels in and out.
        down: whether it is the first of its level.
        dilation: of the convolutions; at 1 a first block takes means of 2×2 pixels, above it keeps the size.

    Source: Song & Ermon 2020, "Improved techniques for training score-based generative models", official code.
    """

    def __init__(self, inputs: int, outputs: int, *, down: bool, dilation: int) -> None:
        super().__init__()
        self.halves = down and dilation == 1
        middle = inputs if down else outputs
        self.norm1, self.conv1 = InstanceNormPlus(inputs), _conv3(inputs, middle, dilation)
        self.norm2, self.conv2 = InstanceNormPlus(middle), _conv3(middle, outputs, dilation)
        self.shortcut: nn.Module = nn.Identity()
        if self.halves or (inputs != outputs and not down and dilation == 1):
            self.shortcut = nn.Conv2d(inputs, outputs, 1)
        elif inputs != outputs or down:
            self.shortcut = _conv3(inputs, outputs, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H', W')."""
        h = self.conv1(F.elu(self.norm1(x)))
        h = self.conv2(F.elu(self.norm2(h)))
        h = h + self.shortcut(x)
        # the mean of both summands: 1×1 convolutions and means commute, but for rounding
        return F.avg_pool2d(h, 2) if self.halves else h


class Refine(nn.Module):
    """RefineNet's block: what comes in is adapted, brought to one size and summed, pooled in a chain, and put out.

    Args:
        inputs: channels of what comes in: the level's own image first, and what the coarser level made, if any.
        outputs: channels out; with one input its own.
        last: whether it is the finest level, which has three units at the end.

    Source: Lin et al. 2017, "RefineNet", figure 3; Song & Ermon 2020, official code.
    """

    def __init__(self, inputs: Sequence[int], outputs: int, *, last: bool) -> None:
        super().__init__()
        self.adapt = nn.ModuleList(nn.Sequential(_Unit(width), _Unit(width)) for width in inputs)
        self.fuse = nn.ModuleList(_conv3(width, outputs) for width in inputs) if len(inputs) > 1 else None
        self.pool = nn.ModuleList(_conv3(outputs, outputs, bias=False) for _ in range(2))
        self.out = nn.Sequential(*(_Unit(outputs) for _ in range(3 if last else 1)))

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """Images (B, inputs[i], Hᵢ, Wᵢ) to (B, outputs, H, W) of the first one's size."""
        hs = [adapt(x) for adapt, x in zip(self.adapt, images, strict=True)]
        h, size = hs[0], images[0].shape[2:]
        if self.fuse is not None:
            made = [conv(x) for conv, x in zip(self.fuse, hs, strict=True)]
            made = [x if x.shape[2:] == size else _resize(x, size) for x in made]
            h = made[0] + made[1]
        h = path = F.elu(h)
        for conv in self.pool:
            path = conv(F.max_pool2d(path, 5, stride=1, padding=2))
            h = path + h
        return self.out(h)


class _Unit(nn.Module):
    """RefineNet's residual unit: x + W₂ elu(W₁ elu(x)), without biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv3(channels, channels, bias=False)
        self.second = _conv3(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.elu(self.first(F.elu(x)))) + x


def _conv3(inputs: int, outputs: int, dilation: int = 1, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=bias)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=True)
