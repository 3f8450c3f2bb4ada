"""The network predicts the velocity v = α ε − s x_0."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.param.base import Parameterization, Scales, c_noise

__all__ = ["V"]


@dataclass(frozen=True)
class V(Parameterization):
    """Velocity prediction, v = α ε − s x_0: x_0 = (α x − s v)/(α² + s²), finite also where α = 0.

    Source: Salimans & Ho 2022, "Progressive distillation", section 4 and appendix D, for any α and s.
    """

    def scales(self, t: Tensor, alpha: Tensor, std: Tensor) -> Scales:
        """(1/√(α² + s²), α/(α² + s²), −s/(α² + s²), ¼ log(s/α))."""
        inp = (alpha**2 + std**2).rsqrt()
        return Scales(inp, alpha * inp**2, -std * inp**2, c_noise(alpha, std))
