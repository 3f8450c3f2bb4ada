"""Other methods of torchsde for diagonal noise: Milstein's, Euler–Heun, Stratonovich's Heun, the midpoint rule."""

from dataclasses import dataclass
from typing import Literal

from scoresde.errors import typed
from scoresde.solver.engine.torchsde import TorchSDEStep

__all__ = ["TorchSDE"]


@dataclass(frozen=True)
class TorchSDE(TorchSDEStep):
    """Methods of strong order one where σ_i depends on x_i; those of Stratonovich are given the corrected drift.

    With dw the increment and f = a − ½ σσ′ (∂σ_i/∂x_i in each coordinate):

    - milstein: x + a dt + σ dw + ½ σσ′ (dw² − dt), the derivative by a difference over √dt.
    - euler_heun: x + f dt + ½ (σ(x) + σ(x + σ dw)) dw.
    - heun: x + ½ (f dt + σ dw at both ends), the end by an Euler step.
    - midpoint: x + f dt + σ dw at x + ½ (f dt + σ dw), half a step on.

    On ODEs, and in law where σ ignores x, milstein and euler_heun are of order one, heun and midpoint of order two
    (midpoint for an affine drift: its middle has half of Brownian motion's variance there); where σ depends on x all
    are of weak order one. The rest of torchsde: srk is ``solver=srk`` and euler ``solver=euler_maruyama``; log_ode is
    the midpoint rule where noise is diagonal; reversible_heun is not offered: it is stable on no drift that contracts.

    Args:
        method: milstein, euler_heun, heun or midpoint.
        eta: η of the reverse: 1 for the reverse SDE, 0 for the probability-flow ODE, anything ≥ 0.

    Raises:
        InputError: for an unknown method, or an SDE whose noise is not diagonal.

    Source: Kloeden & Platen 1992, "Numerical solution of stochastic differential equations", sections 10.3, 11.1 and
    4.9; Burrage, Burrage & Tian 2004, "Numerical methods for strong solutions of stochastic differential equations".
    """

    strong_order = 1.0
    facts = ("1", "1/step + 1", "ODE or SDE")
    method: Literal["milstein", "euler_heun", "heun", "midpoint"] = "milstein"
    eta: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a method that there is not."""
        typed(self)

    @property
    def order(self) -> int:  # type: ignore[override]
        """Of the method without noise."""
        return 2 if self.method in ("heun", "midpoint") else 1

    @property
    def weak_order(self) -> int:  # type: ignore[override]
        """Where σ ignores x."""
        return self.order

    @property
    def cost(self) -> int:  # type: ignore[override]
        """Drifts a step."""
        return self.order
