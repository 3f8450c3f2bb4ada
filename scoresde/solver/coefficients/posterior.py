"""The posterior of the forward chain, q(x_s | x_t, x_0), and what else has its marginals."""

from scoresde.solver.coefficients.table import Level

__all__ = ["posterior"]


def posterior(start: Level, end: Level, eta: float) -> tuple[float, float, float]:
    """x_s = α_s x_0 + √(s_s² − c²) ε + c z, with c² = η² (s_s²/s_t²) β and β = s_t² − (α_t/α_s)² s_s².

    η = 1 is the posterior, where √(s_s² − c²) = (α_t/α_s) s_s²/s_t; η = 0 draws no noise. At s = 0 only x_0 is left.

    Args:
        start, end: from where, t, to where, s.
        eta: η in [0, 1].

    Returns:
        The weights of x_t and of x_0, and c.

    Source: Song, Meng & Ermon 2021, "Denoising diffusion implicit models", eq. 7 and 16, for any α and s.
    """
    fresh = start.std**2 - (start.alpha / end.alpha * end.std) ** 2
    variance = (eta * end.std / start.std) ** 2 * fresh if eta else 0.0
    keep = (end.std**2 - variance) ** 0.5 / start.std
    return keep, end.alpha - keep * start.alpha, variance**0.5
