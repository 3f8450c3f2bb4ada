"""What a parameterization is: four scales between a network and the clean data x_0."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

__all__ = ["Parameterization", "Scales", "c_noise"]


class Scales(NamedTuple):
    """x_0 = skip · x + out · net(inp · x, noise): four coefficients, each the shape of the time."""

    inp: Tensor
    skip: Tensor
    out: Tensor
    noise: Tensor


class Parameterization(ABC):
    """How a network's output becomes the denoised x_0 (Karras et al. 2022, eq. 7, for any α and s)."""

    @abstractmethod
    def scales(self, t: Tensor, alpha: Tensor, std: Tensor) -> Scales:
        """The scales at a time.

        Args:
            t: time, shape () or (B,).
            alpha, std: α_t and s_t of the process, the shape of t.

        Returns:
            Four coefficients, the shape of t.
        """


def c_noise(alpha: Tensor, std: Tensor) -> Tensor:
    """The noise level as networks read it, ¼ log(s/α): Karras et al. 2022, table 1, for any α; about in [−4, 2]."""
    return (std.log() - alpha.log()) / 4
