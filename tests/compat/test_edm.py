"""EDM's files, written from their layout, say the numbers that its own code said on the same weights."""

import math

import pytest
import torch

from scoresde.checkpoint import load, save
from scoresde.compat.edm import EDM
from scoresde.errors import InputError
from scoresde.pickled import read

from .persistent import Persistent, dhariwal, song, tree, values, weight, write

SONG = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
FOURIER = {
    "embedding_type": "fourier",
    "channel_mult_noise": 2,
    "encoder_type": "residual",
    "resample_filter": [1, 3, 3, 1],
}
SKIPS = FOURIER | {"encoder_type": "skip", "decoder_type": "skip"}
ADM = {"model_channels": 64, "channel_mult": [1, 1], "num_blocks": 1, "attn_resolutions": [2]}
NUMBERS = {
    "EDMPrecond": {"sigma_min": 0, "sigma_max": math.inf, "sigma_data": 0.5},
    "VPPrecond": {"beta_d": 19.9, "beta_min": 0.1, "M": 1000, "epsilon_t": 1e-5},
    "VEPrecond": {"sigma_min": 0.02, "sigma_max": 100},
    "iDDPMPrecond": {"C_1": 0.001, "C_2": 0.008, "M": 1000},
}
# preconditioning, network, its layout, size, image channels, labels, augmentation labels, arguments
CASES = {
    "edm-ddpmpp": ("EDMPrecond", "SongUNet", song(8, 3, label=3, augment=2), 8, 3, 3, 2, SONG),
    "edm-ncsnpp": (
        "EDMPrecond", "SongUNet", song(8, 3, fourier=True, taps=4, encoder="residual"), 8, 3, 0, 0, SONG | FOURIER,
    ),
    "edm-skips": (
        "EDMPrecond", "SongUNet", song(8, 1, fourier=True, taps=4, encoder="skip", decoder="skip"), 8, 1, 0, 0,
        SONG | SKIPS,
    ),
    "edm-adm": ("EDMPrecond", "DhariwalUNet", dhariwal(4, 3, label=3, augment=2), 4, 3, 3, 2, ADM),
    "vp-ddpmpp": ("VPPrecond", "SongUNet", song(8, 3, label=3), 8, 3, 3, 0, SONG),
    "ve-ncsnpp": (
        "VEPrecond", "SongUNet", song(8, 3, fourier=True, taps=4, encoder="residual"), 8, 3, 0, 0, SONG | FOURIER,
    ),
    "iddpm-adm": ("iDDPMPrecond", "DhariwalUNet", dhariwal(4, 3, label=3, written=6), 4, 3, 3, 0, ADM),
}  # fmt: skip
# of the official D(x; σ) in float32: its norm, and two of its entries
OFFICIAL = {
    "edm-ddpmpp": (14.847198, -0.12309007, -0.23004696),
    "edm-ncsnpp": (15.198435, 0.073228598, -0.23865223),
    "edm-skips": (8.853251, 0.62108374, 0.082549229),
    "edm-adm": (3.4810207, 0.34804869, -0.5266428),
    "vp-ddpmpp": (515.73555, 0.48396158, 30.120125),
    "ve-ncsnpp": (461.88198, 0.097226441, 21.103401),
    "iddpm-adm": (24.831291, -0.36000174, 0.60842276),
}
every = pytest.mark.parametrize("case", CASES)


def network(case, change=None, **arguments):
    """The preconditioned network as the official training pickles it; ``change`` may alter its tensors."""
    outer, inner, layout, size, image, labels, augment, options = CASES[case]
    shapes = {f"model.{name}": shape for name, shape in layout.items()}
    if outer == "iDDPMPrecond":
        shapes["u"] = (1001,)
    tensors = values(shapes)
    if change is not None:
        change(tensors)
    written = image * (2 if outer == "iDDPMPrecond" else 1)
    shared = {"img_resolution": size, "in_channels": image, "out_channels": written, "label_dim": labels}
    built = Persistent(inner, kwargs=shared | {"augment_dim": augment} | options | arguments)
    wrapped = Persistent(outer, args=(size, image, labels), img_resolution=size, label_dim=labels, **NUMBERS[outer])
    return tree(wrapped, built, "model", tensors)


def snapshot(net):
    """What a training leaves: the average, beside objects that are of no interest."""
    return {"ema": net, "loss_fn": Persistent("EDMLoss"), "augment_pipe": None, "dataset_kwargs": {"path": "x.zip"}}


def data(model, levels):
    """Two samples at two noise levels, as the official numbers are of, in the coordinates of the model's process."""
    shape = (2, *model.shape)
    std = torch.tensor(levels, dtype=torch.float64)
    t = model.sde.time(-2 * std.log())
    x = torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 1.3).reshape(shape).float().double()
    scale = (std.float().double() * model.sde.alpha(t))[:, None, None, None]
    return (x * scale).float(), t, {"label": torch.tensor([2, -1])} if model.net.classes else {}


@every
@pytest.mark.parametrize("suffix", [".pkl", ".pt"])
def test_says_what_the_official_code_says(case, suffix, tmp_path):
    net = network(case)
    content = snapshot(net) if suffix == ".pkl" else {"net": net, "optimizer_state": {"state": {}}}
    model = load(write(tmp_path / f"network-snapshot-000001{suffix}", content))
    levels = (0.7378709316253662, 3.1037282943725586) if case.startswith("iddpm") else (0.5, 20.0)
    x, t, cond = data(model, levels)
    with torch.no_grad():
        said = model(x, t, cond).x0.double().flatten()
    norm, fifth, last = OFFICIAL[case]
    assert abs(said.norm().item() / norm - 1) < 3e-6
    close = 1e-5 * norm / math.sqrt(len(said))
    assert abs(said[5].item() - fifth) < close
    assert abs(said[-1].item() - last) < close * 2
    assert not model.training
    assert model.range == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("case", "sde", "param"),
    [
        ("edm-ddpmpp", "EDM(t_min=0.002, t_max=80.0)", "EDM(sigma_data=0.5, factor=0.004)"),
        ("edm-ncsnpp", "EDM(t_min=0.002, t_max=80.0)", "EDM(sigma_data=0.5, factor=0.25)"),
        ("vp-ddpmpp", "VP(beta_min=0.1, beta_max=20.0, t_min=1e-05, t_max=1.0)", "Published(target='eps', scaled=True"),
        ("ve-ncsnpp", "VE(sigma_min=0.02, sigma_max=100.0", "Published(target='minus_eps', scaled=False"),
        ("iddpm-adm", "DDPM(schedule='squaredcos'", "Published(target='eps', scaled=True, clock='time', factor=4.0"),
    ],
)
def test_is_of_the_process_that_it_was_trained_on(case, sde, param, tmp_path):
    model = load(write(tmp_path / "a.pkl", snapshot(network(case))))
    assert repr(model.sde).startswith(sde)
    assert repr(model.param).startswith(param)


def test_our_own_format_holds_it(tmp_path):
    model = load(write(tmp_path / "a.pkl", snapshot(network("edm-adm"))))
    save(tmp_path / "a.safetensors", model)
    again = load(tmp_path / "a.safetensors")
    x, t, cond = data(model, (0.5, 20.0))
    assert torch.equal(again(x, t, cond).x0, model(x, t, cond).x0)


def test_augmentation_labels_are_an_embedding(tmp_path):
    model = load(write(tmp_path / "a.pkl", snapshot(network("edm-ddpmpp"))))
    x, t, cond = data(model, (0.5, 20.0))
    plain = model(x, t, cond).x0
    assert torch.equal(model(x, t, cond | {"embedding": torch.zeros(2, 2)}).x0, plain)
    assert not torch.allclose(model(x, t, cond | {"embedding": torch.ones(2, 2)}).x0, plain)


def test_the_average_is_preferred(tmp_path):
    other = network("edm-adm")
    for parameter in other.parameters():
        parameter.zero_()
    model = load(write(tmp_path / "a.pkl", {"net": other, "ema": network("edm-adm")}))
    assert model.net.stem.weight.abs().sum() > 0


def test_a_bare_network_is_one_too(tmp_path):
    assert load(write(tmp_path / "a.pkl", network("edm-adm"))).net.classes == 3


def refuse(path, case, words, change=None, **arguments):
    write(path, snapshot(network(case, change, **arguments)))
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    for word in words:
        assert word in message


BAD = "model.dec.8x8_block1.conv1.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop(BAD), ["decoder.1.blocks.1.conv2.weight"]),
        (lambda tensors: tensors.update({BAD: torch.zeros(3)}), ["conv2.weight", "(3,)"]),
        (lambda tensors: tensors[BAD].fill_(math.nan), [BAD, "NaN"]),
        (lambda tensors: tensors.update({"model.enc.8x8_block0.extra.weight": torch.zeros(3)}), ["extra.weight"]),
        (lambda tensors: tensors.update({"model.map_label.weight": torch.zeros(8, 4)}), ["condition.label", "(4, 8)"]),
        (lambda tensors: tensors.pop("model.map_label.weight"), ["label"]),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change, words, tmp_path):
    refuse(tmp_path / "a.pkl", "edm-ddpmpp", words, change)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model_channels": 1 << 40}, ["model_channels = 1099511627776"]),
        ({"model_channels": 1 << 30}, ["1073741824"]),
        ({"model_channels": "8"}, ["model_channels = 8, where int is expected"]),
        ({"model_channels": True}, ["model_channels = True"]),
        ({"channel_mult": []}, ["another kind"]),
        ({"channel_mult": [1, 2.5]}, ["channel_mult"]),
        ({"channel_mult": [1] * 1000}, ["channel_mult"]),
        ({"channel_mult": 3}, ["channel_mult = 3, where list is expected"]),
        ({"num_blocks": 1_000_000}, ["blocks = 1000000 is more than"]),
        ({"channel_mult_emb": 3}, ["another kind"]),
        ({"channel_mult_noise": 2}, ["features or outputs"]),
        ({"embedding_type": "cosine"}, ["cosine", "did you mean positional"]),
        ({"encoder_type": "long " * 100}, ["encoder_type"]),
        ({"encoder_type": "other"}, ["progressive_input"]),
        ({"dropout": math.nan}, ["dropout"]),
        ({"unheard_of": 1}, ["SongUNet has an argument unheard_of"]),
        ({"img_resolution": 16}, ["place in ddpmpp"]),
        ({"out_channels": 6}, ["another kind"]),
    ],
)
def test_an_argument_that_does_not_fit_is_named(arguments, words, tmp_path):
    refuse(tmp_path / "a.pkl", "edm-ddpmpp", words, **arguments)


@pytest.mark.parametrize(
    ("case", "key", "value", "words"),
    [
        ("edm-adm", "sigma_data", "x", ["sigma_data"]),
        ("edm-adm", "sigma_data", math.nan, ["sigma_data"]),
        ("edm-adm", "sigma_max", 0.001, ["t_max"]),
        ("vp-ddpmpp", "beta_d", -1.0, ["beta_max"]),
        ("vp-ddpmpp", "M", math.inf, ["factor"]),
        ("ve-ncsnpp", "sigma_min", 0, ["sigma_min"]),
        ("iddpm-adm", "C_1", 0.5, ["C_1 = 0.001"]),
        ("iddpm-adm", "M", math.inf, ["M = inf"]),
    ],
)
def test_a_process_that_is_none_is_named(case, key, value, words, tmp_path):
    net = network(case)
    net.__dict__[key] = value
    write(tmp_path / "a.pkl", snapshot(net))
    with pytest.raises(InputError) as caught:
        load(tmp_path / "a.pkl")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("content", [{}, {"ema": None}, {"ema": torch.zeros(2)}, [1], 3, None, {"ema": {"a": 1}}])
def test_is_not_everything(content, tmp_path):
    assert not EDM().matches(content, tmp_path)


def test_a_network_without_its_inside_is_refused(tmp_path):
    write(tmp_path / "a.pkl", {"ema": Persistent("EDMPrecond", sigma_min=0)})
    with pytest.raises(InputError, match="none of SongUNet, DhariwalUNet"):
        load(tmp_path / "a.pkl")
    bare = network("edm-adm")
    del bare._modules["model"].__dict__["_init_kwargs"]
    write(tmp_path / "a.pkl", {"ema": bare})
    with pytest.raises(InputError, match="DhariwalUNet does not say how it was built"):
        load(tmp_path / "a.pkl")


def test_what_the_file_holds_is_what_is_tested(tmp_path):
    """The layout's names are in the file, and nothing of the class that wrote it but its name."""
    found = read(write(tmp_path / "a.pkl", snapshot(network("edm-ddpmpp"))))["ema"]
    assert found.class_name == "EDMPrecond"
    inner = found.state["_modules"]["model"]
    assert inner.class_name == "SongUNet"
    name = "map_layer0"
    held = inner.state["_modules"][name].state["_parameters"]["weight"]
    assert torch.equal(held, weight(f"model.{name}.weight", (32, 8)))
