"""ADM, the U-Net of guided diffusion, and EDM's for ImageNet."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from scoresde.errors import InputError, check
from scoresde.model.base import Network
from scoresde.model.layers.adm import Block, Condition, Resample, norm, zero
from scoresde.model.layers.resample import Downsample, Upsample

__all__ = ["ADM"]


@dataclass(eq=False, repr=False)
class ADM(Network):
    """A U-Net with attention in heads at several resolutions, whose embedding scales and shifts the norms.

    The defaults are the papers' for ImageNet at 64 pixels. The sinusoidal features read 250·noise: a network that was
    trained on the index i has noise = i/250.

    Args:
        channels: of the finest features, at multiplier 1.
        multipliers: the channels of each resolution, finest first; each resolution has half the size of the last.
        blocks: residual blocks in each resolution; there is one more on the way up.
        attention: the resolutions, by height, that have attention after every block; heights that do not occur are
            fine. The coarsest features always pass one attention.
        dropout: probability in [0, 1).
        head_channels: channels of a head of attention; features with fewer have no attention.
        heads: how many heads every attention has; 0 where head_channels says it.
        scale_shift: whether the embedding scales and shifts the norms, or is added before them.
        resample: resampling in residual blocks (block), in convolutions (conv), or in layers without weights (plain).
        group_size: the fewest channels that a group of group norm has; there are 32 groups at the most. Networks of
            guided-diffusion have 32 always: group_size=1, which is another network below 128 channels only.
        learned_variance: whether the head has twice the channels, of which the second half, a variance, is dropped.

    Raises:
        InputError: for a field out of range, and for a shape that is not (C, H, W) or cannot be halved often enough.

    Source: Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", and official code, `UNetModel`;
    Karras et al. 2022, official code, `DhariwalUNet`.
    """

    channels: int = 192
    multipliers: tuple[float, ...] = (1, 2, 3, 4)
    blocks: int = 3
    attention: tuple[int, ...] = (32, 16, 8)
    dropout: float = 0.1
    head_channels: int = 64
    heads: int = 0
    scale_shift: bool = True
    resample: Literal["block", "conv", "plain"] = "block"
    group_size: int = 4
    learned_variance: bool = False

    def __post_init__(self) -> None:
        """Check the fields and build the layers."""
        super().__post_init__()
        self._check_fields()
        image, height = self.shape[0], self.shape[1]
        widths = [int(multiplier * self.channels) for multiplier in self.multipliers]
        size, last = 4 * self.channels, len(widths) - 1
        block = partial(
            Block,
            embedding=size,
            dropout=self.dropout,
            scale_shift=self.scale_shift,
            group=self.group_size,
            tokens=self.tokens,
        )

        self.condition = Condition(self.channels, size, self.classes, self.embedding)
        width = widths[0]
        self.stem = nn.Conv2d(image, width, 3, padding=1)
        self.encoder, skips = nn.ModuleList(), [width]
        for i, wide in enumerate(widths):
            for _ in range(self.blocks):
                self.encoder.append(block(width, width := wide, heads=self._heads(wide, height >> i)))
                skips.append(width)
            if i < last:
                self.encoder.append(self._resampler(block, width, up=False))
                skips.append(width)

        self.middle = nn.ModuleList([block(width, width, heads=self._heads(width)), block(width, width)])

        self.decoder = nn.ModuleList()
        for i, wide in reversed(list(enumerate(widths))):
            for _ in range(self.blocks + 1):
                joint = block(width + skips.pop(), wide, heads=self._heads(wide, height >> i))
                joint.joins, width = True, wide
                self.decoder.append(joint)
            if i > 0:
                self.decoder.append(self._resampler(block, width, up=True))
        written = 2 * image if self.learned_variance else image
        self.head = nn.Sequential(
            norm(width, self.group_size), nn.SiLU(), zero(nn.Conv2d(width, written, 3, padding=1))
        )

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
            h = block(torch.cat([h, skips.pop()], dim=1) if block.joins else h, emb, tokens)
        return self.head(h)[:, : self.shape[0]]

    def _heads(self, width: int, height: int | None = None) -> int:
        """Heads of the attention over so many channels at this height, 0 for no attention."""
        if height is not None and height not in self.attention:
            return 0
        heads = self.heads or width // self.head_channels
        if heads and width % heads:
            raise InputError(f"ADM: {heads} heads of attention cannot divide {width} channels: try a multiple of 64")
        return heads

    def _resampler(self, block: partial[Block], width: int, *, up: bool) -> nn.Module:
        if self.resample == "block":
            return block(width, width, resample=Upsample(None) if up else Downsample(None))
        return Resample(width, up=up, learned=self.resample == "conv")

    def _check_fields(self) -> None:
        check(self, "shape", len(self.shape) == 3, "(channels, height, width); for data of another shape try model=mlp")
        whole = self.channels > 0 and self.channels % 2 == 0
        check(self, "channels", whole, "an even number > 0")
        several = len(self.multipliers) > 0 and all(int(m * self.channels) > 0 for m in self.multipliers)
        check(self, "multipliers", several, "one number > 0 for each resolution")
        check(self, "blocks", self.blocks > 0, "a number > 0")
        check(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        check(self, "head_channels", self.head_channels > 0, "a number > 0")
        check(self, "heads", self.heads >= 0, "a number of heads, 0 for head_channels")
        check(self, "group_size", self.group_size > 0, "a number > 0")
        self.check_halves(len(self.multipliers), "multipliers")
