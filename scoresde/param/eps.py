"""The network predicts the noise ε."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.param.base import Parameterization, Scales, c_noise

__all__ = ["Eps"]


@dataclass(frozen=True)
class Eps(Parameterization):
    """Noise prediction: x_0 = (x − s ε)/α; the input is scaled to unit variance where the data has it.

    Source: Ho et al. 2020, "Denoising diffusion probabilistic models", eq. 15.
    """

    def scales(self, t: Tensor, alpha: Tensor, std: Tensor) -> Scales:
        """(1/√(α² + s²), 1/α, −s/α, ¼ log(s/α))."""
        inp = (alpha**2 + std**2).rsqrt()
        return Scales(inp, 1 / alpha, -std / alpha, c_noise(alpha, std))
