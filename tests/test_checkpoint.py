import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from scoresde.checkpoint import describe_model, load, save
from scoresde.errors import InputError
from scoresde.registry import build, names
from scoresde.score import Denoiser
from scoresde.store import read

TINY = {"ncsnpp", "ddpmpp"}


def make(model: str = "mlp", sde: str = "vp", param: str = "eps", shape: tuple[int, ...] = (1, 8, 8)) -> Denoiser:
    spec = {"name": model} | ({"channels": 32, "multipliers": [1, 2], "blocks": 1} if model in TINY else {})
    net = build("model", spec, shape=shape, classes=3)
    return Denoiser(net, build("sde", sde), build("param", param), (-1.0, 1.0)).eval()


@pytest.mark.parametrize("model", names("model"))
def test_a_model_comes_back_as_it_was(model, tmp_path):
    made = make(model)
    save(tmp_path / "m.safetensors", made, {"step": 3})
    again = load(tmp_path / "m.safetensors")
    x, t = torch.randn(2, 1, 8, 8), torch.tensor(0.5, dtype=torch.float64)
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
    refuse(tmp_path / "none.safetensors", "there is no checkpoint", "none.safetensors")


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "m.safetensors"
    save(path, make())
    whole = path.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refuse(path, "m.safetensors", "truncated or foreign")


def test_foreign_files_are_named(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.safetensors")
    refuse(tmp_path / "other.safetensors", "truncated or foreign")
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
