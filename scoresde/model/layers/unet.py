"""The U-Net of NCSN++ and DDPM++."""

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from scoresde.errors import check
from scoresde.model.base import Network
from scoresde.model.layers.blocks import ResidualBlock
from scoresde.model.layers.embedding import Condition, Fourier, Positional
from scoresde.model.layers.primitive import conv, groups, head
from scoresde.model.layers.pyramid import First, Read, Residual, Write
from scoresde.model.layers.resample import Downsample, DownsampleConv, Upsample, UpsampleConv

__all__ = ["UNet"]


@dataclass(eq=False, repr=False)
class UNet(Network):
    """A U-Net with every choice that the paper's ablation makes.

    Args:
        channels: of the finest features, at multiplier 1.
        multipliers: the channels of each resolution, finest first; each resolution has half the size of the last.
        blocks: residual blocks in each resolution; there is one more on the way up.
        attention: the resolutions, by height, that have attention; heights that do not occur are fine. The coarsest
            features always pass one attention.
        dropout: probability in [0, 1).
        block: resampling in residual blocks (biggan) or in layers of their own (ddpm).
        fir: whether resampling filters.
        fir_kernel: the filter's taps, an even number of them.
        skip_rescale: whether residual sums are divided by √2.
        resample_with_conv: whether the resampling layers of block=ddpm have a convolution.
        progressive_input: how the features meet the downsampled input: not at all, by skips or as residuals.
        progressive_output: how the output is made: at the end, by skips from every resolution, or with residuals.
        progressive_combine: whether an input skip is summed or concatenated.
        time: features of the noise level.
        fourier_scale: standard deviation of the Fourier features' frequencies.
        decoder_attention: whether, on the way up, attention follows the last block of a resolution or every one.
        group_size: the fewest channels that a group of group norm has; there are 32 groups at the most.
        centered: whether the data lie around 0, and are read as they are; if not, in [0, 1], they are read as 2x − 1.

    Raises:
        InputError: for a field out of range, and for a shape that is not (C, H, W) or cannot be halved often enough.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", appendix H.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 4
    attention: tuple[int, ...] = (16,)
    dropout: float = 0.1
    block: Literal["biggan", "ddpm"] = "biggan"
    fir: bool = False
    fir_kernel: tuple[int, ...] = (1, 3, 3, 1)
    skip_rescale: bool = True
    resample_with_conv: bool = True
    progressive_input: Literal["none", "skip", "residual"] = "none"
    progressive_output: Literal["none", "skip", "residual"] = "none"
    progressive_combine: Literal["sum", "cat"] = "sum"
    time: Literal["positional", "fourier"] = "positional"
    fourier_scale: float = 16.0
    decoder_attention: Literal["last", "every"] = "last"
    group_size: int = 4
    centered: bool = True

    def __post_init__(self) -> None:
        """Check the fields and build the layers."""
        super().__post_init__()
        self._check_fields()
        image, height = self.shape[0], self.shape[1]
        last = len(self.multipliers) - 1
        gain = math.sqrt(0.5) if self.skip_rescale else 1.0
        taps = self.fir_kernel if self.fir else None
        shortcut = 1.0 if self.block == "biggan" else 0.1
        block = partial(
            ResidualBlock,
            embedding=4 * self.channels,
            dropout=self.dropout,
            gain=gain,
            group=self.group_size,
            shortcut=shortcut,
            tokens=self.tokens,
        )

        fourier = self.time == "fourier"
        features = Fourier(2 * self.channels, self.fourier_scale) if fourier else Positional(self.channels)
        self.condition = Condition(features, 4 * self.channels, self.classes, self.embedding)

        self.stem = conv(image, self.channels)
        width, skips, beside = self.channels, [self.channels], image
        self.encoder = nn.ModuleList()
        for i, multiplier in enumerate(self.multipliers):
            down = _Down()
            attention = height >> i in self.attention
            for _ in range(self.blocks):
                down.blocks.append(block(width, width := multiplier * self.channels, attention=attention))
                skips.append(width)
            if i < last:
                if self.block == "biggan":
                    down.resample = block(width, width, resample=Downsample(taps))
                else:
                    down.resample = _Blind(
                        DownsampleConv(width, width, taps) if self.resample_with_conv else Downsample(taps)
                    )
                if self.progressive_input == "skip":
                    concatenate = self.progressive_combine == "cat"
                    down.pyramid = Read(Downsample(taps), image, width, concatenate=concatenate)
                    width *= 2 if concatenate else 1
                elif self.progressive_input == "residual":
                    down.pyramid = Residual(DownsampleConv(beside, width, taps), gain)
                    beside = width
                skips.append(width)
            self.encoder.append(down)

        self.middle = nn.ModuleList([block(width, width, attention=True), block(width, width)])

        self.decoder = nn.ModuleList()
        for i, multiplier in reversed(list(enumerate(self.multipliers))):
            up = _Up()
            for j in range(self.blocks + 1):
                attends = j == self.blocks or self.decoder_attention == "every"
                attention = height >> i in self.attention and attends
                inputs, width = width + skips.pop(), multiplier * self.channels
                up.blocks.append(block(inputs, width, attention=attention))
            if self.progressive_output == "skip":
                up.pyramid = (
                    First(width, image, 0.0, self.group_size)
                    if i == last
                    else Write(Upsample(taps), width, image, self.group_size)
                )
            elif self.progressive_output == "residual":
                if i == last:
                    up.pyramid = First(width, width, 1.0, self.group_size)
                else:
                    up.pyramid = Residual(UpsampleConv(beside, width, taps), gain)
                beside = width
            if i > 0:
                if self.block == "biggan":
                    up.resample = block(width, width, resample=Upsample(taps))
                else:
                    up.resample = _Blind(
                        UpsampleConv(width, width, taps) if self.resample_with_conv else Upsample(taps)
                    )
            self.decoder.append(up)
        self.head = None if self.progressive_output == "skip" else head(width, image, group=self.group_size)

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
        if not self.centered:
            x = 2 * x - 1
        h, beside = self.stem(x), x
        skips = [h]
        for level in self.encoder:
            h, beside = level(h, beside, emb, tokens, skips)
        for block in self.middle:
            h = block(h, emb, tokens)
        for level in self.decoder:
            h, beside = level(h, beside, emb, tokens, skips)
        return beside if self.head is None else self.head(h)

    def _check_fields(self) -> None:
        check(self, "shape", len(self.shape) == 3, "(channels, height, width); for data of another shape try model=mlp")
        several = len(self.multipliers) > 0 and all(m > 0 for m in self.multipliers)
        check(self, "multipliers", several, "one number > 0 for each resolution")
        check(self, "blocks", self.blocks > 0, "a number > 0")
        check(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        even = len(self.fir_kernel) >= 2 and len(self.fir_kernel) % 2 == 0 and sum(self.fir_kernel) > 0
        check(self, "fir_kernel", even, "an even number of taps with a sum > 0, such as (1, 3, 3, 1)")
        check(self, "fourier_scale", self.fourier_scale > 0, "a number > 0")
        check(self, "group_size", self.group_size > 0, "a number > 0")
        self._check_channels()
        self.check_halves(len(self.multipliers), "multipliers")

    def _check_channels(self) -> None:
        """Refuse what group norm cannot divide: it sees every width, and the sums that meet on the way up."""
        widths = [m * self.channels for m in self.multipliers]
        double = 2 if (self.progressive_input, self.progressive_combine) == ("skip", "cat") else 1
        entries = [self.channels, *(double * width for width in widths[:-1])]
        met = [*widths, *entries, *(a + b for a, b in pairwise(widths))]
        met += [2 * width for width in (widths if self.blocks > 1 else widths[-1:])]
        met += [a + b for a, b in zip(widths, entries, strict=True)]
        size = self.group_size
        divides = self.channels >= 4 and self.channels % 2 == 0
        divides = divides and all(width >= size and width % groups(width, size) == 0 for width in met)
        lower = self.channels // 32 * 32
        near = " or ".join(str(n) for n in (lower, lower + 32) if n > 0)
        check(self, "channels", divides, f"a multiple of 32, for group norm to divide every width: try {near}")


class _Level(nn.Module):
    """The layers of one resolution, on one way."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.resample: nn.Module | None = None
        self.pyramid: nn.Module | None = None


class _Down(_Level):
    """Leaves what it makes in `skips`."""

    def forward(
        self, h: Tensor, beside: Tensor, emb: Tensor, tokens: Tensor | None, skips: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            h = block(h, emb, tokens)
            skips.append(h)
        if self.resample is not None:
            h = self.resample(h, emb)
            if self.pyramid is not None:
                h, beside = self.pyramid(h, beside)
            skips.append(h)
        return h, beside


class _Up(_Level):
    """Takes what it reads from `skips`, last first."""

    def forward(
        self, h: Tensor, beside: Tensor, emb: Tensor, tokens: Tensor | None, skips: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb, tokens)
        if self.pyramid is not None:
            h, beside = self.pyramid(h, beside)
        if self.resample is not None:
            h = self.resample(h, emb)
        return h, beside


class _Blind(nn.Module):
    """A layer that takes no notice of the embedding."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        return self.layer(h)
