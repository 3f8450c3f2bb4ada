"""The residual block of ADM, its attention in heads, and how it reads noise levels and labels."""

import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.errors import InputError
from scoresde.model.layers.cross_attention import CrossAttention
from scoresde.model.layers.embedding import Positional, vector
from scoresde.model.layers.heads import attend
from scoresde.model.layers.primitive import Dropout
from scoresde.model.layers.resample import Downsample, Upsample

__all__ = ["Block", "Condition", "Heads", "Resample", "norm", "zero"]


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, started at zero."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def norm(channels: int, group: int) -> nn.GroupNorm:
    """Group norm in at most 32 groups, ε = 1e-5.

    Args:
        channels: of the features.
        group: the least channels of a group.

    Raises:
        InputError: for channels that are no whole number of groups.
    """
    groups = max(1, min(32, channels // group))
    if channels % groups:
        raise InputError(f"group norm cannot divide {channels} channels by {groups}: try channels a multiple of 32")
    return nn.GroupNorm(groups, channels)


class Condition(nn.Module):
    """The embedding of all conditions but tokens: silu(W₂ silu(W₁(features + E embedding)) + L onehot(label)).

    The last silu, which the paper's code takes again in every block, is taken once.

    Args:
        features: how many, even: cosines and sines.
        size: of the embedding.
        classes: the number of labels, 0 for none.
        embedding: the width of the vector, 0 for none.

    Source: Dhariwal & Nichol 2021, official code, `timestep_embedding` and `UNetModel`; the vector as in Karras et al.
    2022, official code, `DhariwalUNet`.
    """

    def __init__(self, features: int, size: int, classes: int, embedding: int = 0) -> None:
        super().__init__()
        self.features = Positional(features, shift=0, cosine_first=True)
        self.first, self.second = nn.Linear(features, size), nn.Linear(size, size)
        # started as N(0, 1): a row of an embedding is the linear map of a one-hot vector
        self.label = nn.Embedding(classes, size) if classes else None
        self.vector = vector(embedding, features)

    def forward(self, noise: Tensor, label: Tensor | None, embedding: Tensor | None = None) -> Tensor:
        """The embedding of noise levels (B,), labels (B,) or None and vectors (B, E) or None, shape (B, size)."""
        h = self.features(noise)
        if self.vector is not None and embedding is not None:
            h = h + self.vector(embedding.to(h.dtype))
        h = self.second(F.silu(self.first(h)))
        if self.label is not None and label is not None:
            known = (label >= 0).to(h.dtype)[:, None]
            h = h + known * self.label(label.clamp(min=0))
        return F.silu(h)


class Heads(nn.Module):
    """Attention over the pixels of an image in heads, added to it: x + W softmax(qᵀk/√d) v from the group-normed x.

    Args:
        channels: C of the image.
        heads: how many; they divide C.
        group: as for `norm`.

    Source: Dhariwal & Nichol 2021, official code, `AttentionBlock` (its new order: q, k, v, each by heads).
    """

    def __init__(self, channels: int, heads: int, group: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm(channels, group)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).unbind(1)
        return x + self.out(attend(q, k, v).reshape(x.shape))


class Block(nn.Module):
    """BigGAN's residual block, where the embedding scales and shifts the second norm; attention may follow.

    h = conv(drop(silu((1 + a)·norm(conv(R silu(norm(x)))) + b))) with (a, b) = W emb, added to R x, where R is the
    resampling; without scale and shift b is added before the norm.

    Args:
        inputs, outputs: channels in and out.
        embedding: the size of the embedding.
        dropout: probability in [0, 1).
        scale_shift: whether the embedding scales too.
        group: as for `norm`.
        resample: of the block; None for none.
        heads: of the attention that follows, 0 for none.
        tokens: the width of a token, 0 for none: attention to them follows the attention.

    Source: Dhariwal & Nichol 2021, official code, `ResBlock`.
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
        scale_shift: bool,
        group: int,
        resample: nn.Module | None = None,
        heads: int = 0,
        tokens: int = 0,
    ) -> None:
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.norm1, self.conv1 = norm(inputs, group), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.embed = nn.Linear(embedding, 2 * outputs if scale_shift else outputs)
        self.norm2, self.conv2 = norm(outputs, group), zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.dropout = Dropout(dropout)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.attention = Heads(outputs, heads, group) if heads else nn.Identity()
        self.cross = CrossAttention(outputs, tokens) if heads and tokens else None

    def forward(self, x: Tensor, emb: Tensor, tokens: Tensor | None = None) -> Tensor:
        """The block of an image (B, inputs, H, W), an embedding (B, embedding) and tokens (B, L, tokens) or None.

        Returns:
            Shape (B, outputs, H', W').
        """
        h = F.silu(self.norm1(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h, said = self.conv1(h), self.embed(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = said.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + said)
        h = self.attention(self.shortcut(x) + self.conv2(self.dropout(F.silu(h))))
        return h if self.cross is None else self.cross(h, tokens)


class Resample(nn.Module):
    """Half or twice the size as a layer of its own, which takes no notice of the embedding.

    Args:
        channels: of the image.
        up: twice the size rather than half.
        learned: whether it has a 3×3 convolution: of stride 2 in place of the means, or after the repeated pixels.

    Source: Dhariwal & Nichol 2021, official code, `Downsample`, `Upsample`.
    """

    joins = False

    def __init__(self, channels: int, *, up: bool, learned: bool) -> None:
        super().__init__()
        strided = learned and not up
        self.plain = nn.Identity() if strided else Upsample(None) if up else Downsample(None)
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1) if learned else None

    def forward(self, x: Tensor, emb: Tensor, tokens: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, C, 2H, 2W) or (B, C, H/2, W/2)."""
        x = self.plain(x)
        return x if self.conv is None else self.conv(x)
