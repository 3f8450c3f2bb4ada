"""What torch.save and pickle.dump write comes back, bit for bit; what is no checkpoint is called what it is."""

import argparse
import collections
import io
import pickle
import random
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scoresde.errors import InputError
from scoresde.pickled import Record, read, weights
from tests.pickled.forge import legacy, program, tensor

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
TYPES += [torch.int8, torch.uint8, torch.bool]


def write(value, path, kind):
    if kind == "pickle":
        path.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, path, _use_new_zipfile_serialization=kind == "zip")


def same(found, made):
    """Whether a value came back; a tensor's bits, and not only its numbers."""
    if isinstance(made, torch.Tensor):
        assert isinstance(found, torch.Tensor)
        assert (found.dtype, found.shape) == (made.dtype, made.shape)
        bits = [tensor.detach().reshape(-1).contiguous().view(torch.uint8) for tensor in (found, made)]
        return torch.equal(*bits)
    if isinstance(made, dict):
        return list(found) == list(made) and all(same(found[key], made[key]) for key in made)
    if isinstance(made, list | tuple):
        return type(found) is type(made) and len(found) == len(made) and all(map(same, found, made))
    return type(found) is type(made) and (found == made or found != found)


def some_tensor(draw):
    dtype = draw.choice(TYPES)
    shape = [draw.randrange(4) for _ in range(draw.randrange(4))]
    made = torch.randint(0, 2, shape).bool() if dtype == torch.bool else (100 * torch.randn(shape)).to(dtype)
    match draw.randrange(5):
        case 0 if made.ndim > 1:
            return made.transpose(0, 1)
        case 1 if made.ndim and made.shape[0] > 2:
            return made[::2]
        case 2 if made.is_floating_point():
            return torch.nn.Parameter(made)
        case 3 if made.is_floating_point() and made.numel():
            made.view(-1)[0] = float("nan")
    return made


def some_value(draw, depth=0):
    match draw.randrange(5 if depth > 4 else 9):
        case 0:
            return draw.choice([None, True, False, 0, 255, 256, -1, 65535, 2**31, -(2**40), 2**70, 1.5, float("inf")])
        case 1:
            return draw.choice(["", "a", "π" * 300, "module.all_modules.3.weight", b"", b"abc", bytes(range(256)) * 20])
        case 2 | 3 | 4:
            return some_tensor(draw)
        case 5:
            return [some_value(draw, depth + 1) for _ in range(draw.randrange(5))]
        case 6:
            return tuple(some_value(draw, depth + 1) for _ in range(draw.randrange(5)))
        case 7:
            return {draw.choice(["a", "b", 1, 2, None, True]): some_value(draw, depth + 1) for _ in range(4)}
    return collections.OrderedDict((str(i), some_value(draw, depth + 1)) for i in range(draw.randrange(9)))


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_random_trees_come_back_bit_for_bit(kind, tmp_path):
    draw = random.Random(kind)
    for _ in range(60):
        made = {"root": some_value(draw), "again": [some_tensor(draw) for _ in range(3)]}
        write(made, tmp_path / "tree.pt", kind)
        assert same(read(tmp_path / "tree.pt"), made)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**120), 2**120)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(2**59), 2**59), inner)
    ),
    max_leaves=30,
)


@given(value=plain, protocol=st.integers(2, 5))
@settings(max_examples=150, deadline=None)
def test_plain_values_come_back(value, protocol, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert same(read(path), value)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_what_training_leaves_is_read(kind, tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.GroupNorm(1, 3))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(1, 2, 5, 5)).sum().backward()
    optimizer.step()
    shared = torch.randn(3)
    namespace = argparse.Namespace(lr=1e-4, betas=(0.9, 0.99))
    made = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": namespace,
        "size": torch.Size([1, 2]),
    }
    made |= {
        "tied": [shared, shared],
        "set": {1, "a"},
        "loss": np.float64(0.5),
        "history": np.arange(6.0).reshape(2, 3),
    }
    made |= {"fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)), "big": np.arange(3, dtype=">f4")}
    made |= {"dtype": torch.float16, "device": torch.device("cuda", 1), "counts": collections.defaultdict(list, a=[1])}
    write(made, tmp_path / "run.pth", kind)
    found = read(tmp_path / "run.pth")
    assert same(found["model"], dict(made["model"]))
    assert torch.equal(found["optimizer"]["state"][0]["exp_avg"], made["optimizer"]["state"][0]["exp_avg"])
    assert found["optimizer"]["param_groups"][0]["params"] == [0, 1, 2, 3]
    assert isinstance(found["args"], Record)
    assert (found["args"].class_name, found["args"].state) == ("Namespace", vars(namespace))
    assert found["size"] == (1, 2)
    assert torch.equal(found["tied"][0], shared)
    assert found["tied"][0].data_ptr() == found["tied"][1].data_ptr()
    assert found["set"] == {1, "a"}
    assert found["loss"] == 0.5
    assert torch.equal(found["history"], torch.arange(6.0, dtype=torch.float64).reshape(2, 3))
    assert torch.equal(found["fortran"], torch.arange(6, dtype=torch.int32).reshape(2, 3))
    assert torch.equal(found["big"], torch.arange(3.0))
    assert (found["dtype"], found["device"], found["counts"]) == ("torch.float16", "cuda:1", {"a": [1]})


def test_tensors_are_their_own_and_can_be_changed(tmp_path):
    path = tmp_path / "t.pt"
    torch.save({"a": torch.zeros(3)}, path)
    read(path)["a"] += 1
    assert torch.equal(read(path)["a"], torch.zeros(3))


def test_the_other_order_of_bytes(tmp_path):
    """Of a legacy file its counts tell, of an archive its entry byteorder."""
    numbers = torch.arange(4.0)
    path = tmp_path / "t.pth"
    one = program(b"}" + b"X\x01\x00\x00\x00a" + tensor([2, 2], [2, 1]) + b"s")
    for order in "<>":
        path.write_bytes(legacy(one, ["0"], struct.pack(f"{order}Q4f", 4, *numbers.tolist())))
        assert torch.equal(read(path)["a"], numbers.view(2, 2))
    torch.save({"a": numbers}, path)
    assert torch.equal(read(path)["a"], numbers)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in (
            ("data.pkl", one),
            ("byteorder", b"big"),
            ("data/0", struct.pack(">4f", *numbers.tolist())),
        ):
            file.writestr(f"archive/{name}", content)
    path.write_bytes(out.getvalue())
    assert torch.equal(read(path)["a"], numbers.view(2, 2))


@pytest.fixture
def persistent(monkeypatch):
    """EDM's persistence, as far as its pickles show it: a module there, and nothing of it when they are read."""
    module = types.ModuleType("torch_utils.persistence")
    exec("def _reconstruct_persistent_obj(meta): raise AssertionError('it was called')", module.__dict__)
    package = types.ModuleType("torch_utils")
    package.persistence = module
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch_utils", package)
        patch.setitem(sys.modules, "torch_utils.persistence", module)

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(1, 2, 3), "norm": torch.nn.GroupNorm(1, 2)})
                self.register_buffer("kept", torch.ones(2))
                self.register_buffer("passing", torch.ones(2), persistent=False)

            def __reduce__(self):
                meta = {"type": "class", "version": 6, "module_src": "raise SystemExit\n" * 99, "class_name": "Net"}
                return module._reconstruct_persistent_obj, (meta | {"state": self.__dict__},)

        net = Net()
        yield net, pickle.dumps({"ema": net})


def test_persistent_objects_are_records_without_their_source(persistent, tmp_path):
    net, data = persistent
    (tmp_path / "net.pkl").write_bytes(data)
    found = read(tmp_path / "net.pkl")["ema"]
    assert (found.name, found.class_name, found.args) == ("Net", "Net", ())
    assert found.state["_modules"]["inner"].name == "torch.nn.modules.container.ModuleDict"
    assert "SystemExit" not in str(found)
    assert same(weights(found), dict(net.state_dict()) | {})
    with pytest.raises(InputError, match="is no torch module"):
        weights(found.state["_modules"]["inner"].state["_modules"]["conv"].state["_parameters"]["weight"])


FOREIGN = {
    "a web page": (b"\n<!DOCTYPE html><html><body>404</body>", "is a web page, not a checkpoint: download the file"),
    "a page without a type": (b"<html>", "is a web page"),
    "a Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1234567\n",
        "is a Git LFS pointer to a file of 1234567 bytes, not the file: fetch it with git lfs pull",
    ),
    "a server's message": (b'{"error": "gated"}', "is text, perhaps a server's message"),
    "gzip": (b"\x1f\x8b\x08", "is compressed: unpack it first"),
    "HDF5": (b"\x89HDF\r\n", "is an HDF5 file"),
    "tar": (b"\0" * 257 + b"ustar", "is a tar archive"),
    "something": (b"hello", "is not a checkpoint of PyTorch"),
    "nothing": (b"", "is empty"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_checkpoint_is_called_what_it_is(what, tmp_path):
    data, said = FOREIGN[what]
    (tmp_path / "model.pth").write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "model.pth")
    assert str(caught.value).startswith(f"{tmp_path / 'model.pth'} {said}")


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read(tmp_path / "none.pth")
    with pytest.raises(InputError, match="is not a file"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_truncated_file_says_where_it_ends(kind, tmp_path):
    path = tmp_path / "model.pth"
    write({"a": torch.randn(50), "b": [1, 2, 3]}, path, kind)
    whole = path.read_bytes()
    for size in (*range(1, 64), *range(64, len(whole), 37), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"model\.pth ") as caught:
            read(path)
        if size > 64:
            assert f"is truncated: it ends at byte {size}" in str(caught.value)


class Unknown:
    pass


def test_an_unknown_class_is_named_beside_those_that_are_known(tmp_path):
    torch.save({"config": Unknown()}, tmp_path / "model.pth")
    with pytest.raises(
        InputError, match=r"holds tests\.pickled\.test_reader\.Unknown, which is not read: only tensors"
    ):
        read(tmp_path / "model.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_runs_of_many_tiny_tensors_are_read(kind, tmp_path):
    """2,000 parameters with their averages and Adam's moments: next to nothing but instructions."""
    parameters = [torch.nn.Parameter(torch.zeros(2, 2)) for _ in range(2000)]
    optimizer = torch.optim.Adam(parameters)
    for one in parameters:
        one.grad = torch.zeros_like(one)
    optimizer.step()
    made = {f"blocks.{i}.layer.weight": one.detach() for i, one in enumerate(parameters)}
    ema = [one.detach().clone() for one in parameters]
    write({"model": made, "ema": ema, "optimizer": optimizer.state_dict()}, tmp_path / "run.pth", kind)
    assert len(read(tmp_path / "run.pth")["optimizer"]["state"]) == 2000


def test_networks_of_many_small_modules_are_read(tmp_path):
    """As EDM's pickles are: of each module its dicts and flags."""
    net = torch.nn.Sequential(*(torch.nn.Conv2d(1, 1, 1) for _ in range(600)))
    write({"ema": net}, tmp_path / "net.pkl", "pickle")
    assert same(weights(read(tmp_path / "net.pkl")["ema"]), dict(net.state_dict()))
