"""DDPM's U-Net, by Ho et al."""

from dataclasses import dataclass
from typing import Literal

from scoresde.model.layers.unet import UNet

__all__ = ["DDPM"]


@dataclass(eq=False, repr=False)
class DDPM(UNet):
    """The U-Net of DDPM: resampling in layers of their own, 32 groups in every norm, residual sums as they are.

    The defaults are the paper's for CIFAR-10: 35.7 million parameters. score_sde's network of the same name has
    decoder_attention=last, and 0.5 million fewer.

    Args:
        as `UNet`.

    Raises:
        InputError: as `UNet`.

    Source: Ho et al. 2020, "Denoising diffusion probabilistic models", appendix B and official code.
    """

    blocks: int = 2
    block: Literal["biggan", "ddpm"] = "ddpm"
    skip_rescale: bool = False
    decoder_attention: Literal["last", "every"] = "every"
    group_size: int = 1
