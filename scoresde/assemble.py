"""A network from a description and tensors that must account for it: neither is trusted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import InputError
from scoresde.model.base import Network
from scoresde.registry import build

__all__ = ["assemble", "elements", "sound"]

_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_TABLES = 1 << 20  # numbers that a network may compute and keep beside its weights, more than they are


def assemble(
    spec: Mapping[str, Any], tensors: Mapping[str, Tensor], called: Mapping[str, str] | None = None, **supplied: Any
) -> Network:
    """Build ``model=…`` and give it weights.

    Args:
        spec: the network's name and fields, as `scoresde.registry.build` takes them.
        tensors: its ``state_dict``, complete, of the right shapes, finite; taken over in the network's own precision.
        called: what messages call the tensors, where not by their names.
        supplied: fields that ``spec`` lacks: shape, classes.

    Raises:
        InputError: for a description that is none, and tensors that are not this network's, naming the first.
    """
    spec = {**spec, **supplied}
    # first without memory, and with no more tensors than there are: a description is not to be trusted
    with torch.device("meta"), _at_most(tensors, spec):
        bare: Network = build("model", spec)
    most = elements(tensors)
    expected = bare.state_dict()
    # what is computed and not kept in files
    tables = sum(buffer.numel() for name, buffer in bare.named_buffers() if name not in expected)
    if tables > most + _TABLES:
        said = f"shape = {tuple(bare.shape)}"
        raise InputError(f"{said} takes tables of {tables} numbers, more than its {most} weights account for")
    _same(tensors, expected, called or {})
    net: Network = build("model", spec)
    net.load_state_dict(tensors)
    return net


@contextmanager
def _at_most(tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> Iterator[None]:
    """Refuse to build a network of larger numbers, or of more parameters, than a file's tensors account for."""
    most = elements(tensors)
    for field, value in card.items():
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int) and abs(number) > most:
                raise InputError(f"{field} = {number} is more than its weights can be of")
    made = 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        # some more, so that the one that is missing can be named
        if made > 2 * len(tensors) + 16:
            raise InputError(f"it describes a network of many more than its {len(tensors)} tensors")

    hook = torch.nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _same(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], called: Mapping[str, str]) -> None:
    """Refuse weights that are not those of the described network."""
    odd = sorted(tensors.keys() ^ expected.keys())
    if odd:
        raise InputError(f"it does not hold the weights of the network that it describes: {odd[0]} is one-sided")
    for name, tensor in expected.items():
        title = called.get(name, name)
        if tensor.shape != tensors[name].shape:
            shapes = tuple(tensors[name].shape), tuple(tensor.shape)
            raise InputError(f"{title} has shape {shapes[0]}, but its network's has {shapes[1]}")
        sound(title, tensors[name])


def sound(title: str, tensor: Tensor) -> None:
    """Refuse a tensor that no weights are: of another type than floats of 16 to 64 bits, or not finite.

    Raises:
        InputError: naming it as ``title``.
    """
    if tensor.dtype not in _PRECISIONS:
        wanted = ", ".join(str(dtype).removeprefix("torch.") for dtype in _PRECISIONS)
        raise InputError(f"{title} is of {str(tensor.dtype).removeprefix('torch.')}, but weights are of {wanted}")
    if not tensor.isfinite().all():
        raise InputError(f"{title} holds NaN or infinity")


def elements(tensors: Mapping[str, Tensor]) -> int:
    """How many numbers there are in memory: those that several tensors share count once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() // tensor.itemsize
        for tensor in tensors.values()
    }
    return min(sum(storages.values()), sum(tensor.numel() for tensor in tensors.values()))
