"""The U-Net of diffusers, in which most users' pixel models are trained."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.errors import check
from scoresde.model.base import Network
from scoresde.model.layers.embedding import Positional, vector
from scoresde.model.layers.grouped import GroupedBlock, GroupedResample
from scoresde.model.layers.primitive import conv, linear

__all__ = ["UNet2D"]


@dataclass(eq=False, repr=False)
class UNet2D(Network):
    """DDPM's U-Net with the choices of diffusers' `UNet2DModel`: heads, groups, where attention is, how embedded.

    The defaults are DDPM's for CIFAR-10, as diffusers has it. What is said of each resolution is said finest first.

    Args:
        channels: of each resolution; each has half the size of the last.
        blocks: residual blocks in each resolution; there is one more on the way up.
        attention_down, attention_up: which resolutions have attention after their blocks, on the way down and up.
        attention_middle: whether the coarsest features pass attention.
        head_channels: of a head of attention, 0 for one head.
        groups: of every group norm.
        middle_groups: of the norm before the attention in the middle, 0 for none.
        eps: of every group norm, > 0.
        scale_shift: whether the embedding scales and shifts the second norm, or is added before it.
        resample_down, resample_up: how resolutions with attention are resampled: by a convolution, or in a residual
            block. Those without have convolutions.
        pad_both: whether a downsampling convolution pads all sides, or, as DDPM's, right and below.
        middle_scale: what the residual sums in the middle are divided by, > 0.
        frequency_shift: 1 for DDPM's sinusoidal features, 0 for those of Nichol & Dhariwal.
        cosine_first: the order of these features.
        centered: whether the data lie around 0; if not they lie in [0, 1], and the network reads 2x − 1.
        learned_variance: whether the head writes a variance beside the output; it is dropped.
        dropout: probability in [0, 1).

    Raises:
        InputError: for a field out of range, and for a shape that is not (C, H, W) or cannot be halved often enough.

    Source: Ho et al. 2020; Dhariwal & Nichol 2021; diffusers 0.42, `UNet2DModel`.
    """

    channels: tuple[int, ...] = (128, 256, 256, 256)
    blocks: int = 2
    attention_down: tuple[bool, ...] = (False, True, False, False)
    attention_up: tuple[bool, ...] = (False, True, False, False)
    attention_middle: bool = True
    head_channels: int = 0
    groups: int = 32
    middle_groups: int = 32
    eps: float = 1e-6
    scale_shift: bool = False
    resample_down: Literal["conv", "block"] = "conv"
    resample_up: Literal["conv", "block"] = "conv"
    pad_both: bool = False
    middle_scale: float = 1.0
    frequency_shift: int = 1
    cosine_first: bool = False
    centered: bool = True
    learned_variance: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields and build the layers."""
        super().__post_init__()
        self._check_fields()
        image, size, last = self.shape[0], 4 * self.channels[0], len(self.channels) - 1
        block = partial(
            GroupedBlock,
            embedding=size,
            groups=self.groups,
            eps=self.eps,
            head_channels=self.head_channels,
            scale_shift=self.scale_shift,
            dropout=self.dropout,
            tokens=self.tokens,
        )
        features = Positional(self.channels[0], shift=self.frequency_shift, cosine_first=self.cosine_first)
        self.condition = _Condition(features, size, self.classes, self.embedding)
        width, skips = self.channels[0], [self.channels[0]]
        self.stem = conv(image, width)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for i, (wide, attends) in enumerate(zip(self.channels, self.attention_down, strict=True)):
            down = _Down()
            for _ in range(self.blocks):
                down.blocks.append(block(width, width := wide, attention=attends))
                skips.append(width)
            if i < last:
                inside = attends and self.resample_down == "block"
                down.resample = block(width, width, scale=0.5) if inside else GroupedResample(width, 0.5, self.pad_both)
                skips.append(width)
            self.encoder.append(down)
        block = partial(block, divisor=self.middle_scale)
        middle = block(width, width, attention=self.attention_middle, attention_groups=self.middle_groups)
        self.middle = nn.ModuleList([middle, block(width, width)])
        block = partial(block, divisor=1.0)
        for i, (wide, attends) in reversed(list(enumerate(zip(self.channels, self.attention_up, strict=True)))):
            up = _Up()
            for _ in range(self.blocks + 1):
                joint, width = width + skips.pop(), wide
                up.blocks.append(block(joint, width, attention=attends))
            if i > 0:
                inside = attends and self.resample_up == "block"
                up.resample = block(width, width, scale=2.0) if inside else GroupedResample(width, 2.0, self.pad_both)
            self.decoder.append(up)
        self.norm = nn.GroupNorm(self.groups, width, self.eps)
        self.head = conv(width, 2 * image if self.learned_variance else image, scale=0.0)

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
        h = self.stem(x if self.centered else 2 * x - 1)
        skips = [h]
        for level in self.encoder:
            h = level(h, emb, tokens, skips)
        for block in self.middle:
            h = block(h, emb, tokens)
        for level in self.decoder:
            h = level(h, emb, tokens, skips)
        out: Tensor = self.head(F.silu(self.norm(h)))
        return out[:, : self.shape[0]]

    def _check_fields(self) -> None:
        check(self, "shape", len(self.shape) == 3, "(channels, height, width); for data of another shape try model=mlp")
        several = len(self.channels) > 0 and all(width > 0 for width in self.channels)
        check(self, "channels", several, "one number > 0 for each resolution")
        check(self, "blocks", self.blocks > 0, "a number > 0")
        for field in ("attention_down", "attention_up"):
            one_each = len(getattr(self, field)) == len(self.channels)
            check(self, field, one_each, f"true or false for each of {len(self.channels)} resolutions")
        divides = self.groups > 0 and all(width % self.groups == 0 for width in self.channels)
        check(self, "groups", divides, f"a number that divides each of {', '.join(map(str, self.channels))} channels")
        middle = self.middle_groups == 0 or (self.middle_groups > 0 and self.channels[-1] % self.middle_groups == 0)
        check(self, "middle_groups", middle, f"0, or a number that divides {self.channels[-1]} channels")
        attending = zip(self.channels, self.attention_down, self.attention_up, strict=True)
        heads = {width for width, down, up in attending if down or up}
        heads |= {self.channels[-1]} if self.attention_middle else set()
        each = self.head_channels == 0 or (self.head_channels > 0 and not any(w % self.head_channels for w in heads))
        check(self, "head_channels", each, "0, or a number that divides the channels that attend")
        check(self, "eps", 0 < self.eps < 1, "in (0, 1)")
        check(self, "middle_scale", 0 < self.middle_scale < float("inf"), "a number > 0")
        check(self, "frequency_shift", self.frequency_shift in (0, 1), "0 or 1")
        even = self.channels[0] % 2 == 0 and self.channels[0] >= 4
        check(self, "channels", even, "an even number >= 4 first, half of them sines")
        check(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        self.check_halves(len(self.channels), "channels")


class _Level(nn.Module):
    """The layers of one resolution, on one way."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.resample: nn.Module | None = None


class _Down(_Level):
    """Leaves what it makes in `skips`."""

    def forward(self, h: Tensor, emb: Tensor, tokens: Tensor | None, skips: list[Tensor]) -> Tensor:
        for block in self.blocks:
            h = block(h, emb, tokens)
            skips.append(h)
        if self.resample is not None:
            h = self.resample(h, emb)
            skips.append(h)
        return h


class _Up(_Level):
    """Takes what it reads from `skips`, last first."""

    def forward(self, h: Tensor, emb: Tensor, tokens: Tensor | None, skips: list[Tensor]) -> Tensor:
        for block in self.blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb, tokens)
        return h if self.resample is None else self.resample(h, emb)


class _Condition(nn.Module):
    """silu(W₂ silu(W₁ features) + label + E embedding)."""

    def __init__(self, features: Positional, size: int, classes: int, embedding: int) -> None:
        super().__init__()
        self.features = features
        self.first, self.second = linear(features.size, size), linear(size, size)
        self.label = nn.Embedding(classes, size) if classes else None
        self.vector = vector(embedding, size)

    def forward(self, noise: Tensor, label: Tensor | None, embedding: Tensor | None) -> Tensor:
        h = self.second(F.silu(self.first(self.features(noise))))
        if self.label is not None and label is not None:
            h = h + (label >= 0).to(h.dtype)[:, None] * self.label(label.clamp(min=0))
        if self.vector is not None and embedding is not None:
            h = h + self.vector(embedding.to(h.dtype))
        return F.silu(h)
