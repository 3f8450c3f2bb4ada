"""What a metric is: figures of samples against data."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from scoresde.data.base import Samples
from scoresde.errors import InputError

__all__ = ["Metric", "halves", "rows"]


class Metric(ABC):
    """Figures that compare samples with a data set, with what two halves of the data give as their floor."""

    @abstractmethod
    def __call__(self, samples: Tensor, data: Samples) -> dict[str, float]:
        """Measure.

        Args:
            samples: shape (n, *shape).
            data: what they should look like, shape (N, *shape).

        Returns:
            Figures by name; where a figure has a floor, ``"<name> of two halves of the data"`` is beside it.
        """


def rows(samples: Tensor, data: Samples) -> tuple[Tensor, Tensor]:
    """Samples and data as vectors.

    Args:
        samples: shape (n, *shape), n ≥ 2.
        data: of the same shape, N ≥ 4, so that each half has two.

    Returns:
        Shapes (n, D) and (N, D), float64, on the CPU.

    Raises:
        InputError: for shapes that do not fit, too few rows, or numbers that are not finite.
    """
    if samples.shape[1:] != data.x.shape[1:]:
        shapes = tuple(samples.shape), tuple(data.x.shape)
        raise InputError(f"samples of shape {shapes[0]} cannot be compared with data of shape {shapes[1]}")
    if len(samples) < 2 or len(data.x) < 4:
        raise InputError(f"{len(samples)} samples and {len(data.x)} of the data are too few: it takes 2 and 4")
    a, b = (x.detach().flatten(1).to("cpu", torch.float64) for x in (samples, data.x))
    for x, name in (a, "samples"), (b, "data"):
        if not x.isfinite().all():
            raise InputError(f"the {name} hold numbers that are not finite, in {_bad(x)} of {len(x)} rows")
    return a, b


def halves(x: Tensor, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two random halves of the data, the first cut to n rows where it has more.

    A distance between finite sets is the larger the smaller they are: the floor is taken at the samples' size.

    Args:
        x: shape (N, D).
        n: how many samples there are.
        seed: of the split.

    Returns:
        Disjoint rows, shapes (min(n, N // 2), D) and (N − N // 2, D).
    """
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    half = len(x) // 2
    return x[order[: min(n, half)]], x[order[half:]]


def _bad(x: Tensor) -> int:
    return int((~x.isfinite()).any(-1).sum())
