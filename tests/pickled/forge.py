"""Pickles and archives as an attacker writes them, byte by byte: none of them may run, or be read."""

import io
import json
import pickle
import struct
import zipfile
import zlib

import torch
from safetensors.torch import save

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
CANARY = b"touch executed"
SIXTEEN = b"sixteen bytes ..."[:16]


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(data)) + data


def stacked(module, name):
    return text(module) + text(name) + b"\x93"


def number(value):
    return b"J" + struct.pack("<i", value)


def wide(value):
    return b"\x8a\x10" + value.to_bytes(16, "little", signed=True)


def row(*items):
    return b"(" + b"".join(items) + b"t"


def call(module, name, *args):
    return named(module, name) + row(*args) + b"R"


def program(body):
    return b"\x80\x02" + body + b"."


def storage(key="0", kind="FloatStorage", size=4, module="torch"):
    items = (text("storage"), named(module, kind), text(key), text("cpu"), wide(size))
    return row(*items) + b"Q"


def tensor(shape, stride, offset=0, **where):
    sizes = [row(*(wide(n) for n in numbers)) for numbers in (shape, stride)]
    return call("torch._utils", "_rebuild_tensor_v2", storage(**where), wide(offset), *sizes, b"\x89", ORDERED)


ORDERED = call("collections", "OrderedDict")
LINE = text(CANARY)

NAMES = """
os.system posix.system nt.system os.popen os.execv os.spawnl os.remove posix.unlink posix.fork pty.spawn
builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.open builtins.getattr builtins.setattr
builtins.map builtins.print builtins.input builtins.globals builtins.type __builtin__.eval __builtin__.execfile
subprocess.Popen subprocess.call subprocess.check_output shutil.rmtree shutil.copy importlib.import_module
runpy.run_path runpy.run_module pickle.loads pickle.load _pickle.loads marshal.loads dill.loads cloudpickle.loads
joblib.load torch.load torch.hub.load torch.jit.load torch.serialization.load torch.utils.collect_env.run
torch.package.PackageImporter torch.classes.load_library torch.ops.load_library torch.utils.cpp_extension.load
numpy.load numpy.memmap numpy.fromfile numpy.f2py.compile types.CodeType types.FunctionType operator.attrgetter
operator.methodcaller functools.partial functools.reduce ctypes.CDLL ctypes.string_at socket.create_connection
webbrowser.open urllib.request.urlopen code.interact timeit.timeit cProfile.run pdb.run bdb.Bdb trace.Trace
asyncio.create_subprocess_shell multiprocessing.Process logging.config.dictConfig hydra.utils.instantiate
yaml.unsafe_load sys.exit sys.setrecursionlimit signal.alarm scoresde.registry.build scoresde.training.fit
torch_utils.persistence.import_hook torch._utils.eval copyreg.add_extension codecs.decode collections.namedtuple
""".split()  # noqa: SIM905


def programs():
    """Pickles, by name."""
    evil = call("os", "system", LINE)
    ok = tensor([2, 2], [2, 1])
    cyclic = b"]q\x00h\x00a"
    double = (
        b"()q\x00" + b"".join(b"(h" + bytes([i]) + b"h" + bytes([i]) + b"tq" + bytes([i + 1]) for i in range(60)) + b"t"
    )
    made = {f"reduce {name}": call(*name.rsplit(".", 1), LINE) for name in NAMES}
    module = b"}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}"
    sequential = named("torch.nn.modules.container", "Sequential")
    made |= {
        "stack global": stacked("os", "system") + row(LINE) + b"R",
        "dotted name": stacked("torch", "_utils.os.system") + row(LINE) + b"R",
        "dotted allowed name": stacked("collections", "OrderedDict.__init__.__globals__") + row() + b"R",
        "dotted split elsewhere": stacked("torch", "_utils._rebuild_tensor_v2") + row() + b"R",
        "name with a newline": stacked("os\nx", "system") + row(LINE) + b"R",
        "name in another script": stacked("оs", "system") + row(LINE) + b"R",
        "name of bytes": b"C\x02os" + b"C\x06system" + b"\x93" + row(LINE) + b"R",
        "long name": b"c" + b"a" * 10**4 + b"\nb\n",
        "new object": named("subprocess", "Popen") + row(LINE) + b"\x81",
        "new object with keywords": named("subprocess", "Popen") + row(LINE) + b"}" + b"\x92",
        "keywords of an allowed name": named("torch", "device") + row() + b"}" + text("type") + text("cpu") + b"s\x92",
        "call of a text": text("os.system") + row(LINE) + b"R",
        "call of a result": ORDERED + row(LINE) + b"R",
        "call of a list": b"]" + row(LINE) + b"R",
        "call with a list": named("torch", "Size") + b"]R",
        "build a class": named("collections", "OrderedDict") + b"}" + text("__init__") + evil + b"sb",
        "build a function's defaults": named("torch._utils", "_rebuild_tensor_v2")
        + b"}"
        + text("__defaults__")
        + b")sb",
        "build a function's code": named("torch._utils", "_rebuild_parameter") + b"}" + text("__code__") + LINE + b"sb",
        "build slots": named("torch", "device") + b"N}" + text("__class__") + LINE + b"s\x86b",
        "build a dict": b"}}" + text("a") + b"Nsb",
        "build a list": b"]}b",
        "build twice": ORDERED + b"}b}b",
        "build a tensor": ok + b"}" + text("__class__") + LINE + b"sb",
        "build a size": call("torch", "Size", row()) + b"}" + text("a") + b"Nsb",
        "build on text": text("a") + b"}b",
        "inst": b"(" + LINE + b"ios\nsystem\n",
        "inst of an allowed name": b"(icollections\nOrderedDict\n",
        "obj": b"(" + named("os", "system") + LINE + b"o",
        "obj of an allowed name": b"(" + named("collections", "OrderedDict") + b"o",
        "ext1": b"\x82\x01",
        "ext2": b"\x83\x01\x00",
        "ext4": b"\x84\x01\x00\x00\x00",
        "persid": b"Pos.system\n",
        "binpersid of a call": evil + b"Q",
        "binpersid of a module": row(text("module"), named("collections", "OrderedDict"), text("x.py"), LINE) + b"Q",
        "binpersid of text": text("storage") + b"Q",
        "binpersid of another path": storage(key="../../../etc/passwd"),
        "binpersid of another kind": storage(kind="OrderedDict", module="collections"),
        "binpersid of a negative size": storage(size=-4),
        "binpersid in itself": row(storage(), storage()) + b"Q",
        "protocol 0": b"cos\nsystem\n(S'touch executed'\ntR",
        "string of protocol 0": b"S'a'\n",
        "integer of protocol 0": b"I1\n",
        "long of protocol 0": b"L1L\n",
        "float of protocol 0": b"F1.5\n",
        "dup": b"]2",
        "pop": b"]]0",
        "pop mark": b"](1",
        "next buffer": b"\x97",
        "read-only buffer": b"]\x98",
        "later protocol": b"\x80\x09N",
        "object array": call(
            "numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), row(number(0)), b"C\x01b"
        )
        + row(number(1), row(number(1)), call("numpy", "dtype", text("O8"), b"\x89", b"\x88"), b"\x89", b"]Na")
        + b"b",
        "object scalar": call("numpy.core.multiarray", "scalar", call("numpy", "dtype", text("O"), b"\x89"), evil),
        "array larger than its bytes": call(
            "numpy._core.numeric",
            "_frombuffer",
            b"C\x04abcd",
            call("numpy", "dtype", text("f4")),
            row(wide(2**40)),
            text("C"),
        ),
        "stride 0": tensor([1024, 1024], [0, 0]),
        "stride 0 in one dimension": tensor([2, 2], [1, 0]),
        "4 TiB": tensor([2**40], [1]),
        "4 TiB of storage": tensor([2**40], [1], size=2**40),
        "empty but huge": tensor([2**61, 2**61, 0], [1, 1, 1]),
        "beyond its storage": tensor([2, 2], [2, 1], offset=1),
        "overlapping": tensor([2, 2], [1, 1]),
        "negative stride": tensor([2], [-1], offset=3),
        "negative offset": tensor([2], [1], offset=-1),
        "negative size": tensor([-1], [1]),
        "stride without size": tensor([2], []),
        "many dimensions": tensor([1] * 100, [1] * 100),
        "tensor without a storage": call(
            "torch._utils", "_rebuild_tensor_v2", ORDERED, number(0), row(), row(), b"N", b"N"
        ),
        "tensor of a name": call(
            "torch._utils", "_rebuild_tensor_v2", named("torch", "FloatStorage"), number(0), row(), row()
        ),
        "parameter of text": call("torch._utils", "_rebuild_parameter", LINE, b"\x89", ORDERED),
        "rebuild by another function": call(
            "torch._tensor", "_rebuild_from_type_v2", named("builtins", "set"), named("torch", "Tensor"), row(), b"N"
        ),
        "cyclic list": cyclic,
        "cyclic dict": b"}q\x00" + text("a") + b"h\x00s",
        "cyclic tuple": b"]q\x00h\x00\x85a",
        "cyclic object": sequential + row() + b"\x81q\x00}" + text("a") + b"h\x00sb",
        "cyclic items": ORDERED + b"q\x00" + text("a") + b"h\x00s",
        "exponential tuples": double,
        "exponential dicts": b"(}q\x00"
        + b"".join(
            b"}(" + text("a") + b"h" + bytes([i]) + text("b") + b"h" + bytes([i]) + b"uq" + bytes([i + 1])
            for i in range(60)
        )
        + b"t",
        "exponential key": b"}" + double + b"Ns",
        "deep lists": b"]" * 10**5 + b"a" * (10**5 - 1),
        "deep tuples": b")" + b"\x85" * 10**4,
        "deep calls": named("torch", "Size") * 1000 + b")" + (b"\x85R" * 1000),
        "many operations": b"]" + b"}a" * 300_000,
        "long integer": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\xff" * 64,
        "negative length": b"\x8b" + struct.pack("<i", -1),
        "longer than the file": b"\x8d" + struct.pack("<Q", 2**62) + b"a",
        "bytes longer than the file": b"\x8e" + struct.pack("<Q", 2**63) + b"a",
        "frame longer than the file": b"\x95" + struct.pack("<Q", 2**40) + b"N",
        "text that is none": text(b"\xed\xa0\x80"),
        "long key": b"}" + text("k" * 10**5) + b"Ns",
        "float keys": b"}(" + b"".join(b"G" + struct.pack(">d", i * 0.5) + b"N" for i in range(9)) + b"u",
        "integer keys that collide": b"}(" + b"".join(wide(i * (2**61 - 1)) + b"N" for i in range(1, 9)) + b"u",
        "list as a key": b"}]Ns",
        "list in a set": b"\x8f(]\x90",
        "append to a dict": b"}Na",
        "set in a list": b"]NNs",
        "key without a value": b"}(" + text("a") + b"u",
        "recalled before kept": b"h\x07",
        "nothing": b"",
        "two values": b"NN",
        "open mark": b"(N",
        "bad reconstructor": call(
            "copyreg", "_reconstructor", named("builtins", "set"), named("builtins", "object"), b"N"
        ),
        "reconstructor of a list": call("copyreg", "_reconstructor", b"]", named("builtins", "object"), b"N"),
        "persistent of a dotted class": call(
            "torch_utils.persistence",
            "_reconstruct_persistent_obj",
            b"}(" + text("type") + text("class") + text("class_name") + text("os.system") + text("state") + b"}u",
        ),
        "persistent of a function": call(
            "torch_utils.persistence",
            "_reconstruct_persistent_obj",
            b"}(" + text("type") + text("function") + text("class_name") + text("f") + text("state") + b"}u",
        ),
        "nested stream of code": call(
            "torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(evil) + 3) + program(evil)
        ),
        "nested legacy stream of code": call(
            "torch.storage",
            "_load_from_bytes",
            b"B" + struct.pack("<I", len(legacy(program(evil)))) + legacy(program(evil)),
        ),
        "nested in text": call("torch.storage", "_load_from_bytes", LINE),
        "encode by another codec": call("_codecs", "encode", LINE, text("rot13")),
        "encode to a file": call("_codecs", "encode", text("π"), text("latin1")),
        "factory": call("collections", "defaultdict", named("os", "system")),
        "dict of calls": call("builtins", "dict", b"](" + row(text("a"), evil) + b"e"),
        "dict of what is no pair": call("collections", "OrderedDict", b"](" + LINE + b"e"),
        "module with a hook": sequential + row() + b"\x81" + module + text("_forward_hooks") + evil + b"ub",
    }
    return {name: program(body) for name, body in made.items()}


def legacy(data, keys=(), storages=b""):
    """A file of torch.save before zip."""
    listed = program(b"](" + b"".join(text(key) for key in keys) + b"e")
    return MAGIC + program(b"M\xe9\x03") + program(b"}") + data + listed + storages


def zipped(data, entries=(("0", SIXTEEN),), root="archive"):
    """A file of torch.save."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(f"{root}/data.pkl", data)
        for key, content in entries:
            file.writestr(f"{root}/data/{key}", content)
        file.writestr(f"{root}/version", b"3\n")
    return out.getvalue()


def archives():
    """Zip archives, by name: each holds a good pickle."""
    good = program(b"}" + text("a") + tensor([2, 2], [2, 1]) + b"s")
    plain = zipped(good)
    end = plain.rindex(b"PK\x05\x06")
    first = struct.unpack_from("<I", plain, end + 16)[0]

    def written(write, method=zipfile.ZIP_STORED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as file:
            file.writestr("archive/data.pkl", good)
            write(file)
        return out.getvalue()

    def link(file):
        info = zipfile.ZipInfo("archive/data/0")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")

    def patched(at, data, source=plain):
        return source[:at] + data + source[at + len(data) :]

    entry = plain.index(b"PK\x01\x02", first + 4)  # the table's line of data/0
    # an entry inside of another: of n bytes each, n² in all
    small = zipped(good, (("1", SIXTEEN),))
    small = small[small.index(b"archive/data/1") - 30 :][: 30 + 14 + 16]
    doubled = zipped(good, (("0", small), ("1", SIXTEEN)))
    within, second = doubled.index(small), doubled.rindex(b"archive/data/1") - 46
    return {
        "TorchScript": written(lambda file: file.writestr("archive/code/__torch__.py", "import os")),
        "TorchScript constants": written(lambda file: file.writestr("archive/constants.pkl", program(b")"))),
        "entry twice": zipped(good, (("0", SIXTEEN), ("1", SIXTEEN))).replace(b"archive/data/1", b"archive/data/0"),
        "compressed bomb": written(lambda file: file.writestr("archive/data/0", b"\0" * 10**7), zipfile.ZIP_DEFLATED),
        "entries that overlap": patched(second + 42, struct.pack("<I", within), doubled),
        "entries with one head": patched(entry + 42, plain[first + 42 : first + 46]),
        "parent folder": plain.replace(b"archive/data/0", b"archive/../../"),
        "absolute name": plain.replace(b"archive/data/0", b"/archive/data0"),
        "backslash": plain.replace(b"archive/data/0", b"archive\\data\\0"),
        "drive": plain.replace(b"archive/data/0", b"C:\\windows\\sys"),
        "two folders": plain.replace(b"archive/version", b"another/version"),
        "link": written(link),
        "encrypted": patched(entry + 8, b"\x01\x00"),
        "wrong checksum": patched(entry + 16, b"\0\0\0\1"),
        "damaged storage": plain.replace(SIXTEEN, SIXTEEN[:-1] + b"x"),
        "wrong size": patched(entry + 20, struct.pack("<II", 2**31, 2**31)),
        "size of 64 bits": patched(entry + 20, b"\xff" * 8),
        "head elsewhere": patched(entry + 42, struct.pack("<I", 2**31)),
        "more entries than there are": patched(end + 8, b"\xff\xff\xff\xff"),
        "table elsewhere": patched(end + 16, struct.pack("<I", 1)),
        "no entry": patched(end + 8, b"\0\0\0\0"),
        "comment": plain[:-2] + b"\x04\0evil",
        "junk behind": plain + b"junk",
        "another head": b"PK\x03\x04" + b"junk" * 8 + plain,
        "no data.pkl": plain.replace(b"data.pkl", b"date.pkl"),
        "no storage": zipped(good, ()),
        "storage of another size": zipped(good, (("0", b"\0" * 12),)),
        "pickle with a tail": zipped(good + program(call("os", "system", LINE))),
        "end64 that lies": plain[:end] + b"PK\x06\x07" + struct.pack("<IQI", 0, 2**63, 1) + plain[end:],
        "only an end": b"PK\x05\x06" + b"\0" * 18,
        "only a start": b"PK\x03\x04",
    }


def legacies():
    """Legacy files, by name."""
    one = program(b"}" + text("a") + tensor([2, 2], [2, 1]) + b"s")
    count = struct.pack("<Q", 4)
    return {
        "no storages": legacy(one, ["0"]),
        "another count": legacy(one, ["0"], struct.pack("<Q", 5) + b"\0" * 16),
        "huge count": legacy(program(tensor([2], [1], size=2**60)), ["0"], struct.pack("<Q", 2**60)),
        "unlisted storage": legacy(one, [], count + b"\0" * 16),
        "storage twice": legacy(one, ["0", "0"], (count + b"\0" * 16) * 2),
        "unused storage": legacy(one, ["0", "1"], (count + b"\0" * 16) * 2),
        "tail": legacy(one, ["0"], count + b"\0" * 16 + program(call("os", "system", LINE))),
        "another protocol": legacy(one).replace(b"M\xe9\x03", b"M\xe9\x04"),
        "code in the system's part": MAGIC + program(b"M\xe9\x03") + program(call("os", "system", LINE)),
        "code in the keys": MAGIC + program(b"M\xe9\x03") + program(b"}") + one + program(call("os", "system", LINE)),
        "storage in two ways": legacy(
            program(row(tensor([2], [1]), tensor([2], [1], kind="HalfStorage"))), ["0"], count + b"\0" * 16
        ),
    }


def carded(card, tensors=None, header=None):
    """A safetensors file with a card, or with a header instead."""
    body = save(tensors or {"a": torch.zeros(2)}, metadata={"scoresde 1": card})
    if header is None:
        return body
    (size,) = struct.unpack("<Q", body[:8])
    return struct.pack("<Q", len(header)) + header + body[8 + size :]


def model_card(**changed):
    """What a tiny model's file says of it."""
    net = {"name": "mlp", "shape": [2], "classes": 0, "width": 8, "depth": 1}
    return {"model": net, "sde": {"name": "vp"}, "param": {"name": "eps"}, "range": None} | changed


def safetensors():
    """Files of safetensors, by name."""
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    cards = {
        "deep": "[" * 200_000,
        "deep object": '{"model":' * 200_000,
        "deep but JSON": json.dumps(model_card())[:-1] + ', "about": ' + "[" * 900 + "]" * 900 + "}",
        "number of 5,000 digits": '{"model": 1' + "0" * 5000 + "}",
        "null": "null",
        "list": "[]",
        "text": '"model"',
        "nothing": "",
        "infinite": '{"model": Infinity}',
        "model of a list": json.dumps(model_card(model=[["name", "mlp"]])),
        "model of a number": json.dumps(model_card(model=3)),
        "name of a list": json.dumps(model_card(sde={"name": ["vp"]})),
        "name of code": json.dumps(model_card(param={"name": "os.system"})),
        "name that is no text": json.dumps(model_card(sde={"name": "\ud800\x1b[2J"})),
        "target": json.dumps(model_card(model={"name": "mlp", "_target_": "os.system"})),
        "interpolation": json.dumps(model_card(model={"name": "mlp", "shape": [2], "width": "${oc.env:HOME}"})),
        "range of text": json.dumps(model_card(range=["a", "b"])),
        "range of an object": json.dumps(model_card(range={"0": 1})),
    }
    headers = {
        "list": b"[]",
        "deep": b'{"a":' * 100_000,
        "size below 0": json.dumps({"a": one | {"shape": [-2]}}),
        "size of 64 bits": json.dumps({"a": one | {"shape": [2**63, 0], "data_offsets": [0, 0]}}),
        "size of 5,000 digits": json.dumps({"a": one}).replace("8]", "1" + "0" * 5000 + "]"),
        "offsets backwards": json.dumps({"a": one | {"data_offsets": [8, 0]}}),
        "offsets of text": json.dumps({"a": one | {"data_offsets": "ab"}}),
        "shared bytes": json.dumps({"a": one, "b": one}),
        "bytes elsewhere": json.dumps({"a": one | {"data_offsets": [2**50, 2**50 + 8]}}),
        "type that torch lacks": json.dumps({"a": one | {"dtype": "F6_E2M3"}}),
        "type of text": json.dumps({"a": one | {"dtype": "\x1b[2J"}}),
        "metadata of a number": json.dumps({"__metadata__": {"scoresde 1": 3}, "a": one}),
        "metadata of a list": json.dumps({"__metadata__": [], "a": one}),
        "not text": b'{"\xff": 1}',
    }
    found = {f"card: {name}": carded(card) for name, card in cards.items()}
    found |= {f"header: {n}": carded("", header=h if isinstance(h, bytes) else h.encode()) for n, h in headers.items()}
    return found | {
        "header of 2**64 bytes": b"\xff" * 8 + b"{",
        "header of 99 MB": struct.pack("<Q", 99_000_000) + b"{",
        "a page": b"<html>",
        "a pointer": b"version https://git-lfs.github.com/spec/v1\nsize 5\n",
        "a pickle": programs()["reduce os.system"],
        "an archive": zipped(programs()["reduce os.system"]),
        "a byte": b"{",
    }


def files():
    """Every payload, by name, with the suffix of its file; each pickle alone, in an archive and in a legacy file."""
    found = {}
    for name, data in programs().items():
        there = (["0"], struct.pack("<Q", 4) + SIXTEEN) if b"FloatStorage" in data else ((), b"")
        found[f"{name} (bare)", "pkl"] = data
        found[f"{name} (zip)", "pt"] = zipped(data)
        found[f"{name} (legacy)", "pth"] = legacy(data, *there)
    found |= {(name, "pt"): data for name, data in archives().items()}
    found |= {(f"safetensors, {name}", "safetensors"): data for name, data in safetensors().items()}
    found |= {(name, "pth"): data for name, data in legacies().items()}
    return found


def samples():
    """Small good files of every kind, to mutate."""
    kept = {"model": {"a.weight": torch.arange(6.0).view(2, 3).t(), "b": torch.ones(3).half()}, "step": 7}
    kept |= {"ema": {"decay": 0.999, "shadow_params": [torch.zeros(2, 2).bfloat16()]}, "shape": torch.Size([1, 2])}
    made = []
    for new in (True, False):
        out = io.BytesIO()
        torch.save(kept, out, _use_new_zipfile_serialization=new)
        made.append(out.getvalue())
    made.append(pickle.dumps({"ema": torch.nn.Sequential(torch.nn.Linear(2, 2)), **kept}))
    return made


def sealed(data):
    """An archive whose checksums are right again, so that what was changed inside is read."""
    if not data.startswith(b"PK\x03\x04"):
        return data
    data, at = bytearray(data), 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0 and at + 46 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 20)
        (head,) = struct.unpack_from("<I", data, at + 42)
        if head + 30 <= len(data) and size < len(data):
            start = head + 30 + sum(struct.unpack_from("<HH", data, head + 26))
            struct.pack_into("<I", data, at + 16, zlib.crc32(data[start : start + size]))
        at += 46
    return bytes(data)
