"""Tensors in one safetensors file with a card that describes them. Nothing in a file is executed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from scoresde.errors import InputError
from scoresde.files import whole

__all__ = ["read", "write"]

_KEY = "scoresde 1"  # the one entry of the metadata: several would be written in no fixed order


def write(path: str | Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write tensors with a card of plain values, whole or not at all."""
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with whole(path) as draft:
        draft.write_bytes(serialize(plain, metadata={_KEY: json.dumps(card)}))


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write` wrote: tensors on the CPU, and the card.

    Raises:
        InputError: for a file that is missing, truncated or written by something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}: train one with python train.py, or give checkpoint=…")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise InputError(f"{path} was not written by scoresde: its metadata holds {sorted(metadata)}")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata[_KEY])  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file of scoresde: truncated or foreign ({error})"
        ) from None
