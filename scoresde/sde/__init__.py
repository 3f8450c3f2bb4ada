"""Stochastic differential equations dx = a(x, t) dt + σ(x, t) dw."""

from scoresde.sde.base import SDE, GaussianSDE, Process

__all__ = ["SDE", "GaussianSDE", "Process"]
