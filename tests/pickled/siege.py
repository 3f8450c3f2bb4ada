"""Read hostile files under an audit hook, in a process of its own: python -m tests.pickled.siege payloads | mutants."""

import json
import os
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
from pathlib import Path

import scoresde
from scoresde import pickled, registry
from scoresde.checkpoint import load
from scoresde.errors import InputError
from scoresde.pickled.graph import Budget, parse
from scoresde.registry import build, describe
from scoresde.store import read_any
from tests.pickled.forge import (
    call,
    carded,
    files,
    legacy,
    model_card,
    named,
    program,
    programs,
    row,
    samples,
    sealed,
    tensor,
    text,
    wide,
    zipped,
)

QUIET = {"builtins.id", "mmap.__new__", "object.__getattr__", "sys._getframe"}
# what finding our own components takes
QUIET |= {"glob.glob", "glob.glob/2", "os.listdir", "os.scandir", "pathlib.Path.glob", "pathlib.Path.rglob"}

OURS = str(Path(scoresde.__file__).parent)

FAST = "/dev/shm"  # files in memory, where there are such


class Watch:
    """What the interpreter is asked to do while a file is read."""

    def __init__(self):
        self.path, self.seen = None, []
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if self.path is None or event in QUIET:
            return
        # how a dataclass gets its methods, and its hints are read: of our own components
        made = event in ("compile", "exec", "object.__setattr__")
        if made and sys._getframe(1).f_globals.get("__name__") in ("dataclasses", "typing"):
            return
        # reading is allowed: of the file itself, and of the source of our own components
        if event == "open" and arguments[1] in ("r", "rb") and str(arguments[0]).startswith((str(self.path), OURS)):
            return
        self.seen.append(f"{event} {str(arguments)[:200]}")


def attempt(watch, report, name, path, how):
    """One file: what is raised, and what happens."""
    watch.path, before, start = path, len(watch.seen), time.process_time()
    try:
        how(path)
        outcome = "read"
    except InputError as error:
        outcome = "refused"
        message = str(error)
        if "\n" in message or not message.isprintable() or len(message) > 1000:
            report["messages"].append(f"{name}: {message[:200]!r}")
    except BaseException:
        outcome = "traceback"
        report["tracebacks"].append(f"{name}: {traceback.format_exc()[-800:]}")
    watch.path = None
    report[outcome] = report.get(outcome, 0) + 1
    report["executions"] += [f"{name}: {event}" for event in watch.seen[before:]]
    report["slowest"] = max(report["slowest"], (time.process_time() - start, name))
    return outcome


def mutated(data, other, draw):
    """One change or a few: bits, bytes, runs, cuts, and parts of another file."""
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        at, size = draw.randrange(len(data)), draw.choice((1, 1, 2, 4, 8, 32))
        match draw.randrange(8):
            case 0:
                data[at] ^= 1 << draw.randrange(8)
            case 1:
                data[at : at + size] = draw.randbytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size]
            case 4:
                data[at:at] = draw.randbytes(size)
            case 5:
                data[at : at + size] = draw.choice((b"\0", b"\xff", b"\x7f")) * size
            case 6:
                start = draw.randrange(len(other))
                data[at : at + size] = other[start : start + size]
            case 7 if draw.random() < 0.2:
                del data[at:]
        if not data:
            break
    return bytes(data)


def large():
    """Files of some sixteen megabytes, by name, that would like to be more."""
    size = 1 << 24
    view = tensor([size // 4], [1], size=size // 4)
    whole = (("0", bytes(size)),)
    many = [tensor([size // 4 - i], [1], size=size // 4) for i in range(1000)]
    block = b"\x8e" + struct.pack("<Q", size // 2) + bytes(size // 2)
    yield "good", lambda: zipped(program(view), whole)
    yield "good legacy", lambda: legacy(program(view), ["0"], struct.pack("<Q", size // 4) + bytes(size))
    yield "many views", lambda: zipped(program(row(*many)), whole)
    yield "dicts", lambda: program(b"(" + b"}" * size + b"t")
    yield "marks", lambda: program(b"(" * size)
    yield "short bytes", lambda: program(b"(" + b"C\x01a" * (size // 3) + b"t")
    yield "texts", lambda: program(b"(" + text("π😀" * 1000) * (size // 6000) + b"t")
    yield "one text", lambda: program(text("a" * size + "😀"))
    yield "bytes again and again", lambda: program(b"(" + block + b"q\x00" + b"h\x00" * 1000 + b"t")
    arrays = b"(" + block + b"q\x00" + array() * 1000 + b"t"
    yield "arrays of the same bytes", lambda: program(arrays)
    yield "memory", lambda: program(b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(size // 5)))
    yield "calls", lambda: program(b"(" + named("torch", "Size") + b"q\x00" + b"h\x00)R" * (size // 4) + b"t")
    yield "entries", lambda: zipped(program(b"}"), [(str(i), b"") for i in range(50_000)])


def array():
    kind = call("numpy", "dtype", text("u1"))
    return call("numpy.core.numeric", "_frombuffer", b"h\x00", kind, row(wide(1 << 23)), text("C"))


def brink():
    """Files just inside what a file may ask for, by name: as many of each part as are not refused for their number."""
    block = b"\x8e" + struct.pack("<Q", 40_000_000) + bytes(40_000_000)
    named_size = named("torch", "Size") + b"q\x00"
    parts = {
        "sets": (b"", b"\x8f"),
        "dicts": (b"", b"}"),
        "tuples": (b"", b"N\x85"),
        "calls": (named_size, b"h\x00)\x85R"),
        "memory": (b"", b"N\x94"),
        "texts": (b"", b"X\x02\0\0\0\xc2\xb5"),
    }
    for name, (before, part) in parts.items():
        for size, padding in (("small", b""), ("large", block)):
            yield f"{name}, {size}", (lambda before=before, part=part, padding=padding: _most(padding + before, part))


def _most(before, part):
    def filled(count):
        return program(b"(" + before + part * count + b"l")

    budget = Budget(0)
    start = budget.operations
    parse(memoryview(filled(1000)), 0, budget)
    cost, count = (start - budget.operations) / 1000, 0
    for _ in range(40):
        count = int((Budget(len(before) + count * len(part)).operations - 100) / cost)
    # it may hold so many values too
    return filled(min(count, Budget(len(before)).values - 100))


def apart(job):
    """A job in a child of this process, and what it returns: its memory is its own."""
    reads, writes = os.pipe()
    if os.fork() == 0:
        os.write(writes, json.dumps(job()).encode())
        os._exit(0)
    os.close(writes)
    os.wait()
    with open(reads) as said:
        return json.loads(said.read())


def grown(path):
    """How many megabytes a file has, how many more are resident at the most while it is read, and what is said."""
    before, said = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize(), "read"
    try:
        kept = pickled.read(path)
        del kept
    except InputError as error:
        said = str(error).partition(str(path))[2]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return path.stat().st_size / 2**20, (after - before) / 2**20, said


def main(what, count):
    """Print a report as JSON."""
    report = {"tracebacks": [], "executions": [], "messages": [], "slowest": (0.0, ""), "accepted": []}
    with tempfile.TemporaryDirectory(dir=FAST if Path(FAST).is_dir() else None) as folder:
        good = samples()
        for group in ("compat", "model", "sde", "param"):
            for name in registry.names(group):
                registry.component(group, name)
        for i, data in enumerate(good):  # what is imported and compiled once
            path = Path(folder) / f"{i}.pt"
            path.write_bytes(data)
            try:
                pickled.read(path)
                load(path)
            except InputError:
                pass
        own = model_card()
        net = build("model", own["model"])
        text = json.dumps(own | {"model": describe(net)})
        path = Path(folder) / "good.safetensors"
        path.write_bytes(carded(text, net.state_dict()))
        load(path)
        watch = Watch()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if what == "payloads":
            for i, ((name, suffix), data) in enumerate(files().items()):
                path = Path(folder) / f"{i}.{suffix}"
                path.write_bytes(data)
                plain = read_any if suffix == "safetensors" else pickled.read
                for how in (plain, load):
                    # a card may be JSON, and the file a whole one, of what is no model
                    if attempt(watch, report, name, path, how) != "refused" and not (
                        how is read_any and name.startswith("safetensors, card")
                    ):
                        report["accepted"].append(name)
                path.unlink()
        elif what == "memory":
            path = Path(folder) / "large.pt"
            report["memory"] = {}
            for name, write in large():
                apart(lambda write=write: path.write_bytes(write()))
                report["memory"][name] = apart(lambda: grown(path))
            report["brink"] = {}
            for name, write in brink():
                apart(lambda write=write: path.write_bytes(write()))
                report["brink"][name] = apart(lambda: [*grown(path), time.process_time()])
            print(json.dumps(report))
            return
        else:
            draw = random.Random(int(count))
            pickles = [data for data in programs().values() if len(data) < 10**4]
            path = Path(folder) / "mutant.pt"
            for i in range(int(count)):
                data = mutated(draw.choice(good), draw.choice(draw.choice((good, pickles))), draw)
                path.write_bytes(sealed(data) if draw.random() < 0.5 else data)
                attempt(watch, report, f"mutant {i}", path, load if i % 10 == 0 else pickled.read)
            path = Path(folder) / "mutant.safetensors"
            for i in range(int(count) // 4):
                if i % 2:  # the card alone, so that most files are whole
                    card = mutated(text.encode(), text.encode(), draw).decode("utf-8", "replace")
                    path.write_bytes(carded(card, net.state_dict()))
                else:
                    whole = carded(text, net.state_dict())
                    path.write_bytes(mutated(whole[:2000], whole, draw) + whole[2000:])
                attempt(watch, report, f"safetensors mutant {i}", path, load)
        report["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        report["canary"] = Path("executed").exists() or (Path(folder) / "executed").exists()
    print(json.dumps(report))


if __name__ == "__main__":
    main(*[*sys.argv[1:], "0"][:2])
