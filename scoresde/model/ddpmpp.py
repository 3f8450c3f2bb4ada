"""DDPM++, the paper's U-Net for the VP and sub-VP SDEs."""

from dataclasses import dataclass
from typing import Literal

from scoresde.model.layers.unet import UNet

__all__ = ["DDPMpp"]


@dataclass(eq=False, repr=False)
class DDPMpp(UNet):
    """DDPM++: a U-Net with plain resampling and sinusoidal noise features, no input pyramid.

    The defaults are the paper's for CIFAR-10; blocks=8 is its deep variant.

    Args:
        as `UNet`.

    Raises:
        InputError: as `UNet`.

    Source: Song et al. 2021, appendix H.2.
    """

    fir: bool = False
    progressive_input: Literal["none", "skip", "residual"] = "none"
    time: Literal["positional", "fourier"] = "positional"
