"""A pickle as a graph of inert nodes: what it names and calls is written down, never looked up."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scoresde.errors import InputError
from scoresde.pickled.known import KNOWN, families

__all__ = ["Budget", "Call", "Global", "Persistent", "parse"]


@dataclass
class Budget:
    """What a file may make us do, in proportion to its size; ordinary checkpoints stay far below.

    Args:
        size: of the file, in bytes.
    """

    size: int

    def __post_init__(self) -> None:
        # a state_dict of tiny tensors takes half an operation a byte, of real ones next to none
        self.operations = 50_000 + min(self.size * 3 // 4, 600_000) + self.size // 256
        self.values = 200_000 + self.size // 64
        self.text = (1 << 22) + self.size // 16

    def spend(self, operations: int = 0, text: int = 0) -> None:
        """Take from what is left.

        Raises:
            InputError: when nothing is left.
        """
        self.operations -= operations
        self.text -= text
        if self.operations < 0 or self.text < 0:
            raise InputError("asks for more work than a checkpoint of its size does")


@dataclass(frozen=True, slots=True)
class Global:
    """A name of a module, from the list of those that checkpoints hold."""

    name: str


@dataclass(eq=False, slots=True)
class Call:
    """A call, and what was done to its result: recorded, not made."""

    function: Global
    args: Any
    kwargs: Any = None
    state: Any = None
    built: bool = False
    items: list[Any] = field(default_factory=list)
    entries: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class Persistent:
    """What stands outside of the pickle: a storage of torch."""

    identity: Any


def parse(data: memoryview, start: int, budget: Budget, outside: list[Persistent] | None = None) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        data: the stream, and where in it the pickle starts.
        budget: what is left to spend.
        outside: takes what stands outside of it; None where nothing may.

    Returns:
        The root (plain values, lists, dicts, sets, `Call`, `Global`, `Persistent`, and memoryviews for long bytes),
        and where the pickle ends.

    Raises:
        InputError: as the rest of a sentence about the stream: "is truncated: it ends at byte 7".
    """
    return _Machine(data, start, budget, outside).run()


class _Machine:
    """The part of pickle's stack machine that pickles of data use."""

    def __init__(self, data: memoryview, start: int, budget: Budget, outside: list[Persistent] | None) -> None:
        self.data, self.at, self.budget, self.outside = data, start, budget, outside
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> tuple[Any, int]:
        first = True
        while True:
            if self.at >= len(self.data):
                self.take(1)  # which says so
            op = self.data[self.at]
            self.budget.spend(operations=_COSTS.get(op, 1))
            self.at += 1
            if first and op != 0x80:
                raise InputError("is not a checkpoint of PyTorch: it does not start as a pickle does")
            first = False
            if op == 0x2E:  # STOP
                if len(self.stack) != 1 or self.marks:
                    raise self.bad("stops in the middle of a value")
                return self.stack[0], self.at
            step = _STEPS.get(op)
            if step is None:
                what = f"{op:#04x} ({chr(op)})" if 32 < op < 127 else f"{op:#04x}"
                raise self.bad(f"uses the instruction {what}, which no checkpoint needs")
            step(self)

    def bad(self, what: str) -> InputError:
        return InputError(f"is damaged or not a checkpoint: its pickle {what}, before byte {self.at}")

    def take(self, size: int) -> memoryview:
        end = self.at + size
        if end > len(self.data):
            raise InputError(f"is truncated: it ends at byte {len(self.data)}, in the middle of its pickle")
        part = self.data[self.at : end]
        self.at = end
        return part

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise self.bad("takes from an empty stack")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise self.bad("has no mark to go back to")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def top(self) -> Any:
        if not self.stack:
            raise self.bad("takes from an empty stack")
        return self.stack[-1]

    # values

    def text(self, layout: str, encoding: str = "utf-8") -> None:
        size = self.number(layout)
        if size < 0:
            raise self.bad("holds a text of negative length")
        part = self.take(size)
        self.budget.spend(text=size)
        try:
            self.stack.append(str(part, encoding))
        except UnicodeDecodeError:
            raise self.bad("holds text that is not text") from None

    def integer(self, layout: str) -> None:
        size = self.number(layout)
        if not 0 <= size <= 16:
            raise self.bad(f"holds an integer of {size} bytes")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def bytes(self, layout: str) -> None:
        part = self.take(self.number(layout))
        self.stack.append(bytes(part) if len(part) < 4096 else part)

    def last(self, count: int) -> None:
        if len(self.stack) < count:
            raise self.bad("takes from an empty stack")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(items)

    def protocol(self) -> None:
        version = self.number("<B")
        if not 2 <= version <= 5:
            raise self.bad(f"says to be of protocol {version}, where checkpoints use 2 to 5")

    def frame(self) -> None:
        if self.number("<Q") > len(self.data) - self.at:
            raise InputError(f"is truncated: it ends at byte {len(self.data)}, in the middle of its pickle")

    # memory

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise self.bad("recalls what it did not keep")
        self.stack.append(self.memo[index])

    # containers

    def append(self, items: list[Any]) -> None:
        owner = self.top()
        if isinstance(owner, list):
            owner += items
        elif isinstance(owner, Call):
            owner.items += items
        else:
            raise self.bad("appends to what is no list")

    def set(self, pairs: list[Any]) -> None:
        owner = self.top()
        if len(pairs) % 2:
            raise self.bad("holds a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self.check_key(key)
            if isinstance(owner, dict):
                owner[key] = value
            elif isinstance(owner, Call):
                owner.entries.append((key, value))
            else:
                raise self.bad("sets a key of what is no dict")

    def add(self, items: list[Any]) -> None:
        owner = self.top()
        if not isinstance(owner, set):
            raise self.bad("adds to what is no set")
        for item in items:
            self.check_key(item)
            owner.add(item)

    def frozen(self) -> None:
        items = self.pop_mark()
        for item in items:
            self.check_key(item)
        self.stack.append(set(items))

    def check_key(self, key: Any) -> None:
        """Keys of which a hash is cheap, and hard to make collide."""
        if not (key is None or isinstance(key, Global) or (isinstance(key, int) and abs(key) < 2**60)):
            if not isinstance(key, str):
                raise self.bad(f"uses {_kind(key)} as a key")
            if len(key) > 512:
                raise self.bad(f"uses {len(key)} characters as a key")

    # names and calls

    def name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)) or "." in name:
            raise self.bad("names something by what is no name")
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        if (module, name) not in KNOWN:
            raise InputError(f"holds {module}.{name}, which is not read: only {families()} are")
        self.stack.append(Global(f"{module}.{name}"))

    def line(self) -> str:
        rest = bytes(self.data[self.at : self.at + 256])
        text, end, _ = rest.partition(b"\n")
        if not end:
            self.take(257)  # which says so where the stream ends
            raise self.bad("holds a name longer than 256 characters")
        self.at += len(text) + 1
        return text.decode("latin-1")

    def call(self, kwargs: bool = False) -> None:
        named = self.pop() if kwargs else None
        args, function = self.pop(), self.pop()
        if not isinstance(function, Global):
            raise self.bad(f"calls {_kind(function)}")
        self.stack.append(Call(function, args, named))

    def build(self) -> None:
        state, owner = self.pop(), self.top()
        if not isinstance(owner, Call) or owner.built:
            raise self.bad(f"sets the state of {_kind(owner)}, or twice")
        owner.state, owner.built = state, True

    def persistent(self) -> None:
        if self.outside is None:
            raise self.bad("refers to something outside of it")
        node = Persistent(self.pop())
        self.outside.append(node)
        self.stack.append(node)

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        self.name(module, name)

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def dict(self) -> None:
        pairs = self.pop_mark()
        self.stack.append({})
        self.set(pairs)


def _kind(node: Any) -> str:
    """What a node is, in a word."""
    words = {Call: "an object", Global: "a name", Persistent: "a storage", int: "a large integer", str: "a text"}
    return words.get(type(node), f"a {type(node).__name__}")


def _two(machine: _Machine) -> list[Any]:
    value, key = machine.pop(), machine.pop()
    return [key, value]


# by the memory that they take, some hundred bytes each
_COSTS = dict.fromkeys(b"t(\x85\x86\x87", 3) | dict.fromkeys(b"]l}dQ", 4) | dict.fromkeys(b"\x8f\x91R\x81\x92", 8)
_Step = Callable[[_Machine], Any]
_STEPS: dict[int, _Step] = {
    ord(op): step
    for op, step in {
        b"\x80": lambda m: m.protocol(),
        b"\x95": lambda m: m.frame(),
        b"N": lambda m: m.push(None),
        b"\x88": lambda m: m.push(True),
        b"\x89": lambda m: m.push(False),
        b"J": lambda m: m.push(m.number("<i")),
        b"K": lambda m: m.push(m.number("<B")),
        b"M": lambda m: m.push(m.number("<H")),
        b"G": lambda m: m.push(m.number(">d")),
        b"\x8a": lambda m: m.integer("<B"),
        b"\x8b": lambda m: m.integer("<i"),
        b"\x8c": lambda m: m.text("<B"),
        b"X": lambda m: m.text("<I"),
        b"\x8d": lambda m: m.text("<Q"),
        b"U": lambda m: m.text("<B", "ascii"),
        b"T": lambda m: m.text("<i", "ascii"),
        b"C": lambda m: m.bytes("<B"),
        b"B": lambda m: m.bytes("<I"),
        b"\x8e": lambda m: m.bytes("<Q"),
        b"\x96": lambda m: m.bytes("<Q"),
        b")": lambda m: m.push(()),
        b"\x85": lambda m: m.last(1),
        b"\x86": lambda m: m.last(2),
        b"\x87": lambda m: m.last(3),
        b"t": lambda m: m.push(tuple(m.pop_mark())),
        b"]": lambda m: m.push([]),
        b"l": lambda m: m.push(m.pop_mark()),
        b"}": lambda m: m.push({}),
        b"d": lambda m: m.dict(),
        b"\x8f": lambda m: m.push(set()),
        b"\x91": lambda m: m.frozen(),
        b"(": lambda m: m.mark(),
        b"a": lambda m: m.append([m.pop()]),
        b"e": lambda m: m.append(m.pop_mark()),
        b"s": lambda m: m.set(_two(m)),
        b"u": lambda m: m.set(m.pop_mark()),
        b"\x90": lambda m: m.add(m.pop_mark()),
        b"q": lambda m: m.put(m.number("<B")),
        b"r": lambda m: m.put(m.number("<I")),
        b"\x94": lambda m: m.put(len(m.memo)),
        b"h": lambda m: m.get(m.number("<B")),
        b"j": lambda m: m.get(m.number("<I")),
        b"c": lambda m: m.name(m.line(), m.line()),
        b"\x93": lambda m: m.stack_name(),
        b"R": lambda m: m.call(),
        b"\x81": lambda m: m.call(),
        b"\x92": lambda m: m.call(kwargs=True),
        b"b": lambda m: m.build(),
        b"Q": lambda m: m.persistent(),
    }.items()
}
