"""Self-attention over the pixels of an image."""

import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.model.layers.primitive import conv, norm

__all__ = ["Attention"]


class Attention(nn.Module):
    """One head of attention, added to its input: x + W softmax(qᵀk/√C) v with q, k, v from the group-normed x.

    The fused kernel of torch has no second derivative; for losses that need one, run the network under
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.

    Args:
        channels: C of the image.
        gain: what the sum is multiplied by: 1, or 1/√2 to keep its variance.

    Source: Ho et al. 2020, official code; Song et al. 2021, official code, `AttnBlockpp`.
    """

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.norm = norm(channels)
        # each of the three maps starts at scale 0.1; stacked, their fan_avg is twice as large
        self.qkv = conv(channels, 3 * channels, 1, scale=0.2)
        self.out = conv(channels, channels, 1, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, dim=-1)
        h = F.scaled_dot_product_attention(q, k, v)
        return (x + self.out(h.squeeze(1).transpose(1, 2).reshape(x.shape))) * self.gain
