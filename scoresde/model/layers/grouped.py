"""Residual blocks with any number of groups and heads."""

import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.model.layers.cross_attention import CrossAttention
from scoresde.model.layers.heads import attend
from scoresde.model.layers.primitive import Dropout, conv, linear

__all__ = ["GroupedBlock", "GroupedResample"]


class GroupedBlock(nn.Module):
    """Two convolutions with the embedding between them, added to the input; attention may follow.

    Args:
        inputs, outputs: channels in and out.
        embedding: the size of the embedding.
        groups, eps: of the norms.
        scale_shift: whether the embedding scales and shifts the second norm, or is added before it.
        dropout: probability in [0, 1).
        scale: of the output's size: 0.5, 1 or 2.
        divisor: of the residual sums.
        attention: whether attention over the pixels follows, and over the tokens.
        attention_groups: of the norm before the attention, 0 for none; None is as many as elsewhere.
        head_channels: of a head of attention, 0 for one head.
        tokens: the width of a token, 0 for none.

    Source: Dhariwal & Nichol 2021; diffusers 0.42, `ResnetBlock2D` and `Attention`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        embedding: int,
        groups: int,
        eps: float,
        scale_shift: bool,
        dropout: float,
        scale: float = 1.0,
        divisor: float = 1.0,
        attention: bool = False,
        attention_groups: int | None = None,
        head_channels: int = 0,
        tokens: int = 0,
    ) -> None:
        super().__init__()
        self.scale, self.scale_shift, self.divisor = scale, scale_shift, divisor
        self.norm1, self.conv1 = nn.GroupNorm(groups, inputs, eps), conv(inputs, outputs)
        self.embed = linear(embedding, 2 * outputs if scale_shift else outputs)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outputs, eps), conv(outputs, outputs, scale=0.0)
        self.dropout = Dropout(dropout)
        self.shortcut = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        heads = outputs // head_channels if head_channels else 1
        attention_groups = groups if attention_groups is None else attention_groups
        self.attention = _Attention(outputs, heads, attention_groups, eps, divisor) if attention else None
        self.cross = CrossAttention(outputs, tokens) if attention and tokens else None

    def forward(self, x: Tensor, emb: Tensor, tokens: Tensor | None = None) -> Tensor:
        """The block of an image (B, inputs, H, W), an embedding (B, embedding) and tokens or None."""
        h = F.silu(self.norm1(x))
        if self.scale != 1.0:
            h, x = _resample(h, self.scale), _resample(x, self.scale)
        h, emb = self.conv1(h), self.embed(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = emb.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + emb)
        h = (self.shortcut(x) + self.conv2(self.dropout(F.silu(h)))) / self.divisor
        if self.attention is not None:
            h = self.attention(h)
        return h if self.cross is None else self.cross(h, tokens)


class _Attention(nn.Module):
    """Self-attention over the pixels, added to its input."""

    def __init__(self, channels: int, heads: int, groups: int, eps: float, divisor: float) -> None:
        super().__init__()
        self.heads, self.divisor = heads, divisor
        self.norm = nn.GroupNorm(groups, channels, eps) if groups else nn.Identity()
        self.qkv, self.out = linear(channels, 3 * channels), linear(channels, channels, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 4, 1)
        h = self.out(attend(q, k, v).flatten(1, 2).transpose(1, 2))
        return (x + h.transpose(1, 2).reshape(x.shape)) / self.divisor


class GroupedResample(nn.Module):
    """Half the size by a convolution of stride 2, or twice the size by repeated pixels and a convolution.

    Args:
        channels: in and out.
        scale: of the size: 0.5 or 2.
        pad_both: whether the convolution of stride 2 pads all sides, or right and below.

    Source: as `GroupedBlock`, `Downsample2D` and `Upsample2D`.
    """

    def __init__(self, channels: int, scale: float, pad_both: bool) -> None:
        super().__init__()
        self.scale, self.pad_both = scale, pad_both
        down = scale < 1
        self.conv = conv(channels, channels, stride=2 if down else 1, padding=0 if down and not pad_both else 1)

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        """The image at the other size, which takes no notice of the embedding."""
        if self.scale > 1:
            h = _resample(h, self.scale)
        elif not self.pad_both:
            h = F.pad(h, (0, 1, 0, 1))
        out: Tensor = self.conv(h)
        return out


def _resample(x: Tensor, scale: float) -> Tensor:
    return F.avg_pool2d(x, 2) if scale < 1 else F.interpolate(x, scale_factor=2.0, mode="nearest")
