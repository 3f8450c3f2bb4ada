"""NCSN++, the paper's U-Net for the VE SDE."""

from dataclasses import dataclass
from typing import Literal

from scoresde.model.layers.unet import UNet

__all__ = ["NCSNpp"]


@dataclass(eq=False, repr=False)
class NCSNpp(UNet):
    """NCSN++: a U-Net with FIR resampling, Fourier noise features and a residual input pyramid.

    The defaults are the paper's for CIFAR-10; blocks=8 is its deep variant.

    Args:
        as `UNet`.

    Raises:
        InputError: as `UNet`.

    Source: Song et al. 2021, appendix H.2.
    """

    fir: bool = True
    progressive_input: Literal["none", "skip", "residual"] = "residual"
    time: Literal["positional", "fourier"] = "fourier"
