"""Handwritten digits: 1,797 scans of 8×8 pixels in ten classes, bundled with scikit-learn."""

from dataclasses import dataclass

import torch

from scoresde.data.base import Data, Samples

__all__ = ["Digits"]


@dataclass(frozen=True)
class Digits(Data):
    """Scans of handwritten digits, x = 2 · pixel/16 − 1 for pixels 0 … 16: -1 is paper, 1 is ink.

    x has shape (1797, 1, 8, 8), label says which digit it is, 0 … 9. Nothing is downloaded.

    Source: Alpaydin & Kaynak 1998, "Optical recognition of handwritten digits", UCI machine learning repository.
    """

    shape = (1, 8, 8)
    range = (-1.0, 1.0)
    classes = 10

    def load(self) -> Samples:
        """All 1,797, in the order of scikit-learn's `load_digits`."""
        from sklearn.datasets import load_digits

        pixels, label = load_digits(return_X_y=True)
        x = torch.as_tensor(pixels, dtype=torch.float32).reshape(-1, *self.shape)
        return Samples(x / 8 - 1, torch.as_tensor(label, dtype=torch.int64), spacing=1 / 8)
