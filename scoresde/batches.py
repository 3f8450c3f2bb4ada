"""Which rows of the data a training step takes, and having them before they are asked for."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from scoresde.data.base import Samples, Source
from scoresde.errors import InputError
from scoresde.noise import Noise
from scoresde.tensor import expand

__all__ = ["Batches"]

_STREAMS = 3 * 2**60  # where the streams of what is done to the data begin: far from those of samples and of training
_AHEAD = 2  # steps


@dataclass(frozen=True)
class Batches:
    """Batches of data, each a function of (seed, step) alone.

    Args:
        data: where the rows come from.
        size: rows of a step; each pass over the data takes every row once, in an order of (seed, pass).
        seed: a whole number in [0, 2⁶³).
        flip: whether each row is mirrored with chance 1/2: its last axis is turned round.
        dequantize: whether uniform noise of the width of the data's spacing is added.

    Raises:
        InputError: for more rows than the data have, and a spacing that they lack.
    """

    data: Source
    size: int
    seed: int
    flip: bool = False
    dequantize: bool = False

    def __post_init__(self) -> None:
        """Refuse what does not fit."""
        count = len(self.data)
        if self.size > count:
            raise InputError(f"batch = {self.size} is larger than the data, {count} samples: take a smaller batch")
        if self.dequantize and self.data.spacing == 0:
            raise InputError(
                "dequantize=true needs data of equally spaced levels, and these are a continuum: leave it out"
            )

    def rows(self, step: int) -> Tensor:
        """The numbers of a step's rows, shape (size,)."""
        count, first = len(self.data), step * self.size
        passes = range(first // count, (first + self.size - 1) // count + 1)
        orders = torch.cat([_order(count, (self.seed * 1_000_003 + number) % 2**63) for number in passes])
        start = first - passes[0] * count
        return orders[start : start + self.size]

    def read(self, steps: range, part: range, device: torch.device) -> Iterator[tuple[int, Samples]]:
        """Steps with what they take; of data that are not in memory it is read while the steps before are computed.

        Args:
            steps: their numbers.
            part: which places of each batch are wanted.
            device: where the samples shall lie.

        Yields:
            The step, and its samples.
        """
        if isinstance(self.data, Samples):
            near = self.data.to(device)
            for step in steps:
                yield step, self._varied(near.take(self._part(step, part)), step, part)
            return
        with ThreadPoolExecutor(1, "read") as reader:
            waiting = deque(reader.submit(self.data.take, self._part(step, part)) for step in steps[:_AHEAD])
            for i, step in enumerate(steps):
                batch = waiting.popleft().result().to(device)
                if i + _AHEAD < len(steps):
                    waiting.append(reader.submit(self.data.take, self._part(steps[i + _AHEAD], part)))
                yield step, self._varied(batch, step, part)

    def _part(self, step: int, part: range) -> Tensor:
        return self.rows(step)[part.start : part.stop]

    def _varied(self, batch: Samples, step: int, part: range) -> Samples:
        if not (self.flip or self.dequantize):
            return batch
        x = batch.x
        first = _STREAMS + step * self.size + part.start
        noise = Noise(self.seed, tuple(x.shape), device=x.device, dtype=x.dtype, first=first)
        if self.flip:
            x = torch.where(expand(noise.uniform(()), x) < 0.5, x.flip(-1), x)
        if self.dequantize:
            x = x + self.data.spacing * (noise.uniform() - 0.5).to(x.dtype)
        return Samples(x, batch.label)


@lru_cache(maxsize=2)  # a pass is many steps
def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
