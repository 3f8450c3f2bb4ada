"""Self-attention over the pixels of an image."""

from torch import Tensor, nn

from scoresde.model.layers.heads import attend
from scoresde.model.layers.primitive import conv, norm

__all__ = ["Attention"]


class Attention(nn.Module):
    """One head of attention, added to its input: x + W softmax(qᵀk/√C) v with q, k, v from the group-normed x.

    Args:
        channels: C of the image.
        gain: what the sum is multiplied by: 1, or 1/√2 to keep its variance.
        group: the fewest channels of a group of the norm.

    Source: Ho et al. 2020, official code; Song et al. 2021, official code, `AttnBlockpp`.
    """

    def __init__(self, channels: int, gain: float, group: int = 4) -> None:
        super().__init__()
        self.gain = gain
        self.norm = norm(channels, group)
        # each of the three maps starts at scale 0.1; stacked, their fan_avg is twice as large
        self.qkv = conv(channels, 3 * channels, 1, scale=0.2)
        self.out = conv(channels, channels, 1, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, 1, -1)).unbind(1)
        # in place: a convolution's output is nobody's input but ours, and backward asks for none of the three
        return self.out(attend(q, k, v).reshape(x.shape)).add_(x).mul_(self.gain)
