"""Progressive growing: an image that goes beside the U-Net, from size to size."""

import torch
from torch import Tensor, nn

from scoresde.model.layers.primitive import conv, head
from scoresde.model.layers.resample import Downsample, DownsampleConv, Upsample, UpsampleConv

__all__ = ["First", "Read", "Residual", "Write"]


class Read(nn.Module):
    """Input skip: the features read the halved image by a 1×1 convolution.

    Args:
        resample: halves the image.
        image, channels: channels of the image and of the features.
        concatenate: whether reading and features are concatenated (2·channels come out) or summed.

    Source: Song et al. 2021, appendix H.2; Karras et al. 2020 (StyleGAN2), section 4.1.
    """

    def __init__(self, resample: Downsample, image: int, channels: int, *, concatenate: bool) -> None:
        super().__init__()
        self.resample, self.concatenate = resample, concatenate
        self.read = conv(image, channels, 1)

    def forward(self, h: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, H, W) and the image of the last size, to features and the image of this size."""
        image = self.resample(image)
        reading = self.read(image)
        return torch.cat([reading, h], dim=1) if self.concatenate else reading + h, image


class Residual(nn.Module):
    """Input or output residual: resampled image and features are summed, and are each other from there on.

    Args:
        resample: halves or doubles the image and gives it the features' channels.
        gain: what the sum is multiplied by.

    Source: as `Read`.
    """

    def __init__(self, resample: DownsampleConv | UpsampleConv, gain: float) -> None:
        super().__init__()
        self.resample, self.gain = resample, gain

    def forward(self, h: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """As `Read`."""
        h = (self.resample(image) + h) * self.gain
        return h, h


class First(nn.Module):
    """The smallest image of an output pyramid, written from the coarsest features.

    Args:
        channels, image: channels of the features and of the image.
        scale: of the first weights.
        group: the fewest channels of a group of the norm.

    Source: as `Read`.
    """

    def __init__(self, channels: int, image: int, scale: float, group: int) -> None:
        super().__init__()
        self.write = head(channels, image, scale, group=group)

    def forward(self, h: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """As `Read`, but the image that comes in is not looked at: there is no smaller one."""
        return h, self.write(h)


class Write(nn.Module):
    """Output skip: the features write onto the doubled image.

    Args:
        resample: doubles the image.
        channels, image: channels of the features and of the image.
        group: as for `First`.

    Source: as `Read`.
    """

    def __init__(self, resample: Upsample, channels: int, image: int, group: int) -> None:
        super().__init__()
        self.resample = resample
        self.write = head(channels, image, 0.0, group=group)

    def forward(self, h: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """As `Read`."""
        return h, self.resample(image) + self.write(h)
