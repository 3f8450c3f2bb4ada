"""NCSNv2, a RefineNet that does not read the noise level."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.errors import check
from scoresde.model.base import Network
from scoresde.model.layers.refine import ConvBlock, InstanceNormPlus, Refine

__all__ = ["NCSNv2"]


@dataclass(eq=False, repr=False)
class NCSNv2(Network):
    """NCSNv2: its output is s·score at every noise level alike, so that it reads none, and no other condition either.

    The defaults are the paper's for images of 32 and 64 pixels; those of 128 have multipliers=[1,2,2,4,4], those of
    256 [1,2,2,2,4,4]. Each level but the first, and the last two, which are dilated instead, halves the image.

    Args:
        channels: of the finest features, at multiplier 1.
        multipliers: the channels of each level, finest first, three of them or more.
        centered: whether the data lie around 0, and are read as they are; if not, in [0, 1], they are read as 2x − 1.

    Raises:
        InputError: for a field out of range, a shape that is not (C, H, W) or cannot be halved, and conditions.

    Source: Song & Ermon 2020, "Improved techniques for training score-based generative models", appendix A.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    centered: bool = False

    def __post_init__(self) -> None:
        """Check the fields and build the layers."""
        super().__post_init__()
        check(self, "shape", len(self.shape) == 3, "(channels, height, width); for data of another shape try model=mlp")
        for field in ("classes", "embedding", "tokens"):
            check(self, field, getattr(self, field) == 0, "0, for it has no conditions: try model=ncsnpp")
        check(self, "channels", self.channels >= 2, "a number >= 2")
        several = len(self.multipliers) >= 3 and all(m > 0 for m in self.multipliers)
        check(self, "multipliers", several, "three numbers > 0 or more, one for each level")
        factor = 2 ** (len(self.multipliers) - 3)
        halves = all(size % factor == 0 for size in self.shape[1:])
        check(self, "shape", halves, f"of height and width that are multiples of {factor}")

        widths = [multiplier * self.channels for multiplier in self.multipliers]
        dilations = [1] * (len(widths) - 2) + [2, 4]
        self.stem = nn.Conv2d(self.shape[0], self.channels, 3, padding=1)
        self.encoder = nn.ModuleList()
        inputs = self.channels
        for i, (width, dilation) in enumerate(zip(widths, dilations, strict=True)):
            first = ConvBlock(inputs, width, down=i > 0, dilation=dilation)
            self.encoder.append(nn.Sequential(first, ConvBlock(width, width, down=False, dilation=dilation)))
            inputs = width
        self.decoder = nn.ModuleList([Refine([widths[-1]], widths[-1], last=False)])
        coarser = widths[-1]
        for i in reversed(range(len(widths) - 1)):
            # a level puts out what the next finer one has
            width = widths[max(i - 1, 0)]
            self.decoder.append(Refine([widths[i], coarser], width, last=i == 0))
            coarser = width
        self.norm = InstanceNormPlus(coarser)
        self.head = nn.Conv2d(coarser, self.shape[0], 3, padding=1)

    def forward(
        self,
        x: Tensor,
        noise: Tensor,
        *,
        label: Tensor | None = None,
        embedding: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """As `Network`; the noise level is not looked at."""
        self.check_input(x, noise, label, embedding, tokens)
        h = self.stem(x if self.centered else 2 * x - 1)
        levels = []
        for level in self.encoder:
            h = level(h)
            levels.append(h)
        h = self.decoder[0]([levels.pop()])
        for refine in list(self.decoder)[1:]:
            h = refine([levels.pop(), h])
        out: Tensor = self.head(F.elu(self.norm(h)))
        return out
