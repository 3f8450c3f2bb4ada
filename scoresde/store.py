"""Tensors in one safetensors file with a card that describes them. Nothing in a file is executed."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from scoresde.errors import InputError, printable
from scoresde.files import regular, whole
from scoresde.foreign import foreign

__all__ = ["read", "read_any", "write"]

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
    tensors, card = read_any(path)
    if card is None:
        raise InputError(f"{printable(str(path))} was not written by scoresde")
    return tensors, card


def read_any(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read a safetensors file: tensors on the CPU, and the card, None for one that `write` did not write.

    Raises:
        InputError: for a file that is missing, truncated, or not of safetensors, and a card that is none.
    """
    path = Path(path)
    called = printable(str(path))
    if not regular(path):
        raise InputError(
            f"there is no checkpoint {called}: give checkpoint=… a file or a folder that is there, or train one with "
            "python train.py"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            card = (file.metadata() or {}).get(_KEY)
    # a tensor that torch cannot make is no error of safetensors
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise InputError(f"{called} {printable(_wrong(path, error))}") from None
    return tensors, None if card is None else _card(card, called)


def _card(text: str, called: str) -> dict[str, Any]:
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number too long, or nested too deep
        raise InputError(f"{called} has a card that is not JSON ({printable(str(error))})") from None
    if not isinstance(card, dict):
        raise InputError(f"{called} has a card that is {printable(repr(card)):.80}, but it must be an object of JSON")
    return card


def _wrong(path: Path, error: Exception) -> str:
    """What is wrong with a file that safetensors refuses: the rest of a sentence."""
    broken = "is not a whole safetensors file"
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(1024)
            header = struct.unpack("<Q", start[:8])[0] if size >= 8 else 0
            if size == 0:
                return f"{broken}: it is empty"
            if size < 8 or (start[8:9] == b"{" and size < 8 + header <= 1 << 40):
                end = 8 + max(header, 1)
                return f"{broken}: truncated, it ends at byte {size}, before its header does, at byte {end}"
            if start[8:9] == b"{" and header < 1 << 24:
                file.seek(8)
                entries = json.loads(str(file.read(header), "utf-8"))
                end = 8 + header + max(one["data_offsets"][1] for name, one in entries.items() if name[:2] != "__")
                if size < end < 1 << 60:
                    return f"{broken}: truncated, it ends at byte {size}, before its tensors do, at byte {end}"
                if end < size:
                    return f"{broken}: it goes on after its tensors, from byte {end} to byte {size}"
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return f"{broken} ({error})"
    if start[:1] == b"\x80" or start[:4] == b"PK\x03\x04":
        return f"{broken}, but perhaps one of PyTorch: rename it to end in .pt"
    return foreign(start) or f"{broken} ({error})"
