"""Distance to the nearest training point: whether samples are copies."""

from dataclasses import dataclass

from torch import Tensor

from scoresde.data.base import Samples
from scoresde.metric.base import Metric, rows

__all__ = ["Nearest"]


@dataclass(frozen=True)
class Nearest(Metric):
    """The mean distance min_j |x − d_j| of samples x to the data d; a copy of the data gives 0.

    Beside it the same within the data, of each point to the nearest other one. A model that has learned the law comes
    near that figure; far below it, it has memorised; far above it, its samples are off the data.
    """

    def __call__(self, samples: Tensor, data: Samples) -> dict[str, float]:
        """Samples to the data, and each point of the data to the others; see `Metric`."""
        from sklearn.neighbors import NearestNeighbors

        a, b = rows(samples, data)
        tree = NearestNeighbors(n_neighbors=1).fit(b.numpy())
        return {
            "nearest neighbour distance": float(tree.kneighbors(a.numpy())[0].mean()),
            "nearest neighbour distance within the data": float(tree.kneighbors()[0].mean()),  # itself left out
        }
