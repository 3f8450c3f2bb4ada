"""An array in a .npy, .npz or .safetensors file: points, images, sequences, fields."""

import math
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scoresde.data.base import Data, Samples, Source, labels
from scoresde.errors import Assumed, InputError, check, printable, typed
from scoresde.files import regular
from scoresde.store import read_any

__all__ = ["Array"]

_ROWS = 4096  # looked through at a time


@dataclass(frozen=True)
class Array(Data):
    """The rows of an array of shape (N, ...). Whole numbers become x = 2 (value − low)/(high − low) − 1.

    A .npy is read from the disk row by row, and can be larger than memory.

    Args:
        path: a .npy, .npz or .safetensors file.
        key: which array of an .npz or .safetensors file; empty takes the only one, or x.
        label: which array of that file holds the labels, whole numbers from 0, shape (N,); empty for none.
        low, high: the least and the greatest value that can occur; both 0 for real numbers without bounds, and for
            bytes, which have 0 and 255.
        channels_last: whether images lie as (N, H, W, C), to be turned to (N, C, H, W).
        on_error: ``stop`` at a row with a value that is not finite or out of bounds, or ``skip`` it with a note.

    Raises:
        InputError: for a value out of range.
    """

    path: str = ""
    key: str = ""
    label: str = ""
    low: float = 0.0
    high: float = 0.0
    channels_last: bool = False
    on_error: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        """Refuse bounds that are none."""
        typed(self)
        check(self, "low", math.isfinite(self.low), "a finite number")
        ok = math.isfinite(self.high) and (self.high > self.low or self.high == self.low == 0)
        check(self, "high", ok, f"a finite number > low = {self.low:g}")

    def load(self) -> Source:
        """The rows; the whole array is looked through once.

        Raises:
            InputError: for a file that is not there or holds no such array, and for rows that are refused.
        """
        return self._rows

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Of one row, channels first."""
        inner = self._x.shape[1:]
        return (inner[-1], *inner[:-1]) if self.channels_last else inner

    @property
    def range(self) -> tuple[float, float] | None:  # type: ignore[override]
        """(−1, 1) for whole numbers, (low, high) for real ones, None without bounds."""
        return (-1.0, 1.0) if self._whole else self._bounds

    @property
    def classes(self) -> int:  # type: ignore[override]
        """One more than the greatest label."""
        return 0 if self._label is None else int(self._label.max()) + 1

    @cached_property
    def _file(self) -> dict[str, NDArray[Any]]:
        if not self.path:
            raise InputError("data=array needs a .npy, .npz or .safetensors file: data.path=…")
        path, called = Path(self.path), printable(self.path)
        if path.suffix not in (".npy", ".npz", ".safetensors"):
            raise InputError(f"data.path = {called}, but it must be a .npy, .npz or .safetensors file")
        if not regular(path):
            raise InputError(f"data.path = {called}: there is no such file")
        if path.suffix == ".safetensors":
            return {name: _numpy(tensor) for name, tensor in read_any(path)[0].items()}
        try:
            file = np.load(path, mmap_mode="r", allow_pickle=False)
            if isinstance(file, np.ndarray):
                return {"x": file}
            with file:
                return {name: file[name] for name in file.files}
        except Exception as error:  # zip, header and sizes each fail in their own way
            raise InputError(f"{called} is no array of numbers ({printable(str(error))})") from None

    def _named(self, key: str) -> NDArray[Any]:
        if key not in self._file:
            there = ", ".join(sorted(self._file))
            raise InputError(f"{printable(self.path)} holds no array {key!r}, but {there}: give data.key=…")
        return self._file[key]

    @cached_property
    def _x(self) -> NDArray[Any]:
        others = [name for name in self._file if name != self.label]
        x = self._named(self.key or (others[0] if len(others) == 1 else "x"))
        called = printable(self.path)
        if x.dtype.kind not in "iuf" or x.ndim < 2 or x.size == 0:
            raise InputError(f"{called}: an array of shape {x.shape}, {x.dtype}, but data are real numbers (N, ...)")
        if x.dtype.kind != "f" and x.dtype != np.uint8 and self.high == self.low:
            raise InputError(f"{called} holds whole numbers: which can occur? give data.low=… data.high=…")
        if self.channels_last and x.ndim != 4:
            raise InputError(f"data.channels_last=true is for images (N, H, W, C), and {called} has shape {x.shape}")
        return x

    @property
    def _whole(self) -> bool:
        return bool(self._x.dtype.kind != "f")

    @property
    def _bounds(self) -> tuple[float, float] | None:
        if self.high > self.low:
            return self.low, self.high
        return (0.0, 255.0) if self._whole else None

    @cached_property
    def _label(self) -> Tensor | None:
        if not self.label:
            return None
        found = self._named(self.label)
        if found.shape != self._x.shape[:1]:
            called = f"{printable(self.path)}: data.label={self.label}"
            raise InputError(f"{called} has shape {found.shape}, but labels have shape ({len(self._x)},)")
        return labels(found.tolist(), f"{self.path}, {self.label}")

    @cached_property
    def _rows(self) -> "_Rows":
        x, bad = self._x, list[int]()
        low, high = self._bounds or (-math.inf, math.inf)
        for start in range(0, len(x), _ROWS):
            rows = np.asarray(x[start : start + _ROWS]).reshape(min(_ROWS, len(x) - start), -1)
            with np.errstate(over="ignore"):
                fine = (np.isfinite(rows.astype(np.float32)) & (rows >= low) & (rows <= high)).all(1)
            bad += (np.flatnonzero(~fine) + start).tolist()
        if bad:
            wrong = "not finite" if self._bounds is None else f"not finite or not in [{low:g}, {high:g}]"
            which = f"{len(bad)} of {len(x)} rows hold numbers that are {wrong}, the first is row {bad[0]}"
            what = f"{printable(self.path)}: {which}"
            if self.on_error == "stop":
                raise InputError(f"{what}; to leave them out: data.on_error=skip")
            if len(bad) == len(x):
                raise InputError(what)
            warnings.warn(f"{what}; they are skipped", Assumed, stacklevel=2)
        kept = torch.from_numpy(np.setdiff1d(np.arange(len(x)), bad))
        return _Rows(x, kept, self._label, self._bounds if self._whole else None, self.channels_last)


def _numpy(tensor: Tensor) -> NDArray[Any]:
    """Of the precisions that NumPy lacks, float32."""
    known = not tensor.is_floating_point() or tensor.dtype in (torch.float16, torch.float32, torch.float64)
    found: NDArray[Any] = (tensor if known else tensor.float()).numpy()
    return found


@dataclass(frozen=True, eq=False)
class _Rows(Source):
    """The rows of an array that are kept."""

    x: NDArray[Any]
    kept: Tensor
    label: Tensor | None
    bounds: tuple[float, float] | None
    channels_last: bool

    @property
    def spacing(self) -> float:  # type: ignore[override]
        """Of whole numbers, once they lie in [−1, 1]."""
        return 0.0 if self.bounds is None else 2 / (self.bounds[1] - self.bounds[0])

    def __len__(self) -> int:
        return len(self.kept)

    def take(self, rows: Tensor) -> Samples:
        """Some of the rows; see `Source`."""
        at = self.kept[rows]
        rows_found = self.x[at.numpy()]
        if self.bounds is not None:  # in double precision: float32 holds no whole numbers beyond 2²⁴
            low, high = self.bounds
            rows_found = (rows_found.astype(np.float64) - low) * (2 / (high - low)) - 1
        x = torch.from_numpy(rows_found.astype(np.float32))
        if self.channels_last:
            x = x.movedim(-1, 1).contiguous()
        return Samples(x, None if self.label is None else self.label[at])
