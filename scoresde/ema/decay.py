"""One decay, as Song et al. average."""

from dataclasses import dataclass

from scoresde.ema.base import Averaging
from scoresde.errors import check, typed

__all__ = ["Decay"]


@dataclass(frozen=True)
class Decay(Averaging):
    """d = min(rate, (1 + k)/(10 + k)) at the k-th step, so that the start is forgotten.

    Args:
        rate: in [0, 1).

    Raises:
        InputError: for a value out of range.

    Source: Song et al. 2021, appendix H.1 and the warm-up of its code.
    """

    rate: float = 0.999

    def __post_init__(self) -> None:
        """Refuse what is no decay."""
        typed(self)
        check(self, "rate", 0 <= self.rate < 1, "a number in [0, 1)")

    def decays(self, step: int, batch: int) -> tuple[float, ...]:
        """The one."""
        return (min(self.rate, (1 + step) / (10 + step)),)
