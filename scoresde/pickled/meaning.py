"""From the graph of a pickle to plain values: the few shapes of record that checkpoints use, and no others."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from scoresde.errors import InputError
from scoresde.pickled.calls import interpret
from scoresde.pickled.graph import Budget, Call, Global, Persistent
from scoresde.pickled.storage import Storage, Tensors

__all__ = ["Meaning"]

_PLAIN = (str, int, float, bytes, type(None))  # a union would be made anew at every node
_DEEPEST = 100  # levels: a module in a module is five


class Meaning:
    """The interpreter of one file's graphs.

    Args:
        budget: what is left to spend.
        tensors: makes the file's tensors.
        outside: the storage that a persistent identity names.
        inner: the storage in a nested stream of bytes.
    """

    def __init__(
        self,
        budget: Budget,
        tensors: Tensors,
        outside: Callable[[Any], Any],
        inner: Callable[[memoryview], Any] | None = None,
    ) -> None:
        self.budget, self.tensors, self.outside, self.inner = budget, tensors, outside, inner
        self.known: dict[int, tuple[Any, int, int]] = {}  # value, how many values it holds, how deep

    def plain(self, node: Any) -> Any:
        """The value of a node.

        Args:
            node: what `scoresde.pickled.graph.parse` returns; it must outlive this interpreter.

        Raises:
            InputError: for a shape of record that is not known, cycles, and graphs too deep or too large.
        """
        return self._visit(node, 0)[0]

    def _visit(self, node: Any, depth: int) -> tuple[Any, int, int]:
        if isinstance(node, _PLAIN):
            return node, 1, 0
        if isinstance(node, Global):
            return node.name, 1, 0
        if id(node) not in self.known:
            if depth > _DEEPEST:
                raise InputError(f"is nested deeper than {_DEEPEST} levels")
            self.known[id(node)] = (_OPEN, 0, 0)
            self.known[id(node)] = self._compound(node, depth + 1)
        value, size, height = self.known[id(node)]
        if value is _OPEN:
            raise InputError("holds something that contains itself")
        if depth + height > _DEEPEST:
            raise InputError(f"is nested deeper than {_DEEPEST} levels")
        if size > self.budget.values:  # those of a shared part counted as often as it is reached
            raise InputError("holds more values than a checkpoint of its size does")
        return value, size, height

    def _compound(self, node: Any, depth: int) -> tuple[Any, int, int]:
        match node:
            case dict():
                keys = [key.name if isinstance(key, Global) else key for key in node]
                values, size, height = self._all(list(node.values()), depth)
                return dict(zip(keys, values, strict=True)), size, height
            case list():
                return self._all(node, depth)
            case tuple():
                values, size, height = self._all(list(node), depth)
                return tuple(values), size, height
            case set():
                return {key.name if isinstance(key, Global) else key for key in node}, len(node) + 1, 1
            case memoryview():
                self.tensors.claim(len(node))
                return bytes(node), 1, 0
            case Persistent(identity=identity):
                values, _, _ = self._visit(identity, depth)
                return self.outside(values), 1, 1
            case Call():
                return self._call(node, depth)
        raise InputError(f"holds a {type(node).__name__}")

    def _all(self, nodes: list[Any], depth: int) -> tuple[list[Any], int, int]:
        if not nodes:
            return [], 1, 1
        found = [self._visit(node, depth) for node in nodes]
        return (
            [value for value, _, _ in found],
            1 + sum(size for _, size, _ in found),
            1 + max((h for _, _, h in found), default=0),
        )

    def _call(self, call: Call, depth: int) -> tuple[Any, int, int]:
        name = call.function.name
        nodes = [call.args, call.kwargs, call.state, call.items, [value for _, value in call.entries]]
        if name == "torch.storage._load_from_bytes":
            return self._nested(call), 1, 1
        # nodes of the two last are made here: they are read now and not remembered
        read = [self._visit(node, depth) for node in nodes[:3]] + [self._all(node, depth) for node in nodes[3:]]
        (args, kwargs, state, items, values), size = [one[0] for one in read], sum(one[1] for one in read)
        if not isinstance(args, tuple) or not (kwargs is None or (isinstance(kwargs, dict) and not kwargs)):
            raise InputError(f"calls {name} with arguments of an unknown kind")
        keys = [key.name if isinstance(key, Global) else key for key, _ in call.entries]
        entries = dict(zip(keys, values, strict=True))
        value = interpret(name, args, state, items, entries, self.tensors, self.budget)
        small = isinstance(value, (*_PLAIN, Tensor, Storage))
        return value, 1 if small else size, 1 + max(one[2] for one in read)

    def _nested(self, call: Call) -> Any:
        match call.args:
            case (memoryview() | bytes() as data,) if self.inner and not (call.items or call.entries or call.built):
                return self.inner(memoryview(data))
            case (Call() as encoded,) if self.inner:
                return self.inner(memoryview(self.plain(encoded)))
        raise InputError("holds a stream in a stream in a way that no checkpoint does")


class _Open:
    """What is being read."""


_OPEN = _Open()
