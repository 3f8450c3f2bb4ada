import json
import os
import struct

import pytest
import torch
from safetensors.torch import save_file

from scoresde import pickled
from scoresde.assemble import assemble
from scoresde.checkpoint import describe_model, load, save
from scoresde.errors import InputError
from scoresde.registry import build, names
from scoresde.score import Denoiser
from scoresde.store import read

TINY = {"ncsnpp", "ddpmpp", "adm", "edm2"}


SHAPES = {"unet1d": (1, 16), "ncsnv2": (1, 32, 32)}


def make(model: str = "mlp", sde: str = "vp", param: str = "eps", shape: tuple[int, ...] = (1, 8, 8)) -> Denoiser:
    spec = {"name": model} | ({"channels": 32, "multipliers": [1, 2], "blocks": 1} if model in TINY else {})
    net = build("model", spec, shape=shape, classes=0 if model == "ncsnv2" else 3)
    return Denoiser(net, build("sde", sde), build("param", param), (-1.0, 1.0)).eval()


@pytest.mark.parametrize("model", names("model"))
def test_a_model_comes_back_as_it_was(model, tmp_path):
    made = make(model, shape=SHAPES.get(model, (1, 8, 8)))
    save(tmp_path / "m.safetensors", made, {"step": 3})
    again = load(tmp_path / "m.safetensors")
    x, t = torch.randn(2, *made.shape), torch.tensor(0.5, dtype=torch.float64)
    assert describe_model(again) == describe_model(made)
    assert torch.equal(again(x, t).x0, made(x, t).x0)
    assert not again.training
    assert again.range == (-1.0, 1.0)
    assert read(tmp_path / "m.safetensors")[1]["about"] == {"step": 3}


@pytest.mark.parametrize("sde", [s for s in names("sde") if s != "double_well"])
@pytest.mark.parametrize("param", names("param"))
def test_every_process_and_parameterization_comes_back(sde, param, tmp_path):
    made = make(sde=sde, param=param)
    save(tmp_path / "m.safetensors", made)
    again = load(tmp_path / "m.safetensors")
    assert (again.sde, again.param) == (made.sde, made.param)


def refuse(path, *words):
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_what_is_not_there_is_named(tmp_path):
    for name in ("none.safetensors", "none.pth", "folder"):
        refuse(tmp_path / name, "there is no checkpoint", name, "a file or a folder that is there, or train one")


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "m.safetensors"
    save(path, make())
    whole = path.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    for size in (4, 9, 100, header, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        end = len(whole) if size >= 8 + header else 8 + header if size > 8 else 9
        part = "tensors" if size >= 8 + header else "header"
        where = f"truncated, it ends at byte {size}, before its {part} do"
        refuse(path, f"m.safetensors is not a whole safetensors file: {where}", f"at byte {end}")
    path.write_bytes(whole + b"1234")
    refuse(path, f"it goes on after its tensors, from byte {len(whole)} to byte {len(whole) + 4}")
    path.write_bytes(b"")
    refuse(path, "is not a whole safetensors file: it is empty")


def test_foreign_files_are_named(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.safetensors")
    refuse(tmp_path / "other.safetensors", "perhaps one of PyTorch: rename it to end in .pt")
    save_file({"w": torch.zeros(2)}, tmp_path / "hub.safetensors", metadata={"format": "pt"})
    refuse(tmp_path / "hub.safetensors", "not written by scoresde")


def rewrite(path, change):
    """Change the card in a file's header, as a forger would."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    card = json.loads(header["__metadata__"]["scoresde 1"])
    change(card)
    header["__metadata__"]["scoresde 1"] = json.dumps(card)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def test_a_card_can_name_registered_components_only(tmp_path):
    path = tmp_path / "m.safetensors"
    for group, name in (("model", "os.system"), ("sde", "../../../etc/passwd"), ("param", "base"), ("sde", "__init__")):
        save(path, make())
        rewrite(path, lambda card, group=group, name=name: card[group].update(name=name))
        refuse(path, "does not exist")


def test_a_card_that_lies_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    save(path, make())
    rewrite(path, lambda card: card["model"].update(width=4096))
    refuse(path, "has shape")
    save(path, make())
    rewrite(path, lambda card: card["model"].update(depth=3))
    refuse(path, "does not hold the weights")
    save(path, make())
    rewrite(path, lambda card: card.pop("sde"))
    refuse(path, "does not describe a model")
    save(path, make())
    rewrite(path, lambda card: card["sde"].update(beta_min="__import__('os')"))
    refuse(path, "beta_min")


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 10**9},
        {"depth": 10**4},
        {"width": 2**40},
        {"width": 2**33},
        {"classes": 2**62},
        {"shape": [10**9, 10**9]},
        {"width": "${oc.env:HOME}"},
        {"width": -1},
        {"shape": []},
    ],
)
def test_a_card_cannot_make_us_build_more_than_the_file_holds(change, tmp_path):
    path = tmp_path / "m.safetensors"
    save(path, make())
    rewrite(path, lambda card: card["model"].update(change))
    refuse(path, "m.safetensors")


@pytest.mark.parametrize("bounds", [["a", "b"], [1, -1], [float("nan"), 1], [0], "x"])
def test_a_range_that_is_none_is_refused(bounds, tmp_path):
    path = tmp_path / "m.safetensors"
    save(path, make())
    rewrite(path, lambda card: card.update(range=bounds))
    refuse(path, "m.safetensors")


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    import scoresde.store as module

    path = tmp_path / "m.safetensors"
    save(path, make())
    before = path.read_bytes()

    def broken(tensors, metadata):
        raise OSError("disk full")

    monkeypatch.setattr(module, "serialize", broken)
    with pytest.raises(OSError, match="disk full"):
        save(path, make())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!DOCTYPE html><html><body>404</body>", "is a web page, not a checkpoint: download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 123\n", "is a Git LFS pointer to a file of 123 bytes"),
        (b'{"error": "gated"}', "is text, perhaps a server's message"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0", "is compressed: unpack it first"),
        (b"x" * 400, "is not a whole safetensors file"),
    ],
)
def test_what_is_no_safetensors_file_is_called_what_it_is(data, said, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    refuse(path, f"{path} {said}")


CARDS = {
    "deep": "[" * 200_000,
    "deep object": '{"model":' * 200_000,
    "number": '{"model": 1' + "0" * 5000 + "}",
    "null": "null",
    "list": "[1]",
    "text": '"a"',
    "true": "true",
    "NaN": "NaN",
    "empty": "",
    "surrogate": '{"model": {"name": "\\ud800"}, "sde": {"name": "vp"}, "param": {"name": "eps"}, "range": null}',
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_that_is_none_is_refused(name, tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.zeros(2)}, path, metadata={"scoresde 1": CARDS[name]})
    refuse(path, "m.safetensors", "does not exist" if name == "surrogate" else "has a card that is")
    if name != "surrogate":
        with pytest.raises(InputError, match=r"m\.safetensors has a card that is"):
            read(path)


@pytest.mark.parametrize("value", [None, 1, "a", [], [1], {}, {"name": []}, {"name": {}}, True, [[[]]]])
@pytest.mark.parametrize("field", ["model", "sde", "param", "range"])
def test_a_card_of_other_types_is_refused(field, value, tmp_path):
    path = tmp_path / "m.safetensors"
    save(path, make())
    rewrite(path, lambda card: card.update({field: value}))
    if field == "range" and value is None:
        load(path)
    else:
        refuse(path, "m.safetensors")


def test_a_tensor_that_torch_cannot_make_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    for kind, shape in (("F32", [2**63, 0]), ("F6_E2M3", [0])):
        header = json.dumps({"a": {"dtype": kind, "shape": shape, "data_offsets": [0, 0]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        refuse(path, "m.safetensors is not a whole safetensors file")


@pytest.mark.parametrize(
    "path", ["x" * 300, "x" * 300 + ".safetensors", "x/" * 3000, "a\0b", "\ud800", "\udcff.pt", "\n"]
)
def test_a_path_that_cannot_be_is_refused(path):
    refuse(path)
    with pytest.raises(InputError):
        pickled.read(path)


def test_what_is_no_regular_file_is_refused(tmp_path):
    for suffix in ("pt", "safetensors"):
        pipe, loop = tmp_path / f"pipe.{suffix}", tmp_path / f"loop.{suffix}"
        os.mkfifo(pipe)
        loop.symlink_to(loop)
        refuse(pipe, f"pipe.{suffix} is not a file, but a folder, a pipe or a device")
        refuse(loop, f"loop.{suffix} cannot be read")
    refuse("/dev/null", "/dev/null is not a file")


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")
def test_a_file_that_cannot_be_mapped_is_refused(tmp_path):
    refuse("/proc/self/maps", "/proc/self/maps is empty")
    (tmp_path / "m.safetensors").symlink_to("/proc/self/maps")
    refuse(tmp_path / "m.safetensors", "it is empty")


def test_tables_that_weights_do_not_account_for_are_refused(tmp_path):
    """A transformer's positions are computed, and no tensor of a file: a tiny one could ask for gigabytes."""
    spec = {"name": "dit", "width": 8, "depth": 1, "heads": 1, "patch": 2}
    net = build("model", spec, shape=(1, 8, 8), classes=0)
    made = Denoiser(net, build("sde", "vp"), build("param", "eps"))
    path = tmp_path / "m.safetensors"
    save(path, made)
    load(path)
    rewrite(path, lambda card: card["model"].update(shape=[1, 3000, 3000]))
    refuse(path, "shape = (1, 3000, 3000) takes tables of 18000", "more than its")


def test_the_tables_of_large_networks_are_few():
    """DiT-XL/2 at 512 pixels, with a 16th of its blocks."""
    spec = {"name": "dit", "width": 1152, "depth": 1, "heads": 16, "patch": 2}
    net = build("model", spec, shape=(4, 64, 64), classes=1000)
    assemble(spec, net.state_dict(), shape=(4, 64, 64), classes=1000)


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.bool, torch.uint8, torch.complex64, torch.float8_e4m3fn, torch.float8_e8m0fnu]
)
def test_weights_of_another_type_are_refused(dtype, tmp_path):
    made = make()
    state = {name: torch.zeros(tensor.shape).to(dtype) for name, tensor in made.net.state_dict().items()}
    path = tmp_path / "m.safetensors"
    save_file(state, path, metadata={"scoresde 1": json.dumps(describe_model(made))})
    kind = str(dtype).removeprefix("torch.")
    refuse(path, f"condition.first.weight is of {kind}, but weights are of float16, bfloat16, float32, float64")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_taken_over(dtype, tmp_path):
    made = make()
    state = {name: tensor.to(dtype) for name, tensor in made.net.state_dict().items()}
    save_file(state, tmp_path / "m.safetensors", metadata={"scoresde 1": json.dumps(describe_model(made))})
    assert {p.dtype for p in load(tmp_path / "m.safetensors").parameters()} == {torch.float32}


def test_a_wrapper_is_not_saved(tmp_path):
    with pytest.raises(InputError, match="a Retimed is no Denoiser: save the model itself"):
        save(tmp_path / "m.safetensors", make().on(build("sde", "ve")))
    assert not list(tmp_path.iterdir())
