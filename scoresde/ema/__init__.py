"""Averages of weights, as they are trained."""

from scoresde.ema.base import EMA, Averaging

__all__ = ["EMA", "Averaging"]
