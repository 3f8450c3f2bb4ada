"""Images at half and at twice the size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scoresde.model.layers.primitive import conv

__all__ = ["Downsample", "DownsampleConv", "Upsample", "UpsampleConv"]


class _Resample(nn.Module):
    """Holds a FIR kernel of sum 1, or none."""

    kernel: Tensor | None

    def __init__(self, taps: Sequence[int] | None) -> None:
        super().__init__()
        kernel = None
        if taps is not None:
            line = torch.tensor(taps, dtype=torch.float64)
            kernel = torch.outer(line, line) / line.sum() ** 2
            # flipped, for a filter is a convolution and conv2d correlates
            kernel = kernel.flip(0, 1).to(torch.get_default_dtype())[None, None]
        self.register_buffer("kernel", kernel, persistent=False)


def _filter(x: Tensor, kernel: Tensor, padding: int, stride: int = 1) -> Tensor:
    channels = x.shape[1]
    return F.conv2d(x, kernel.expand(channels, 1, -1, -1), stride=stride, padding=padding, groups=channels)


def _average(x: Tensor) -> Tensor:
    """Means of 2×2 pixels: on the CPU a convolution of each channel takes half the time of the pooling."""
    if x.device.type != "cpu":
        return F.avg_pool2d(x, 2)
    return _filter(x, x.new_full((1, 1, 2, 2), 0.25), 0, stride=2)


def _repeat(x: Tensor) -> Tensor:
    """Every pixel four times: on the CPU a transposed convolution takes half the time of the interpolation."""
    if x.device.type != "cpu":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.conv_transpose2d(x, x.new_ones(1, 1, 2, 2).expand(x.shape[1], 1, -1, -1), stride=2, groups=x.shape[1])


class Downsample(_Resample):
    """Half the size: every second pixel of the FIR-filtered image, or means of 2×2 pixels.

    Args:
        taps: of the separable filter, an even number of them, or None for means. Outside the image are zeros.

    Source: Karras et al. 2020 (StyleGAN2), official code, `downsample_2d`; Zhang 2019.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H/2, W/2)."""
        if self.kernel is None:
            return _average(x)
        return _filter(x, self.kernel, self.kernel.shape[-1] // 2 - 1, stride=2)


class Upsample(_Resample):
    """Twice the size: the FIR-filtered image of pixels and zeros, times 4, or every pixel four times.

    Args:
        taps: as for `Downsample`; None for repeated pixels.

    Source: Karras et al. 2020 (StyleGAN2), official code, `upsample_2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2H, 2W)."""
        if self.kernel is None:
            return _repeat(x)
        # the transposed convolution leaves the inserted zeros out, and convolves where conv2d correlates
        kernel = (4 * self.kernel.flip(2, 3)).expand(x.shape[1], 1, -1, -1)
        return F.conv_transpose2d(x, kernel, stride=2, padding=kernel.shape[-1] // 2 - 1, groups=x.shape[1])


class DownsampleConv(_Resample):
    """Half the size by a 3×3 convolution of stride 2, after the FIR filter if there is one.

    Filter and convolution are one operation: the image is padded once, before both.

    Args:
        inputs, outputs: channels in and out.
        taps: as for `Downsample`; None for the convolution alone, padded below and on the right.

    Source: Karras et al. 2020 (StyleGAN2), official code, `conv_downsample_2d`; Ho et al. 2020, official code.
    """

    def __init__(self, inputs: int, outputs: int, taps: Sequence[int] | None) -> None:
        super().__init__(taps)
        self.conv = conv(inputs, outputs, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/2, W/2)."""
        if self.kernel is None:
            return self.conv(F.pad(x, (0, 1, 0, 1)))
        return self.conv(_filter(x, self.kernel, self.kernel.shape[-1] // 2))


class UpsampleConv(_Resample):
    """Twice the size and a 3×3 convolution: of the repeated pixels, or as one operation with the FIR filter.

    Args:
        inputs, outputs: channels in and out.
        taps: as for `Downsample`; None for repeated pixels.

    Source: Karras et al. 2020 (StyleGAN2), official code, `upsample_conv_2d`; Ho et al. 2020, official code.
    """

    def __init__(self, inputs: int, outputs: int, taps: Sequence[int] | None) -> None:
        super().__init__(taps)
        self.conv = conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, 2H, 2W)."""
        if self.kernel is None:
            return self.conv(_repeat(x))
        wide = F.conv_transpose2d(x, self.conv.weight.flip(2, 3).transpose(0, 1), stride=2)
        fine = _filter(wide, 4 * self.kernel, self.kernel.shape[-1] // 2 - 1)
        assert self.conv.bias is not None
        return fine + self.conv.bias[:, None, None]
