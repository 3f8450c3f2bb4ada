"""EDM2's U-Net, which preserves magnitudes."""

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.errors import InputError, check
from scoresde.model.base import Network
from scoresde.model.layers.edm2 import Block, Uncertainty
from scoresde.model.layers.magnitude import Features, Weight, cat, mix, silu

__all__ = ["EDM2"]


@dataclass(eq=False, repr=False)
class EDM2(Network):
    """EDM2: no biases, no group norms; every layer, sum and concatenation keeps the magnitude of what it is given.

    Weights are normalized before every use, and in training written back so. The defaults are the paper's size S;
    XS has 128 channels, M 256, L 320, XL 384, XXL 448.

    Args:
        channels: of the finest features, at multiplier 1.
        multipliers: the channels of each resolution, finest first; each resolution has half the size of the last.
        blocks: residual blocks in each resolution; there is one more on the way up.
        attention: the resolutions, by height, that have attention; heights that do not occur are fine. The coarsest
            features always pass one attention.
        dropout: probability in [0, 1).
        head_channels: channels of a head of attention; features with fewer have no attention.
        noise_multiplier: the number of noise features over `channels`; 0 for as many as finest features.
        embedding_multiplier: the size of the embedding over `channels`; 0 for as much as the widest features.
        label_balance: the label's share in the embedding, in [0, 1]; the vector's too.
        concat_balance: the skip's share where skip and features meet on the way up, in [0, 1].
        residual_balance: the residual branch's share, in [0, 1].
        attention_balance: the attention's share, in [0, 1].
        clip: the largest absolute activation after a block; 0 for any.
        logvar: features of the head that estimates how uncertain the output is; 0 for no such head, 128 in the paper.

    Raises:
        InputError: for a field out of range, and for a shape that is not (C, H, W) or cannot be halved often enough.

    Source: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", appendix B.6,
    configuration G, and official code.
    """

    channels: int = 192
    multipliers: tuple[int, ...] = (1, 2, 3, 4)
    blocks: int = 3
    attention: tuple[int, ...] = (16, 8)
    dropout: float = 0.0
    head_channels: int = 64
    noise_multiplier: int = 0
    embedding_multiplier: int = 0
    label_balance: float = 0.5
    concat_balance: float = 0.5
    residual_balance: float = 0.3
    attention_balance: float = 0.3
    clip: float = 256.0
    logvar: int = 0

    def __post_init__(self) -> None:
        """Check the fields and build the layers."""
        super().__post_init__()
        self._check_fields()
        image, height = self.shape[0], self.shape[1]
        widths = [multiplier * self.channels for multiplier in self.multipliers]
        features = self.noise_multiplier * self.channels or widths[0]
        size = self.embedding_multiplier * self.channels or max(widths)
        last = len(widths) - 1
        block = partial(
            Block,
            embedding=size,
            dropout=self.dropout,
            residual=self.residual_balance,
            balance=self.attention_balance,
            clip=self.clip,
            tokens=self.tokens,
        )
        down, up = partial(block, way="down"), partial(block, way="up")

        self.features = Features(features)
        self.noise = Weight(features, size)
        self.label = Weight(self.classes, size) if self.classes else None
        self.vector = Weight(self.embedding, size) if self.embedding else None

        # the constant channel stands in for the biases
        width = widths[0]
        self.stem = Weight(image + 1, width, 3)
        self.encoder, skips = nn.ModuleList(), [width]
        for i, wide in enumerate(widths):
            if i > 0:
                self.encoder.append(down(width, width, resample=True))
                skips.append(width)
            for _ in range(self.blocks):
                self.encoder.append(down(width, width := wide, heads=self._heads(wide, height >> i)))
                skips.append(width)

        self.middle = nn.ModuleList([up(width, width, heads=self._heads(width)), up(width, width)])
        self.decoder = nn.ModuleList()
        for i, wide in reversed(list(enumerate(widths))):
            if i < last:
                self.decoder.append(up(width, width, resample=True))
            for _ in range(self.blocks + 1):
                joint = up(width + skips.pop(), width := wide, heads=self._heads(wide, height >> i))
                joint.joins = True
                self.decoder.append(joint)
        self.head = Weight(width, image, 3)
        self.gain = nn.Parameter(torch.zeros(()))
        self.uncertainty = Uncertainty(self.logvar) if self.logvar else None

    def forward(
        self,
        x: Tensor,
        noise: Tensor,
        *,
        label: Tensor | None = None,
        embedding: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """As `Network`; an embedding should have entries of magnitude 1."""
        self.check_input(x, noise, label, embedding, tokens)
        emb = self._embed(noise, label, embedding).to(x.dtype)
        h = self.stem(torch.cat([x, torch.ones_like(x[:, :1])], dim=1))
        skips = [h]
        for block in self.encoder:
            h = block(h, emb, tokens)
            skips.append(h)
        for block in self.middle:
            h = block(h, emb, tokens)
        for block in self.decoder:
            h = block(cat(h, skips.pop(), self.concat_balance) if block.joins else h, emb, tokens)
        return self.head(h, self.gain)

    def log_variance(self, noise: Tensor) -> Tensor:
        """The head's u(σ), the logarithm of the loss that it expects at noise levels (B,), shape (B,) (eq. 21).

        Raises:
            InputError: for a network without this head.
        """
        if self.uncertainty is None:
            raise InputError("this EDM2 was built with logvar = 0: it does not say how uncertain it is")
        return self.uncertainty(noise)

    def _embed(self, noise: Tensor, label: Tensor | None, embedding: Tensor | None) -> Tensor:
        emb = self.noise(self.features(noise))
        if self.label is not None:
            # one-hot vectors have magnitude 1/√classes
            rows = self.label.scaled(math.sqrt(self.classes)).t()
            none = torch.zeros_like(emb)
            if label is not None:
                none = (label >= 0).to(emb.dtype)[:, None] * F.embedding(label.clamp(min=0), rows)
            emb = mix(emb, none, self.label_balance)
        if self.vector is not None:
            said = torch.zeros_like(emb) if embedding is None else self.vector(embedding.to(emb.dtype))
            emb = mix(emb, said, self.label_balance)
        return silu(emb)

    def _heads(self, width: int, height: int | None = None) -> int:
        """Heads of the attention over so many channels at this height, 0 for no attention."""
        heads = width // self.head_channels if height is None or height in self.attention else 0
        if heads and width % heads:
            raise InputError(f"EDM2: {heads} heads of attention cannot divide {width} channels: try a multiple of 64")
        return heads

    def _check_fields(self) -> None:
        check(self, "shape", len(self.shape) == 3, "(channels, height, width); for data of another shape try model=mlp")
        check(self, "channels", self.channels > 0, "a number > 0")
        several = len(self.multipliers) > 0 and all(m > 0 for m in self.multipliers)
        check(self, "multipliers", several, "one number > 0 for each resolution")
        for field in ("blocks", "head_channels"):
            check(self, field, getattr(self, field) > 0, "a number > 0")
        check(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        for field in ("noise_multiplier", "embedding_multiplier", "clip", "logvar"):
            check(self, field, 0 <= getattr(self, field) < math.inf, "a number >= 0")
        for field in ("label_balance", "concat_balance", "residual_balance", "attention_balance"):
            check(self, field, 0 <= getattr(self, field) <= 1, "in [0, 1]")
        self.check_halves(len(self.multipliers), "multipliers")
