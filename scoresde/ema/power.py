"""Averages of a width relative to the training's length, of which others can be made afterwards, as of EDM2."""

import math
from dataclasses import dataclass
from functools import cache

from scoresde.ema.base import Averaging
from scoresde.errors import check, typed

__all__ = ["Power"]


@dataclass(frozen=True)
class Power(Averaging):
    """Two averages of all weights θ(τ) so far, of density ∝ τ^γ in τ/t ∈ [0, 1]: d = (1 − 1/t)^(γ+1) at step t.

    A length is the density's standard deviation, and says its γ. Snapshots of both are kept at every save: ``python
    ema.py checkpoint=… length=…`` makes of them the average of any other length.

    Args:
        length: of the first, the one that is sampled from, in [0.001, 0.28).
        other: of the second, likewise, and another.

    Raises:
        InputError: for a value out of range.

    Source: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 3.
    """

    length: float = 0.1
    other: float = 0.05

    def __post_init__(self) -> None:
        """Refuse a length that no density has."""
        typed(self)
        for field in ("length", "other"):
            # that of a uniform density, γ = 0, is 1/√12
            check(self, field, 0.001 <= getattr(self, field) < 0.28, "a number in [0.001, 0.28)")
        check(self, "other", self.other != self.length, f"another than length = {self.length}")

    def decays(self, step: int, batch: int) -> tuple[float, ...]:
        """Both."""
        return tuple((1 - 1 / (step + 1)) ** (exponent + 1) for exponent in self.exponents())

    def exponents(self) -> tuple[float, float]:
        """γ of both: √(γ + 1)/((γ + 2) √(γ + 3)) is the length."""
        return _exponent(self.length), _exponent(self.other)


@cache
def _exponent(length: float) -> float:
    from scipy.optimize import brentq

    def log_deviation(x: float) -> float:
        return 0.5 * (math.log(x + 1) - math.log(x + 3)) - math.log(x + 2) - math.log(length)

    return float(brentq(log_deviation, 0.0, 2 / length, xtol=1e-13))
