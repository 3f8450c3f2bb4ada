"""The residual block of EDM2, its attention, and the head of its uncertainty (Karras et al. 2024, figure 21)."""

from typing import Literal

import torch
from torch import Tensor, nn

from scoresde.model.layers.cross_attention import CrossAttention
from scoresde.model.layers.heads import attend
from scoresde.model.layers.magnitude import Features, Weight, mix, normalize, silu
from scoresde.model.layers.primitive import Dropout
from scoresde.model.layers.resample import Downsample, Upsample

__all__ = ["Attention", "Block", "Uncertainty"]


class Block(nn.Module):
    """A residual block between whose convolutions the embedding scales; attention may follow.

    On the way down its input is normalized pixel by pixel.

    Args:
        inputs, outputs: channels in and out.
        embedding: the size of the embedding.
        dropout: probability in [0, 1).
        residual, balance: the shares of the residual branch and of the attention.
        clip: the largest absolute activation, 0 for any.
        way: on which the block is.
        resample: whether it halves the image, or on the way up doubles it.
        heads: of the attention that follows, 0 for none.
        tokens: the width of a token, 0 for none: attention to them follows the attention.
    """

    joins = False
    """Whether the block reads what was left for it on the way down."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        embedding: int,
        dropout: float,
        residual: float,
        balance: float,
        clip: float,
        way: Literal["down", "up"],
        resample: bool = False,
        heads: int = 0,
        tokens: int = 0,
    ) -> None:
        super().__init__()
        self.way, self.residual, self.clip = way, residual, clip
        self.resample = nn.Identity() if not resample else Downsample(None) if way == "down" else Upsample(None)
        self.conv1 = Weight(outputs if way == "down" else inputs, outputs, 3)
        self.embed = Weight(embedding, outputs)
        self.gain = nn.Parameter(torch.zeros(()))
        self.conv2 = Weight(outputs, outputs, 3)
        self.dropout = Dropout(dropout)
        self.shortcut = Weight(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs, heads, balance) if heads else nn.Identity()
        self.cross = CrossAttention(outputs, tokens) if heads and tokens else None

    def forward(self, x: Tensor, emb: Tensor, tokens: Tensor | None = None) -> Tensor:
        """The block of an image (B, inputs, H, W), an embedding (B, embedding) and tokens (B, L, tokens) or None.

        Returns:
            Shape (B, outputs, H', W').
        """
        down = self.way == "down"
        x = self.resample(x)
        if down:
            x = normalize(self.shortcut(x), (1,))
        h = self.conv1(silu(x)) * (self.embed(emb, self.gain) + 1)[:, :, None, None]
        h = self.conv2(self.dropout(silu(h)))
        h = self.attention(mix(x if down else self.shortcut(x), h, self.residual))
        h = h if self.cross is None else self.cross(h, tokens)
        return h.clamp(-self.clip, self.clip) if self.clip else h


class Attention(nn.Module):
    """Attention by the cosines of queries and keys, in heads, mixed into its input.

    Args:
        channels: of the image.
        heads: how many; they divide the channels.
        balance: the attention's share.
    """

    def __init__(self, channels: int, heads: int, balance: float) -> None:
        super().__init__()
        self.heads, self.balance = heads, balance
        self.qkv, self.out = Weight(channels, 3 * channels, 1), Weight(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        q, k, v = normalize(self.qkv(x).flatten(2).unflatten(1, (3, self.heads, -1)), (3,)).unbind(1)
        return mix(x, self.out(attend(q, k, v).reshape(x.shape)), self.balance)


class Uncertainty(nn.Module):
    """u(σ) as a linear map of features of the noise level (eq. 21).

    Args:
        size: how many features.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.features = Features(size)
        self.linear = Weight(size, 1)

    def forward(self, noise: Tensor) -> Tensor:
        """u at noise levels (B,), shape (B,)."""
        return self.linear(self.features(noise))[:, 0]
