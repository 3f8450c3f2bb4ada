"""Images of Hugging Face datasets, by name or in a local .parquet or .arrow file."""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from scoresde.data.base import Data
from scoresde.data.encoded.pictures import Mode, Pictures
from scoresde.errors import InputError, check, printable, typed

__all__ = ["HF"]


@dataclass(frozen=True)
class HF(Data):
    """Images of a data set: x = low + (1 − low) · value/255. Needs ``pip install "scoresde[data]"``.

    Args:
        path: a data set's name, such as ``cifar10``, which is downloaded once; or a local .parquet or .arrow file, or a
            folder that ``save_to_disk`` wrote.
        split: of a named data set.
        column: the images.
        label: the column of labels, whole numbers from 0; empty for none.
        mode: RGB or L, for grey: 8 bits of what every image is.
        size: 0 takes images as large as they are, all of one size; else the middle square of each, resized.
        low: what black becomes, in [-1, 0]; white is 1. Song et al.'s VE networks read [0, 1].
        on_error: ``stop`` at an image that cannot be used, or ``skip`` it with a note.

    Raises:
        InputError: for a value out of range.
    """

    path: str = ""
    split: str = "train"
    column: str = "image"
    label: str = ""
    mode: Mode = "RGB"
    size: int = 0
    low: float = -1.0
    on_error: Literal["stop", "skip"] = "stop"

    def __post_init__(self) -> None:
        """Refuse a size or a range that is none."""
        typed(self)
        check(self, "size", 0 <= self.size <= 2**15, "a whole number in [0, 2**15]")
        check(self, "low", -1 <= self.low <= 0, "a number in [-1, 0]")

    def load(self) -> Pictures:
        """The images; headers are read at the first call, pixels when they are asked for.

        Raises:
            InputError: for a data set that is not there, or has no such column.
        """
        return self._pictures

    @property
    def range(self) -> tuple[float, float]:  # type: ignore[override]
        """(low, 1)."""
        return self.low, 1.0

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(3, H, W), or (1, H, W) for grey."""
        return self._pictures.shape

    @property
    def classes(self) -> int:  # type: ignore[override]
        """One more than the greatest label."""
        return 0 if self._label is None else int(self._label.max()) + 1

    @cached_property
    def _table(self) -> Any:
        if not self.path:
            raise InputError("data=hf needs the name of a data set or a local .parquet or .arrow file: data.path=…")
        try:
            import datasets
        except ImportError:
            raise InputError('data=hf needs Hugging Face datasets: pip install "scoresde[data]"') from None
        path = Path(self.path)
        try:
            if path.suffix == ".arrow":
                table = datasets.Dataset.from_file(str(path))
            elif path.suffix == ".parquet":
                table = datasets.Dataset.from_parquet(str(path))
            elif path.is_dir():
                table = datasets.load_from_disk(str(path))
            else:
                table = datasets.load_dataset(self.path, split=self.split)
        except Exception as error:  # a network, a hub, a parser: each fails in its own way
            reason = printable(str(error).strip().partition("\n")[0])
            raise InputError(
                f"data.path = {printable(self.path)} cannot be read: {type(error).__name__}, {reason}"
            ) from None
        for column in filter(None, (self.column, self.label)):
            if column not in (table.column_names if isinstance(table, datasets.Dataset) else ()):
                there = table.column_names if isinstance(table, datasets.Dataset) else f"splits {list(table)}"
                raise InputError(f"{printable(self.path)} has no column {column}: it has {there}")
        return table.cast_column(self.column, datasets.Image(decode=False))

    @cached_property
    def _label(self) -> Tensor | None:
        if not self.label:
            return None
        found = self._table[self.label][:]
        if not all(isinstance(each, int) and each >= 0 for each in found):
            raise InputError(
                f"{printable(self.path)}: column {self.label} holds what is no label: whole numbers from 0"
            )
        return torch.tensor(found)

    @cached_property
    def _pictures(self) -> Pictures:
        images = self._table.select_columns([self.column])

        def read(i: int) -> Any:
            cell = images[i][self.column]
            if cell is None:
                raise OSError("the cell is empty")
            return io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"]).open("rb")

        called = [f"{self.path}[{i}]" for i in range(len(images))]
        return Pictures(called, read, self._label, self.mode, self.size, self.low, self.on_error == "skip")
