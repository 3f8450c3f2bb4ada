"""An object of a pickle that is not a plain value: its class by name, and what the file says of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from scoresde.errors import InputError

__all__ = ["Record", "weights"]


@dataclass(frozen=True, eq=False)
class Record:
    """What a pickle says of an object: inert, nothing of it was imported or called.

    Args:
        name: the class, ``torch.nn.modules.conv.Conv2d``; for EDM's persistent objects the class in the source that
            the file carries, ``SongUNet``: that source is thrown away.
        args: of its constructor, where the pickle has any; the constructor of a network is in its state.
        state: its attributes, as a rule a dict.
        items: what was appended or set in it, for classes like lists and dicts.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] | dict[Any, Any] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """The class without its module."""
        return self.name.rpartition(".")[2]


def weights(module: Record) -> dict[str, Tensor]:
    """The ``state_dict`` of a recorded torch module: its parameters and persistent buffers by dotted names.

    Raises:
        InputError: for a record that is not of a module.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in _named(module, ""):
        found[name] = tensor
        if len(name) > 512 or len(found) > 100_000:
            raise InputError("it has more parameters, or longer names, than networks have")
    return found


def _named(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    match module:
        case Record(
            state={"_parameters": dict() as own, "_buffers": dict() as buffers, "_modules": dict() as inner} as state
        ):
            passing = state.get("_non_persistent_buffers_set", set())
        case _:
            raise InputError(f"{prefix.rstrip('.') or 'it'} is no torch module")
    kept = {name: tensor for name, tensor in buffers.items() if name not in passing}
    for name, tensor in (own | kept).items():
        if isinstance(tensor, Tensor):
            yield f"{prefix}{name}", tensor
    for name, one in inner.items():
        if one is not None:
            yield from _named(one, f"{prefix}{name}.")
