"""Exponential integrators: what the process does to the state exactly, the prediction as a polynomial of a clock.

Of the reverse of a Gaussian process, with σ̂ = s/α, λ = −log σ̂ and r² = α² + s²,

    x0    x = (s/s_t) e^(−η²h) x_t + α (1 + η²) ∫₀ʰ e^(−(1+η²)y) x_0(λ − y) dy + s √(1 − e^(−2η²h)) z,   h = λ − λ_t
    eps   x/α = x_t/α_t + ∫ ε dσ̂
    v     x/r = x_t/r_t + ∫ (v/r) dφ,   φ = arctan σ̂

where v may also be had as x_0's excess over what it would be for normal data of deviation d, of which the step is then
exact whatever its size: p = x_0 − (d² α/(d² α² + s²)) x, r² = d² α² + s², φ = arctan(σ̂/d); v/r is −(r/(d s)) p. This is
the output of a network under the preconditioning of EDM. From d = 0 to ∞ it goes from x0 by v, at 1, to eps. Near the
data v/r is odd in σ̂, which no polynomial in an even clock can follow; with a floor c, √(σ̂² + c²)/σ̂ times it is even.

and a method says through which of its predictions, in which clock, the polynomial under the integral goes
(Lu et al. 2022, "DPM-Solver++", eq. 9; Zhang & Chen 2023, "DEIS", eq. 13; Xue et al. 2023, "SA-Solver", eq. 11, τ = η).
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

from scoresde.solver.coefficients.table import Level

__all__ = ["Clock", "exponential", "half_log_snr", "lagrange"]

Clock = Callable[[Any], Any]
"""A smooth monotone function of σ̂, for floats and arrays."""

_FAR = 40.0  # e^−40 is below float64's rounding


def half_log_snr(sigma: Any) -> Any:
    """λ = −log σ̂."""
    return -np.log(sigma)


def lagrange(nodes: Sequence[float], u: Any) -> Any:
    """The Lagrange polynomials of some nodes at u.

    Args:
        nodes: k different numbers.
        u: shape (n,).

    Returns:
        Shape (k, n): row j is one at node j and zero at the others.
    """
    rows = [
        np.prod([(u - other) / (node - other) for i, other in enumerate(nodes) if i != j], axis=0) * np.ones_like(u)
        for j, node in enumerate(nodes)
    ]
    return np.stack(rows)


def exponential(
    start: Level,
    end: Level,
    nodes: Sequence[Level],
    of: Literal["x0", "eps", "v", "excess"] = "x0",
    clock: Clock = half_log_snr,
    eta: float = 0.0,
    width: float = 1.0,
    floor: float = 0.0,
) -> tuple[float, list[float], float]:
    """The coefficients of one step, by Gauss–Legendre quadrature to float64's rounding.

    Args:
        start, end: from where to where; the end may be the data, s = 0.
        nodes: where the predictions were made.
        of: which prediction; with η > 0 "x0" only.
        clock: in which the prediction is taken for a polynomial; finite at every node, and at s = 0 if more than one
            node leads there.
        eta: η of the reverse.
        width: d of "excess".
        floor: c of "excess", for a clock that is even in σ̂.

    Returns:
        The weight of the state, those of the predictions, and the deviation of the noise.
    """
    u, w = _legendre()
    h = _FAR if end.std == 0 else min(math.log(start.sigma / end.sigma), _FAR)
    y = h * u
    if of == "x0":
        sigma = end.sigma * np.exp(y)
        rate = 1 + eta**2
        measure = end.alpha * rate * np.exp(-rate * y) * h * w
        keep = end.std / start.std * math.exp(-(eta**2) * h)
    else:
        sigma = start.sigma * np.exp(-y)
        measure = -sigma * h * w
        keep, unit = end.alpha / start.alpha, end.alpha
        if of in ("v", "excess"):
            radius = [math.hypot(width * level.alpha, level.std) for level in (start, end, *nodes)]
            measure = measure * width / (width**2 + sigma**2) * (sigma / np.hypot(sigma, floor))
            keep, unit = radius[1] / radius[0], radius[1]
        measure = unit * measure
    polynomials = lagrange([float(clock(n.sigma)) for n in nodes], clock(sigma)) if len(nodes) > 1 else np.ones((1, 1))
    weights = (polynomials * measure).sum(1)
    if of == "v":
        weights = weights / radius[2:]
    elif of == "excess":
        even = [math.hypot(node.sigma, floor) / node.sigma for node in nodes]
        weights = weights * even * [-r / (width * node.std) for r, node in zip(radius[2:], nodes, strict=True)]
    return keep, weights.tolist(), end.std * math.sqrt(-math.expm1(-2 * eta**2 * h))


@cache
def _legendre() -> tuple[Any, Any]:
    """Nodes and weights on [0, 1]."""
    u, w = np.polynomial.legendre.leggauss(96)
    return (u + 1) / 2, w / 2
