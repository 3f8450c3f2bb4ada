"""The stochastic Runge–Kutta method of strong order 1.5, by torchsde."""

from dataclasses import dataclass

from scoresde.solver.engine.torchsde import TorchSDEStep

__all__ = ["SRK"]


@dataclass(frozen=True)
class SRK(TorchSDEStep):
    """Rößler's SRI2 for diagonal noise: strong order 1.5, also where σ depends on x.

    Args:
        eta: η of the reverse: 1 for the reverse SDE, 0 for the probability-flow ODE, anything ≥ 0.

    Source: Rößler 2010, "Runge–Kutta methods for the strong approximation of solutions of SDEs", table of SRI2.
    """

    method = "srk"
    order = 3
    weak_order = 2
    strong_order = 1.5
    cost = 4
    eta: float = 1.0
