"""What a recorded call means: a fixed table of the ten or so that checkpoints hold. None of them is made."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import InputError
from scoresde.pickled.graph import Budget
from scoresde.pickled.known import DTYPES, RECORDS
from scoresde.pickled.record import Record
from scoresde.pickled.storage import Tensors, elements

__all__ = ["interpret"]


def interpret(
    name: str,
    args: tuple[Any, ...],
    state: Any,
    items: list[Any],
    entries: dict[Any, Any],
    tensors: Tensors,
    budget: Budget,
) -> Any:
    """The value of a call.

    Args:
        name: of what is called.
        args: plain values.
        state, items, entries: what is set in the result, None or empty for nothing.
        tensors: makes tensors.
        budget: what is left to spend.

    Raises:
        InputError: for a call in a way that is not known.
    """
    try:
        if name == "copyreg._reconstructor":
            name, args = _reconstructed(args), ()
        if name in RECORDS:
            return Record(name, args, state, entries or items)
        if name in _DICTS:  # what its class keeps beside its keys, such as torch's _metadata, is dropped
            made = _dict(name, args, budget) | entries
            return made if not items else _never()
        if items or entries or (state is not None and name not in _WITH_STATE):
            raise InputError(f"changes the result of {name}")
        return _CALLS[name](_Context(tensors, budget, state), *args) if name in _CALLS else _never()
    except (TypeError, _UnknownError):  # other arguments than the table's functions take
        raise InputError(f"calls {name} in a way that no checkpoint does") from None


class _UnknownError(Exception):
    pass


def _never() -> Any:
    raise _UnknownError


@dataclass(frozen=True)
class _Context:
    tensors: Tensors
    budget: Budget
    state: Any


@dataclass(frozen=True)
class _Dtype:
    """A type of numpy's: of which numbers, and whether their bytes are in big-endian order."""

    dtype: torch.dtype
    swapped: bool


def _reconstructed(args: tuple[Any, ...]) -> str:
    match args:
        case (str(name), "builtins.object", None) if name in RECORDS:
            return name
    return str(_never())


def _dict(name: str, args: tuple[Any, ...], budget: Budget) -> dict[Any, Any]:
    match args:
        case () | (None,):
            return {}
        case (str(),) if name == "collections.defaultdict":
            return {}
        case (dict() | list() as given,):
            budget.spend(operations=len(given))
            pairs = list(given.items()) if isinstance(given, dict) else given
            if all(isinstance(pair, list | tuple) and len(pair) == 2 and _is_key(pair[0]) for pair in pairs):
                return dict(pairs)
    return dict(_never())


def _is_key(key: Any) -> bool:
    return (isinstance(key, str) and len(key) <= 512) or (isinstance(key, int) and abs(key) < 2**60)


def _persistent(_: _Context, meta: Any) -> Record:
    """An object that carries the source of its class: the source is thrown away."""
    match meta:
        case {"type": "class", "class_name": str(name), "state": state} if name.isidentifier() and len(name) < 80:
            return Record(name, (), state)
    return _never()


def _tensor(context: _Context, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    return context.tensors.view(storage, offset, shape, stride)


def _typed(
    context: _Context, storage: Any, offset: Any, shape: Any, stride: Any, _: Any, hooks: Any, dtype: Any, *__: Any
) -> Tensor:
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _never()
    return context.tensors.view(storage, offset, shape, stride, DTYPES[dtype])


def _parameter(_: _Context, data: Any, *__: Any) -> Tensor:
    return data if isinstance(data, Tensor) else _never()


def _subclass(context: _Context, function: Any, kind: Any, args: Any, state: Any) -> Tensor:
    if kind not in ("torch.Tensor", "torch.nn.parameter.Parameter") or not isinstance(args, tuple):
        _never()
    table = {name: _CALLS[name] for name in _CALLS if name.startswith("torch._utils._rebuild_tensor")}
    return table[function](context, *args) if isinstance(function, str) and function in table else _never()


def _size(_: _Context, sizes: Any) -> tuple[int, ...]:
    return tuple(sizes) if isinstance(sizes, list | tuple) and len(sizes) <= 32 else _never()


def _device(_: _Context, kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or not kind.isalpha() or len(kind) > 16 or not isinstance(index, int | None):
        _never()
    return kind if index is None else f"{kind}:{index}"


def _set(context: _Context, members: Any = ()) -> set[Any]:
    if not isinstance(members, list | tuple) or not all(_is_key(member) for member in members):
        _never()
    context.budget.spend(operations=len(members))
    return set(members)


def _bytes(context: _Context, text: Any = b"", encoding: Any = "latin1", *_: Any) -> bytes:
    """Bytes, which protocol 2 says as text in Latin-1."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        _never()
    context.tensors.claim(len(text))
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        return bytes(_never())


def _list(context: _Context, given: Any = ()) -> list[Any]:
    if not isinstance(given, list | tuple):
        _never()
    context.budget.spend(operations=len(given))
    return list(given)


_NUMPY = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64, "b1": torch.bool, "u1": torch.uint8}
_NUMPY |= {"i1": torch.int8, "i2": torch.int16, "i4": torch.int32, "i8": torch.int64}


def _dtype(context: _Context, kind: Any, *_: Any) -> _Dtype:
    if not isinstance(kind, str):
        _never()
    if kind not in _NUMPY:
        raise InputError(f"holds a numpy array of type {kind[:20]!r}, which is not of numbers")
    match context.state:
        case (_, str(order), *_):
            return _Dtype(_NUMPY[kind], order == ">")
    return _Dtype(_NUMPY[kind], False)


def _scalar(context: _Context, kind: Any, data: Any) -> Any:
    return _frombuffer(context, data, kind, (), "C").item()


def _ndarray(context: _Context, cls: Any, *_: Any) -> Tensor:
    match context.state:
        case (int(), tuple() as shape, _Dtype() as kind, bool(fortran), bytes() as data) if isinstance(cls, str):
            return _frombuffer(context, data, kind, shape, "F" if fortran else "C")
    return _never()


def _frombuffer(context: _Context, data: Any, kind: Any, shape: Any, order: Any) -> Tensor:
    """An array of numpy as a tensor."""
    ok = isinstance(data, bytes) and isinstance(kind, _Dtype) and isinstance(shape, tuple) and len(shape) <= 32
    if not ok or not all(isinstance(size, int) and 0 <= size < 2**31 for size in shape) or order not in ("C", "F"):
        _never()
    if math.prod(shape) * kind.dtype.itemsize != len(data) or math.prod(max(size, 1) for size in shape) >= 2**62:
        raise InputError(f"holds a numpy array of shape {shape} in {len(data)} bytes")
    context.tensors.claim(len(data))
    flat = elements(memoryview(data), kind.dtype, kind.swapped)
    return flat.view(shape) if order == "C" else flat.view(shape[::-1]).permute(*range(len(shape))[::-1])


_DICTS = {f"collections.{name}" for name in ("OrderedDict", "defaultdict", "Counter")} | {"builtins.dict"}
_DICTS |= {"dnnlib.util.EasyDict"}
_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.nn.parameter.Buffer": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "torch.Size": _size,
    "torch.device": _device,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.list": _list,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "_codecs.encode": _bytes,
    "numpy.dtype": _dtype,
}
for _core in ("numpy.core", "numpy._core"):
    _CALLS[f"{_core}.multiarray.scalar"] = _scalar
    _CALLS[f"{_core}.multiarray._reconstruct"] = _ndarray
    _CALLS[f"{_core}.numeric._frombuffer"] = _frombuffer
_WITH_STATE = {name for name, function in _CALLS.items() if function in (_dtype, _ndarray)}
