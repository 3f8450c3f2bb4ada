"""The residual block of DDPM and of BigGAN."""

import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.model.layers.attention import Attention
from scoresde.model.layers.cross_attention import CrossAttention
from scoresde.model.layers.primitive import Dropout, conv, linear, norm
from scoresde.model.layers.resample import Downsample, Upsample

__all__ = ["ResidualBlock"]


class ResidualBlock(nn.Module):
    """Two convolutions with the embedding between them, added to the input: (x + h)·gain; attention may follow.

    h = conv(drop(silu(norm(conv(R silu(norm(x))) + W emb)))), where R is the resampling, which x goes through too.
    DDPM's block is BigGAN's without resampling and with a quieter shortcut.

    Args:
        inputs, outputs: channels in and out.
        embedding: the size of the embedding.
        dropout: probability in [0, 1).
        gain: what the sum is multiplied by: 1, or 1/√2 to keep its variance.
        group: the fewest channels of a group of the norms.
        shortcut: scale of the shortcut's first weights: 1 in BigGAN's block, 0.1 in DDPM's.
        resample: the resampling; None for none.
        attention: whether attention over the pixels follows, and over the tokens.
        tokens: the width of a token, 0 for none.

    Source: Song et al. 2021, appendix H.2 and official code, `ResnetBlockBigGANpp`, `ResnetBlockDDPMpp`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        dropout: float,
        gain: float,
        group: int = 4,
        shortcut: float = 1.0,
        resample: Downsample | Upsample | None = None,
        attention: bool = False,
        tokens: int = 0,
    ) -> None:
        super().__init__()
        self.gain, self.resample = gain, resample
        self.norm1, self.conv1 = norm(inputs, group), conv(inputs, outputs)
        self.embed = linear(embedding, outputs)
        self.norm2, self.conv2 = norm(outputs, group), conv(outputs, outputs, scale=0.0)
        self.dropout = Dropout(dropout)
        same = inputs == outputs and resample is None
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, scale=shortcut)
        self.attention = Attention(outputs, gain, group) if attention else nn.Identity()
        self.cross = CrossAttention(outputs, tokens) if attention and tokens else None

    def forward(self, x: Tensor, emb: Tensor, tokens: Tensor | None = None) -> Tensor:
        """The block of an image (B, inputs, H, W), an embedding (B, embedding) and tokens (B, L, tokens) or None.

        Returns:
            Shape (B, outputs, H', W').
        """
        h = F.silu(self.norm1(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        # in place: a convolution's output is nobody's input but ours, and backward does not ask for it
        h = self.conv1(h).add_(self.embed(emb)[:, :, None, None])
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        h = self.attention(h.add_(self.shortcut(x)).mul_(self.gain))
        return h if self.cross is None else self.cross(h, tokens)
