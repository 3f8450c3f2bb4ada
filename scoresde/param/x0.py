"""The network predicts the clean data x_0."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.param.base import Parameterization, Scales, c_noise

__all__ = ["X0"]


@dataclass(frozen=True)
class X0(Parameterization):
    """Data prediction: x_0 is the output itself; the input is scaled to unit variance where the data has it.

    Source: Salimans & Ho 2022, "Progressive distillation", section 4.
    """

    def scales(self, t: Tensor, alpha: Tensor, std: Tensor) -> Scales:
        """(1/√(α² + s²), 0, 1, ¼ log(s/α))."""
        inp = (alpha**2 + std**2).rsqrt()
        return Scales(inp, alpha * 0, alpha * 0 + 1, c_noise(alpha, std))
