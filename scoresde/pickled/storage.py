"""Storages and the tensors in them: a tensor owns as many elements as it claims."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import InputError

__all__ = ["Storage", "Tensors", "elements"]


@dataclass(eq=False)
class Storage:
    """The elements of a storage: copied out of the file when the first tensor asks for them.

    Args:
        dtype: of its elements.
        size: their number.
        data: gives their bytes, ``size`` of them times the type's.
        swapped: whether the bytes of each are in the order of a big-endian machine.
    """

    dtype: torch.dtype
    size: int
    data: Callable[[], memoryview]
    swapped: bool = False
    _flat: Tensor | None = None

    def flat(self) -> Tensor:
        """The elements, in memory of their own, shape (size,)."""
        if self._flat is None:
            self._flat = elements(self.data(), self.dtype, self.swapped)
        return self._flat


def elements(data: memoryview, dtype: torch.dtype, swapped: bool = False) -> Tensor:
    """Bytes as a tensor of its own memory, shape (n,)."""
    if len(data) == 0:
        return torch.empty(0, dtype=dtype)
    own = bytearray(data)
    if swapped:
        width = dtype.itemsize
        for byte in range(width // 2):
            low, high = own[byte::width], own[width - 1 - byte :: width]
            own[byte::width], own[width - 1 - byte :: width] = high, low
    if dtype == torch.bool:  # a byte that is neither 0 nor 1 is no bool
        return torch.frombuffer(own, dtype=torch.uint8) != 0
    return torch.frombuffer(own, dtype=dtype)


class Tensors:
    """Views of storages, each made once, and together not larger than twice the file.

    Args:
        size: of the file, in bytes.
    """

    def __init__(self, size: int) -> None:
        self.left = 2 * size
        self.made: dict[Any, Tensor] = {}

    def view(self, storage: Any, offset: Any, shape: Any, stride: Any, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor in a storage.

        Args:
            storage: where its elements are.
            offset, shape, stride: in elements, as the file says them.
            dtype: of the elements where the storage is of bytes, else the storage's.

        Raises:
            InputError: for a tensor that does not fit its storage, or whose elements are not each its own.
        """
        if not isinstance(storage, Storage):
            raise InputError("holds a tensor without a storage")
        numbers = [offset, *_sizes(shape, "shape"), *_sizes(stride, "stride")]
        if len(shape) != len(stride) or not all(_whole(number) for number in numbers):
            raise InputError(f"holds a tensor of shape {_say(shape)}, stride {_say(stride)} and offset {_say(offset)}")
        key = (storage, tuple(numbers), dtype)
        if key not in self.made:
            self.made[key] = self._view(storage, offset, tuple(shape), tuple(stride), dtype or storage.dtype)
        return self.made[key]

    def claim(self, size: int) -> None:
        """Count bytes of memory.

        Raises:
            InputError: for more than twice the file's.
        """
        self.left -= size
        if self.left < 0:
            raise InputError("holds tensors that claim more than the file holds")

    def _view(
        self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        count, width = math.prod(shape), dtype.itemsize
        there = storage.size * storage.dtype.itemsize // width
        last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if count else offset
        if last + (count > 0) > there or math.prod(max(size, 1) for size in shape) >= 2**62:
            raise InputError(f"holds a tensor of shape {shape} that does not fit its storage of {there} elements")
        reach = 1
        for step, size in sorted((step, size) for size, step in zip(shape, stride, strict=True) if size > 1 and count):
            if step < reach:
                raise InputError(f"holds a tensor of shape {shape} and stride {stride}, whose elements are not its own")
            reach = step * (size - 1) + reach
        self.claim(count * width)
        if count == 0:
            return torch.empty(shape, dtype=dtype)
        flat = storage.flat()
        if dtype != storage.dtype:
            flat = flat != 0 if dtype == torch.bool else flat[: there * width].view(dtype)
        return flat.as_strided(shape, stride, offset)


def _sizes(value: Any, what: str) -> list[Any]:
    if not isinstance(value, tuple | list) or len(value) > 32:
        raise InputError(f"holds a tensor whose {what} is {_say(value)}")
    return list(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _say(value: Any) -> str:
    """A value of the file in a few words: it may be of any size."""
    items = value if isinstance(value, tuple | list) else [value]
    simple = len(items) < 33 and all(isinstance(item, int | float) for item in items)
    return repr(value) if simple else f"a {type(value).__name__}"
