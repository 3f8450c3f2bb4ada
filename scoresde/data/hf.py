"""Images of Hugging Face datasets, by name or in a local .parquet or .arrow file."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoresde.data.base import labels
from scoresde.data.encoded.images import Images, Listed
from scoresde.errors import InputError, printable

__all__ = ["HF"]


@dataclass(frozen=True)
class HF(Images):
    """Images of a data set: x = low + (1 − low) · value/255. Needs ``pip install "scoresde[data]"``.

    Args:
        path: a data set's name, such as ``cifar10``, which is downloaded once; or a local .parquet or .arrow file, or a
            folder that ``save_to_disk`` wrote.
        mode, size, low, on_error: as `Images`.
        split: of a named data set.
        column: the images.
        label: the column of labels, whole numbers from 0; empty for none.

    Raises:
        InputError: as `Images`.
    """

    split: str = "train"
    column: str = "image"
    label: str = ""

    def _list(self) -> Listed:
        table = self._table()
        images = table.select_columns([self.column])

        def read(i: int) -> Any:
            cell = images[i][self.column]
            if cell is None:
                raise OSError("the cell is empty")
            return io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"]).open("rb")

        label = labels(table[self.label][:], f"{self.path}, column {self.label}") if self.label else None
        return [f"{self.path}[{i}]" for i in range(len(images))], read, label

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
            reason = printable(f"{type(error).__name__}, {str(error).strip().partition(chr(10))[0]}")
            raise InputError(f"data.path = {printable(self.path)} cannot be read: {reason}") from None
        there = table.column_names if isinstance(table, datasets.Dataset) else []
        for column in filter(None, (self.column, self.label)):
            if column not in there:
                has = f"it has {there}" if there else f"it has splits {list(table)}"
                raise InputError(f"{printable(self.path)} has no column {column}: {has}")
        try:
            return table.cast_column(self.column, datasets.Image(decode=False))
        except Exception as error:
            reason = printable(f"{type(error).__name__}, {str(error).strip().partition(chr(10))[0]}")
            raise InputError(f"{printable(self.path)}: column {self.column} holds no images ({reason})") from None
