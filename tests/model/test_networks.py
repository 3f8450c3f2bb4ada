"""What every network promises, and the U-Net's variants."""

import copy
import itertools
import math

import pytest
import torch

from scoresde.errors import InputError
from scoresde.model import Network
from scoresde.model.adm import ADM
from scoresde.model.ddpm import DDPM
from scoresde.model.ddpmpp import DDPMpp
from scoresde.model.dit import DiT
from scoresde.model.edm2 import EDM2
from scoresde.model.layers.embedding import Fourier, Positional
from scoresde.model.mlp import MLP
from scoresde.model.ncsnpp import NCSNpp
from scoresde.model.unet1d import UNet1d
from scoresde.model.unet2d import UNet2D

SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
SMALL_2D = {"channels": (8, 16), "blocks": 1, "attention_down": (False, True), "attention_up": (False, True)}
SMALL_2D |= {"groups": 4, "middle_groups": 4}


def awake(net: Network) -> Network:
    """The network with no layer at zero, so that everything reaches the output."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return net.eval()


def batch(net: Network, size: int = 3, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(size, *net.shape, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.linspace(-4, 2, size, dtype=dtype)


NETWORKS = {
    "mlp": lambda classes=0: MLP((2,), classes, width=16, depth=2),
    "mlp-sequence": lambda classes=0: MLP((5, 3), classes, width=16, depth=2, dropout=0.1),
    "ncsnpp": lambda classes=0: NCSNpp((1, 8, 8), classes, **SMALL),
    "ddpmpp": lambda classes=0: DDPMpp((3, 8, 4), classes, **SMALL),
    "dit": lambda classes=0: DiT((3, 8, 4), classes, width=16, depth=2, heads=2),
    "unet1d": lambda classes=0: UNet1d((2, 8), classes, **SMALL),
    "unet2d": lambda classes=0: UNet2D((3, 8, 4), classes, **SMALL_2D),
    "adm": lambda classes=0: ADM((3, 8, 4), classes, **SMALL | {"channels": 32, "head_channels": 16}),
    "edm2": lambda classes=0: EDM2((3, 8, 4), classes, **SMALL | {"channels": 32, "head_channels": 16}),
    "ddpm": lambda classes=0: DDPM((3, 8, 4), classes, **SMALL | {"channels": 32}),
}


@pytest.fixture(params=NETWORKS)
def make(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]


def test_starts_at_zero(make):
    net = make()
    x, noise = batch(net)
    assert torch.equal(net(x, noise), torch.zeros_like(x))


def test_float64_agrees_with_float32(make):
    net = awake(make())
    single = net(*batch(net))
    double = net.double()(*batch(net, dtype=torch.float64))
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-3)


def test_a_copy_and_a_reloaded_network_are_the_same(make):
    net = awake(make(2))
    x, noise = batch(net)
    label = torch.tensor([0, 1, -1])
    fresh = make(2).eval()
    fresh.load_state_dict(net.state_dict())
    want = net(x, noise, label=label)
    assert torch.equal(copy.deepcopy(net)(x, noise, label=label), want)
    assert torch.equal(fresh(x, noise, label=label), want)


def test_reads_the_noise_level(make):
    net = awake(make())
    x, noise = batch(net)
    assert not torch.allclose(net(x, noise), net(x, noise + 0.1))


def test_a_sample_does_not_see_its_neighbours(make):
    net = awake(make())
    x, noise = batch(net, 4)
    alone = torch.cat([net(x[i : i + 1], noise[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(x, noise), alone, rtol=1e-4, atol=1e-4)


def test_labels(make):
    net = awake(make(3))
    x, noise = batch(net)
    none, first, second = (net(x, noise, label=torch.full((3,), k)) for k in (-1, 0, 1))
    assert torch.equal(none, net(x, noise))
    assert not torch.allclose(none, first)
    assert not torch.allclose(first, second)
    mixed = net(x, noise, label=torch.tensor([-1, 0, 1]))
    torch.testing.assert_close(mixed, torch.stack([none[0], first[1], second[2]]), rtol=1e-4, atol=1e-4)


def test_every_weight_learns(make):
    net = awake(make(3)).train()
    x, noise = batch(net)
    net(x, noise, label=torch.tensor([0, 1, 2])).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())


def test_refuses_wrong_input(make):
    net = make()
    x, noise = batch(net)
    with pytest.raises(InputError, match="was built with classes = 0: leave label=None"):
        net(x, noise, label=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="but was built for"):
        net(x.flatten(0, 1), noise)
    with pytest.raises(InputError, match=r"noise of shape \(\), but it must be \(3,\)"):
        net(x, noise[0])
    with pytest.raises(InputError, match="label of shape"):
        make(2)(x, noise, label=torch.zeros(1, dtype=torch.int64))


CHOICE = ("none", "skip", "residual")
VARIANTS = list(itertools.product(("biggan", "ddpm"), (False, True), CHOICE, CHOICE, ("positional", "fourier")))


@pytest.mark.parametrize(("block", "fir", "read", "write", "time"), VARIANTS)
def test_every_variant_runs(block, fir, read, write, time):
    choices = {"block": block, "fir": fir, "progressive_input": read, "progressive_output": write, "time": time}
    net = awake(NCSNpp((1, 4, 4), 0, **{**SMALL, **choices}))
    x, noise = batch(net)
    out = net(x, noise)
    assert out.shape == x.shape
    assert out.isfinite().all()
    assert out.abs().min() > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"progressive_input": "skip", "progressive_combine": "cat"},
        {"block": "ddpm", "resample_with_conv": False},
        {"skip_rescale": False, "dropout": 0.0},
        {"multipliers": (1,)},
        {"multipliers": (1, 2, 2), "blocks": 2},  # FIR down to one pixel
        {"fir_kernel": (1, 1)},
        {"fir_kernel": (1, 4, 6, 6, 4, 1)},
    ],
)
def test_other_variants_run(fields):
    net = awake(NCSNpp((2, 4, 8), 0, **{**SMALL, **fields}))
    x, noise = batch(net)
    assert net(x, noise).shape == x.shape


@pytest.mark.parametrize(
    ("build", "blocks", "count"),
    [(NCSNpp, 4, 62_758_787), (NCSNpp, 8, 107_586_947), (DDPMpp, 4, 61_804_419), (DDPMpp, 8, 106_632_579)],
)
def test_as_many_weights_as_the_paper_has(build, blocks, count):
    """The trainable weights of the official networks for CIFAR-10, shallow and deep."""
    with torch.device("meta"):
        net = build((3, 32, 32), 0, blocks=blocks)
    assert sum(weight.numel() for weight in net.parameters()) == count


@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ((2,), {}, r"NCSNpp.shape = \(2,\), but it must be \(channels, height, width\).*try model=mlp"),
        ((1, 8, 9), {}, "the width must be a multiple of 2: try 8 or 10"),
        ((1, 1, 8), {}, "the height must be a multiple of 2: try 2,"),
        ((1, 8, 8), {"channels": 48}, "channels = 48, but it must be a multiple of 32.*: try 32 or 64"),
        ((1, 8, 8), {"channels": 2}, "channels = 2, .*: try 32$"),
        ((1, 8, 8), {"channels": 10}, "channels = 10"),
        ((1, 8, 8), {"multipliers": ()}, "multipliers"),
        ((1, 8, 8), {"multipliers": (1, 0)}, "multipliers"),
        ((1, 8, 8), {"blocks": 0}, "blocks = 0, but it must be a number > 0"),
        ((1, 8, 8), {"dropout": 1.0}, r"dropout = 1.0, but it must be in \[0, 1\)"),
        ((1, 8, 8), {"dropout": math.nan}, "dropout = nan"),
        ((1, 8, 8), {"block": "resnet"}, "block = 'resnet', but it must be one of biggan, ddpm"),
        ((1, 8, 8), {"time": "log"}, "one of positional, fourier"),
        ((1, 8, 8), {"progressive_input": "yes"}, "one of none, skip, residual"),
        ((1, 8, 8), {"fir_kernel": (1, 2, 1)}, "fir_kernel = .*an even number of taps"),
        ((1, 8, 8), {"fir_kernel": (1, -1)}, "fir_kernel"),
        ((1, 8, 8), {"fourier_scale": 0.0}, "fourier_scale = 0.0, but it must be a number > 0"),
        ((), {}, "shape"),
    ],
)
def test_unet_refuses(shape, fields, message):
    with pytest.raises(InputError, match=message):
        NCSNpp(shape, 0, **{**SMALL, **fields})


@pytest.mark.parametrize("channels", range(4, 100, 4))
@pytest.mark.parametrize("combine", ["sum", "cat"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_channels_are_refused_exactly_when_group_norm_would(channels, combine, blocks, monkeypatch):
    fields = {"channels": channels, "multipliers": (1, 3, 2), "blocks": blocks}
    fields |= {"progressive_input": "skip", "progressive_combine": combine}

    def built() -> bool:
        try:
            with torch.device("meta"):
                NCSNpp((1, 4, 4), 0, **fields)
        except ValueError:
            return False
        return True

    asked = built()
    monkeypatch.setattr(NCSNpp, "_check_channels", lambda self: None)
    assert asked == built()


@pytest.mark.parametrize("fields", [{"width": 0}, {"depth": 0}, {"dropout": -0.1}, {"dropout": math.nan}])
def test_mlp_refuses(fields):
    with pytest.raises(InputError, match=f"MLP.{next(iter(fields))} = "):
        MLP((2,), 0, **fields)


def test_refuses_a_negative_number_of_classes():
    with pytest.raises(InputError, match="classes = -1"):
        MLP((2,), -1)


def test_positional_features_are_the_papers():
    """sin and cos of 999·t·10000^(-i/(half-1)), at noise = 999·t/250."""
    t = torch.tensor([0.1, 0.9], dtype=torch.float64)
    got = Positional(8).double()(999 * t / 250)
    angle = 999 * t[:, None] * torch.exp(-math.log(10000) * torch.arange(4) / 3)
    torch.testing.assert_close(got, torch.cat([angle.sin(), angle.cos()], 1), rtol=0, atol=1e-3)


def test_fourier_features_read_log_sigma_at_fixed_frequencies():
    features = Fourier(64, 16.0)
    assert torch.equal(features.frequencies, Fourier(64, 16.0).frequencies)
    assert "frequencies" in features.state_dict()
    std = torch.tensor([0.01, 50.0])
    angle = 2 * math.pi * std.log()[:, None] * features.frequencies
    torch.testing.assert_close(features(std.log() / 4), torch.cat([angle.sin(), angle.cos()], 1), rtol=0, atol=5e-3)


@pytest.mark.parametrize("build", [NCSNpp, DDPMpp])
def test_has_second_derivatives(build):
    """Sliced score matching differentiates a derivative of the network."""
    net = awake(build((1, 8, 8), 0, **SMALL)).double()
    x, noise = batch(net, 1, torch.float64)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(net(x, noise).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
