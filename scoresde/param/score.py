"""The network predicts the score ∇ log p_t(x) itself."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.param.base import Parameterization, Scales, c_noise

__all__ = ["Score"]


@dataclass(frozen=True)
class Score(Parameterization):
    """Score prediction: x_0 = (x + s² ∇ log p_t(x))/α. The output grows as 1/s: for analysis more than for training.

    Source: Song et al. 2021, "Score-based generative modeling through SDEs", section 3.3; x_0 by Tweedie's formula.
    """

    def scales(self, t: Tensor, alpha: Tensor, std: Tensor) -> Scales:
        """(1/√(α² + s²), 1/α, s²/α, ¼ log(s/α))."""
        inp = (alpha**2 + std**2).rsqrt()
        return Scales(inp, 1 / alpha, std**2 / alpha, c_noise(alpha, std))
