"""PyTorch's files and bare pickles, read as data: nothing that a file names is imported or called."""

from scoresde.pickled.reader import read
from scoresde.pickled.record import Record, weights

__all__ = ["Record", "read", "weights"]
