"""Randomness of a run: one stream per sample, the same on every device.

A stream is a counter through Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
so that the k-th draw of sample i is a function of (seed, i, k) alone: it depends neither on the batch that the sample
is in nor on the device, and nothing has to be saved to resume.
"""

import math
from collections.abc import Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import InputError

__all__ = ["Noise", "philox"]

_LOW = 0xFFFFFFFF


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int] | tuple[Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """Philox4x32 with ten rounds, elementwise.

    Args:
        counter: four int64 tensors that broadcast together, each word in [0, 2³²).
        key: two words in [0, 2³²), as numbers or as tensors that broadcast with the counter.

    Returns:
        Four int64 tensors of independent uniform words in [0, 2³²).
    """
    a, b, c, d = counter
    k: int | Tensor
    m: int | Tensor
    k, m = key
    for _ in range(10):
        # int64 products wrap modulo 2⁶⁴, which leaves both 32-bit halves right
        low, high = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (high >> 32 & _LOW) ^ b ^ k, high & _LOW, (low >> 32 & _LOW) ^ d ^ m, low & _LOW
        k, m = (k + 0x9E3779B9) & _LOW, (m + 0xBB67AE85) & _LOW
    return a, b, c, d


class Noise:
    """Random numbers for a batch, drawn in turn; each sample has a stream of its own.

    Args:
        seed: a whole number in [0, 2⁶⁴), or one for each sample.
        shape: the batch's shape, (B, ...).
        device, dtype: where and as what the numbers are made.
        first: the stream of the batch's first sample: of one seed, sample b reads stream ``first + b``; with seeds of
            their own all read stream ``first``, so that each is the first sample of its seed.

    Raises:
        InputError: for a seed outside its range, or another number of seeds than samples.
    """

    def __init__(
        self,
        seed: int | Sequence[int],
        shape: tuple[int, ...],
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        first: int = 0,
    ) -> None:
        seeds: Sequence[Any] = seed if isinstance(seed, Sequence) and not isinstance(seed, str) else [seed]
        for each in seeds:
            if isinstance(each, bool) or not isinstance(each, int) or not 0 <= each < 2**64:
                raise InputError(f"seed = {each!r}, but it must be a whole number in [0, 2**64)")
        self.shape = tuple(shape)
        self.device = torch.device(device or "cpu")
        self.dtype = dtype or torch.get_default_dtype()
        self._draws = 0
        self._total = self.shape[0]
        self._place = torch.arange(self._total, device=self.device)
        self._key: tuple[int, int] | tuple[Tensor, Tensor]
        if isinstance(seed, int):
            self._key = (seed & _LOW, seed >> 32)
            self._stream = torch.arange(first, first + self.shape[0], device=self.device)[:, None]
            return
        if len(seeds) != self.shape[0]:
            raise InputError(f"seed names {len(seeds)} seeds, but it must name one for each of {self.shape[0]} samples")
        words = [[each & _LOW, each >> 32] for each in seeds]
        low, high = torch.tensor(words, device=self.device).reshape(-1, 2, 1).unbind(1)
        self._key, self._stream = (low, high), torch.full_like(low, first)

    def rows(self, samples: Sequence[int]) -> "Noise":
        """The streams of some of the samples, where they are now: a batch of its own, in that order."""
        part, index = copy(self), torch.tensor(samples, device=self.device)
        part.shape, part._stream, part._place = (len(index), *self.shape[1:]), self._stream[index], self._place[index]
        low, high = self._key
        if isinstance(low, Tensor) and isinstance(high, Tensor):
            part._key = (low[index], high[index])
        return part

    def uniform(self, event: tuple[int, ...] | None = None) -> Tensor:
        """Uniform numbers in (0, 1), in float64: fine enough for the tails of an inverse distribution function.

        Args:
            event: the shape of one sample's numbers; the batch's own by default, () for one number a sample.

        Returns:
            Shape (B, *event).
        """
        event = self.shape[1:] if event is None else event
        count = math.prod(event)
        block = torch.arange((count + 1) // 2, device=self.device)
        draw = torch.full((), self._draws, device=self.device)
        self._draws += 1
        words = philox((block, draw, self._stream & _LOW, self._stream >> 32), self._key)
        a, b, c, d = (word.double() for word in words)
        # 52 of 64 bits, in the middle of their cells: 0 and 1 are never met
        pairs = [((high * 2**20 + (low / 2**12).floor()) + 0.5) * 2**-52 for high, low in ((a, b), (c, d))]
        return torch.stack(pairs, -1).reshape(self.shape[0], -1)[:, :count].reshape(self.shape[0], *event)

    def stratified(self) -> Tensor:
        """One uniform number a sample, in (0, 1), the b-th of B in [b/B, (b + 1)/B), in float64, shape (B,).

        That lowers the variance of a batch's mean and leaves the mean as it is. Where the batch is `rows` of another, b
        and B are those of the other: its parts together have what the whole has.

        Source: Kingma et al. 2021, "Variational diffusion models", appendix I.1.
        """
        return (self._place + self.uniform(())) / self._total

    def normal(self) -> Tensor:
        """Standard normal numbers of the batch's shape (B, ...)."""
        return torch.special.ndtri(self.uniform()).to(self.dtype)

    def brownian(self, t: Tensor, s: Tensor) -> Tensor:
        """The Brownian increment w(s) − w(t): normal of variance |s − t|, shape (B, ...).

        Increments of one run are independent: ask for each interval once.
        """
        return self.normal() * (s - t).abs().sqrt()
