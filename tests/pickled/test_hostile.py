"""Files that were made to harm: none is executed, none is read, each is refused in one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scoresde import pickled
from scoresde.checkpoint import load
from scoresde.errors import InputError
from tests.pickled.forge import files, program, programs, sealed, zipped

ROOT = Path(__file__).parents[2]


def siege(*what):
    """The report of a process that reads hostile files under an audit hook."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.pickled.siege", *what], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return json.loads(done.stdout)


def at_peace(report):
    assert report["executions"] == []
    assert report["tracebacks"] == []
    assert report["messages"] == []
    assert not report["canary"]


def test_no_payload_is_run_or_read():
    report = siege("payloads")
    at_peace(report)
    assert report["accepted"] == []
    # a card that is JSON is read as such, and refused as a model
    assert report["refused"] + report.get("read", 0) == 2 * len(files()) > 1000
    assert report.get("read", 0) < 20
    assert len(programs()) > 60
    assert report["memory"] < 64 * 1024  # KiB, for files of some kilobytes
    assert report["slowest"][0] < 10


def test_no_mutant_is_run():
    """20,000 files that were good: each is read or refused."""
    report = siege("mutants", "20000")
    at_peace(report)
    assert report["read"] + report["refused"] == 25_000
    assert report["refused"] > 10_000
    assert report["memory"] < 64 * 1024


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to know what is resident")
def test_memory_is_bounded_by_the_file():
    report = siege("memory")
    for name, (size, more, said, seconds) in report["brink"].items():
        assert said == "read", f"{name}:{said}"
        assert more < 4 * size + 64, f"{name}: {more:.0f} MiB for a file of {size:.1f} MiB"
        assert seconds < 5, f"{name}: {seconds:.1f} s for a file of {size:.1f} MiB"
    for name, (size, more, said) in report["memory"].items():
        assert more < 4 * size + 64, f"{name}: {more:.0f} MiB for a file of {size:.0f} MiB"
        assert ("good" in name or "again" in name) == (said == "read"), f"{name}:{said}"


REASONS = {
    "reduce os.system (bare)": "holds os.system, which is not read: only tensors, numpy arrays",
    "dotted allowed name (zip)": "names something by what is no name",
    "build a class (legacy)": "holds os.system",
    "build a function's defaults (zip)": "sets the state of a name",
    "build twice (bare)": "sets the state of an object, or twice",
    "build a tensor (zip)": "changes the result of torch._utils._rebuild_tensor_v2",
    "inst of an allowed name (bare)": "uses the instruction 0x69 (i)",
    "obj of an allowed name (bare)": "uses the instruction 0x6f (o)",
    "ext1 (legacy)": "uses the instruction 0x82",
    "persid (zip)": "uses the instruction 0x50 (P)",
    "binpersid of a module (legacy)": "refers to a storage in a way",
    "object array (zip)": "type 'O8', which is not of numbers",
    "stride 0 (zip)": "shape (1024, 1024) and stride (0, 0), whose elements are not its own",
    "overlapping (legacy)": "whose elements are not its own",
    "4 TiB (zip)": "does not fit its storage of 4 elements",
    "4 TiB of storage (zip)": "claims 1099511627776 elements of torch.float32 in data/0, which has 16 bytes",
    "4 TiB of storage (legacy)": "is truncated: it ends at byte",
    "cyclic object (legacy)": "contains itself",
    "exponential tuples (bare)": "holds more values than a checkpoint of its size",
    "exponential dicts (zip)": "holds more values than a checkpoint of its size",
    "deep tuples (bare)": "nested deeper than 100 levels",
    "many operations (zip)": "asks for more work",
    "integer keys that collide (bare)": "uses a large integer as a key",
    "nested stream of code (bare)": "holds a stream in its pickle that torch.save did not write",
    "nested legacy stream of code (bare)": "holds a stream in its pickle that holds os.system",
    "persistent of a dotted class (bare)": "_reconstruct_persistent_obj in a way that no checkpoint does",
    "TorchScript": "is TorchScript, a program",
    "entry twice": "holds two entries of the name archive/data/0",
    "compressed bomb": "compressed or encrypted",
    "entries that overlap": "share bytes",
    "parent folder": "an entry of the name 'archive/../../'",
    "link": "holds a link, archive/data/0",
    "damaged storage": "its entry data/0, from byte",
    "pickle with a tail": "goes on after its end",
    "junk behind": "goes on after the end of its zip archive",
    "another count": "claims 4 elements in storage 0, which has 5",
    "storage in two ways": "says in two ways what storage 0 is",
}


@pytest.mark.parametrize("name", REASONS)
def test_a_payload_is_refused_for_what_it_is(name, tmp_path):
    (found,) = [data for (other, _), data in files().items() if other == name]
    path = tmp_path / "foreign.pth"
    path.write_bytes(found)
    with pytest.raises(InputError) as caught:
        pickled.read(path)
    assert str(path) in str(caught.value)
    assert REASONS[name] in str(caught.value)


def test_what_a_file_says_cannot_write_to_the_terminal(tmp_path):
    path = tmp_path / "foreign.pt"
    escape = "\x1b[2J\x07\n" + "x" * 400
    key = b"X" + len(escape).to_bytes(4, "little") + escape.encode()
    path.write_bytes(sealed(zipped(program(b"}" + key + b"Ns"))))
    assert list(pickled.read(path)) == [escape]
    with pytest.raises(InputError, match="is of no format that is read") as caught:
        load(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


CONFIGS = {
    "target": '{"_target_": "os.system", "_class_name": "os.system", "command": "touch executed"}',
    "yaml tag": "!!python/object/apply:os.system ['touch executed']",
    "interpolation": '{"_class_name": "${oc.env:HOME}", "sample_size": "${oc.env:HOME}"}',
    "deep": "[" * 10**5,
    "large": '{"a": "' + "a" * 2**21 + '"}',
    "number": '{"sample_size": 1' + "0" * 5000 + "}",
    "not an object": "[1, 2]",
    "binary": "\udcff\udcfe",
    "empty": "",
    "code": '{"_class_name": "UNet2DModel", "auto_map": {"AutoModel": "evil.Evil"}, "sample_size": 8}',
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("file", ["config.json", "model_index.json", "config.yaml"])
def test_a_folder_of_hostile_configurations_is_refused(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    for place in (folder, folder / "unet"):
        (place / file).write_bytes(CONFIGS[name].encode("utf-8", "surrogateescape"))
        (place / "evil.py").write_text("import os\nos.system('touch executed')\n")
    with pytest.raises(InputError) as caught:
        load(folder)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "executed").exists()


def test_names_that_lead_out_of_a_folder_are_refused(tmp_path):
    from scoresde.compat.base import inside

    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("../secret", "/etc/passwd", "a/../../secret", "..\\secret", "", "a\0b", "none.bin", "."):
        with pytest.raises(InputError):
            inside(folder, name)


@pytest.mark.parametrize("name", ["../digits", "/etc/passwd", "digits.yaml", "", "nothing"])
def test_a_recipe_is_a_name(name):
    from scoresde.compat.base import read_recipe

    with pytest.raises(InputError, match="does not exist"):
        read_recipe(name)
