"""P2: less weight where only imperceptible detail is left."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.errors import check, typed
from scoresde.loss.weighting.base import Weighting
from scoresde.sde.base import GaussianSDE

__all__ = ["P2"]


@dataclass(frozen=True)
class P2(Weighting):
    """1/(k + SNR)^γ on the error of ε, SNR = α²/s².

    Args:
        gamma: γ ≥ 0; 0 is the plain error of ε, the paper's are 0.5 and 1.
        k: > 0, keeps the weight finite in pure noise.

    Raises:
        InputError: for a value out of range.

    Source: Choi et al. 2022, "Perception prioritized training of diffusion models", eq. 8.
    """

    gamma: float = 1.0
    k: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no weight."""
        typed(self)
        check(self, "gamma", 0 <= self.gamma < float("inf"), "a number >= 0")
        check(self, "k", 0 < self.k < float("inf"), "a number > 0")

    def __call__(self, sde: GaussianSDE, t: Tensor) -> Tensor:
        """s²/(k + SNR)^γ."""
        return sde.var(t) / (self.k + sde.log_snr(t).exp()) ** self.gamma
