"""A U-Net for sequences, such as audio, motion and time series."""

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.errors import check
from scoresde.model.base import Network
from scoresde.model.layers.attention import Attention
from scoresde.model.layers.cross_attention import CrossAttention
from scoresde.model.layers.embedding import Condition, Positional
from scoresde.model.layers.primitive import Dropout, groups, linear

__all__ = ["UNet1d"]


@dataclass(eq=False, repr=False)
class UNet1d(Network):
    """DDPM++ for sequences (C, L): its residual blocks, means and repetition, and attention, along one axis.

    Args:
        channels: of the finest features, at multiplier 1: a multiple of 8.
        multipliers: the channels of each resolution, finest first; each resolution has half the length of the last.
        blocks: residual blocks in each resolution; there is one more on the way up.
        kernel: how many steps a convolution sees, odd.
        attention: the resolutions, by length, that have attention; lengths that do not occur are fine. The coarsest
            features always pass one attention.
        dropout: probability in [0, 1).

    Raises:
        InputError: for a field out of range, and for a shape that is not (C, L) or cannot be halved often enough.

    Source: the blocks of Song et al. 2021, appendix H.2, and of Kong et al. 2021, "DiffWave", which has them in 1-D.
    """

    channels: int = 64
    multipliers: tuple[int, ...] = (1, 2, 4)
    blocks: int = 2
    kernel: int = 3
    attention: tuple[int, ...] = ()
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields and build the layers."""
        super().__post_init__()
        self._check_fields()
        inputs, length = self.shape
        size = 4 * self.channels
        self.condition = Condition(Positional(self.channels), size, self.classes, self.embedding)
        block = partial(_Block, embedding=size, kernel=self.kernel, dropout=self.dropout, tokens=self.tokens)
        self.stem = _conv(inputs, self.channels, self.kernel)
        width, skips = self.channels, [self.channels]
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for i, multiplier in enumerate(self.multipliers):
            if i > 0:
                self.encoder.append(block(width, width, scale=0.5))
                skips.append(width)
            for _ in range(self.blocks):
                attention = length >> i in self.attention
                self.encoder.append(block(width, width := multiplier * self.channels, attention=attention))
                skips.append(width)
        self.middle = nn.ModuleList([block(width, width, attention=True), block(width, width)])
        for i, multiplier in reversed(list(enumerate(self.multipliers))):
            for j in range(self.blocks + 1):
                attention = length >> i in self.attention and j == self.blocks
                inner, width = width + skips.pop(), multiplier * self.channels
                self.decoder.append(block(inner, width, attention=attention))
            if i > 0:
                self.decoder.append(block(width, width, scale=2.0))
        self.norm, self.head = _norm(width), _conv(width, inputs, self.kernel, scale=0.0)

    def forward(
        self,
        x: Tensor,
        noise: Tensor,
        *,
        label: Tensor | None = None,
        embedding: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """As `Network`."""
        self.check_input(x, noise, label, embedding, tokens)
        emb = self.condition(noise, label, embedding)
        h = self.stem(x)
        skips = [h]
        for block in self.encoder:
            h = block(h, emb, tokens)
            skips.append(h)
        for block in self.middle:
            h = block(h, emb, tokens)
        for block in self.decoder:
            h = block(h if block.scale == 2.0 else torch.cat([h, skips.pop()], dim=1), emb, tokens)
        out: Tensor = self.head(F.silu(self.norm(h)))
        return out

    def _check_fields(self) -> None:
        check(self, "shape", len(self.shape) == 2, "(channels, length); for data of another shape try model=mlp")
        several = len(self.multipliers) > 0 and all(m > 0 for m in self.multipliers)
        check(self, "multipliers", several, "one number > 0 for each resolution")
        check(self, "blocks", self.blocks > 0, "a number > 0")
        check(self, "kernel", self.kernel > 0 and self.kernel % 2 == 1, "an odd number > 0")
        check(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        widths = [m * self.channels for m in self.multipliers]
        divides = self.channels > 0 and self.channels % 8 == 0 and all(width % groups(width) == 0 for width in widths)
        check(self, "channels", divides, "a multiple of 8, and of 32 where a resolution has more than 128")
        self.check_halves(len(self.multipliers), "multipliers")


class _Block(nn.Module):
    """Two convolutions with the embedding between them, added to the input, at half or twice the length if asked."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        embedding: int,
        kernel: int,
        dropout: float,
        tokens: int,
        scale: float = 1.0,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.norm1, self.conv1 = _norm(inputs), _conv(inputs, outputs, kernel)
        self.embed = linear(embedding, outputs)
        self.norm2, self.conv2 = _norm(outputs), _conv(outputs, outputs, kernel, scale=0.0)
        self.dropout = Dropout(dropout)
        self.shortcut = _conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs, math.sqrt(0.5)) if attention else None
        self.cross = CrossAttention(outputs, tokens) if attention and tokens else None

    def forward(self, x: Tensor, emb: Tensor, tokens: Tensor | None) -> Tensor:
        h = F.silu(self.norm1(x))
        if self.scale != 1.0:
            h, x = self._resample(h), self._resample(x)
        h = self.conv1(h) + self.embed(emb)[:, :, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        h = (self.shortcut(x) + h) * math.sqrt(0.5)
        if self.attention is not None:
            h = self.attention(h[..., None])[..., 0]  # a sequence is an image of one column
        return h if self.cross is None else self.cross(h, tokens)

    def _resample(self, x: Tensor) -> Tensor:
        return F.avg_pool1d(x, 2) if self.scale < 1 else F.interpolate(x, scale_factor=2.0, mode="nearest")


def _norm(channels: int) -> nn.GroupNorm:
    """In the largest number of groups up to min(C/4, 32) that divides the channels."""
    count = next(n for n in range(groups(channels), 0, -1) if channels % n == 0)
    return nn.GroupNorm(count, channels, eps=1e-6)


def _conv(inputs: int, outputs: int, size: int, scale: float = 1.0) -> nn.Conv1d:
    """A convolution that keeps the length, started as `linear`."""
    layer = nn.Conv1d(inputs, outputs, size, padding=size // 2)
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
