"""EDM2's files, written from their layout, say the numbers that its own code said on the same weights."""

import math

import pytest
import torch

from scoresde.checkpoint import load, save
from scoresde.compat.edm import EDM
from scoresde.compat.edm2 import EDM2
from scoresde.errors import InputError
from scoresde.pickled import read

from .persistent import Persistent, magnitude, tree, values, write

UNET = {"model_channels": 64, "channel_mult": [1, 1], "num_blocks": 1, "attn_resolutions": [2]}
# of the official D(x; σ), computed in float32: its norm, and two of its entries
OFFICIAL = {
    ("labels", torch.float32): (135.39413, -2.5234687, -16.868324),
    ("labels", torch.float16): (135.37021, -2.5299165, -16.844498),
    ("none", torch.float32): (115.47062, -2.8820224, -3.9929786),
    ("none", torch.float16): (115.46393, -2.8880699, -4.0133448),
}


def network(labels=3, image=4, change=None, dtype=torch.float32, **arguments):
    """The preconditioned network as the official training pickles it, which is in half precision."""
    tensors = values(magnitude(4, image, label=labels))
    if change is not None:
        change(tensors)
    shared = {"img_resolution": 4, "img_channels": image, "label_dim": labels}
    inner = Persistent("UNet", kwargs=shared | UNET | arguments)
    inside = {name.removeprefix("unet."): tensor for name, tensor in tensors.items() if name.startswith("unet.")}
    outside = {name: tensor for name, tensor in tensors.items() if not name.startswith("unet.")}
    outer = Persistent("Precond", kwargs=shared | {"use_fp16": True}, sigma_data=0.5, use_fp16=True, **shared)
    tree(outer, inner, "unet", {f"unet.{name}": tensor for name, tensor in inside.items()}, ("freqs", "phases"))
    return tree(outer, inner, "unet", outside, ("freqs", "phases")).to(dtype)


def content(net):
    return {"ema": net, "encoder": Persistent("StabilityVAEEncoder"), "loss_fn": Persistent("EDM2Loss"), "nimg": 1}


@pytest.mark.parametrize(("case", "dtype"), OFFICIAL, ids=str)
def test_says_what_the_official_code_says(case, dtype, tmp_path):
    net = network(dtype=dtype) if case == "labels" else network(0, 3, dtype=dtype)
    model = load(write(tmp_path / "edm2-img512-xs.pkl", content(net)))
    shape = (2, *model.shape)
    std = torch.tensor([0.5, 20.0], dtype=torch.float64)
    x = torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 1.3).reshape(shape).float()
    cond = {"label": torch.tensor([2, -1])} if case == "labels" else {}
    with torch.no_grad():
        said = model(x * std.float()[:, None, None, None], std, cond).x0.double().flatten()
    norm, fifth, last = OFFICIAL[case, dtype]
    assert abs(said.norm().item() / norm - 1) < 3e-6
    close = 1e-5 * norm / math.sqrt(len(said))
    assert abs(said[5].item() - fifth) < close
    assert abs(said[-1].item() - last) < close * 2
    assert model.range == (None if case == "labels" else (-1.0, 1.0))
    assert repr(model.sde) == "EDM(t_min=0.002, t_max=80.0)"


def test_the_uncertainty_is_kept(tmp_path):
    model = load(write(tmp_path / "a.pkl", content(network())))
    said = model.net.log_variance(torch.tensor([0.5]).log() / 4)
    torch.testing.assert_close(said, torch.tensor([0.952385663986206]))
    save(tmp_path / "a.safetensors", model)
    again = load(tmp_path / "a.safetensors")
    assert torch.equal(again.net.log_variance(torch.tensor([0.5]).log() / 4), said)


def test_without_the_uncertainty_too(tmp_path):
    def drop(tensors):
        for name in [name for name in tensors if name.startswith("logvar")]:
            del tensors[name]

    assert load(write(tmp_path / "a.pkl", content(network(change=drop)))).net.logvar == 0


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        (lambda t: t.pop("unet.dec.4x4_block1.conv_res1.weight"), {}, ["decoder.4.conv2.weight"]),
        (
            lambda t: t["unet.dec.4x4_block1.conv_res1.weight"].fill_(math.inf),
            {},
            ["4x4_block1.conv_res1.weight", "NaN"],
        ),
        (lambda t: t.update({"unet.out_gain": torch.zeros(3)}), {}, ["gain", "(3,)"]),
        (lambda t: t.update({"unet.more.weight": torch.zeros(3)}), {}, ["unet.more.weight has no place"]),
        (None, {"channel_mult_noise": 1 << 30, "channel_mult": [1, 1]}, ["1073741824 is more"]),
        (None, {"channel_mult_noise": 100_000}, ["(6400000,)"]),
        (None, {"resample_filter": [1, 3, 3, 1]}, ["another kind"]),
        (None, {"label_balance": 2.0}, ["label_balance"]),
        (None, {"unheard_of": 2.0}, ["UNet has an argument unheard_of"]),
    ],
)
def test_what_does_not_fit_is_named(change, arguments, words, tmp_path):
    write(tmp_path / "a.pkl", content(network(change=change, **arguments)))
    with pytest.raises(InputError) as caught:
        load(tmp_path / "a.pkl")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_each_format_knows_its_own(tmp_path):
    found = read(write(tmp_path / "a.pkl", content(network())))
    assert EDM2().matches(found, tmp_path)
    assert not EDM().matches(found, tmp_path)
    assert not EDM2().matches({"ema": 3}, tmp_path)
