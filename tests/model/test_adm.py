"""ADM and EDM2: what each promises beyond what every network does."""

import math

import pytest
import torch

from scoresde.errors import InputError
from scoresde.model.adm import ADM
from scoresde.model.edm2 import EDM2
from scoresde.model.layers.magnitude import Features, Weight, cat, mix, normalize

from .test_networks import awake, batch

TINY = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
SMALL = {ADM: TINY | {"head_channels": 16, "dropout": 0.0}, EDM2: TINY | {"head_channels": 16}}
both = pytest.mark.parametrize("build", SMALL)


def small(build, classes=0, shape=(3, 8, 8), **fields):
    torch.manual_seed(0)
    return awake(build(shape, classes, **SMALL[build] | fields))


@pytest.mark.parametrize("resample", ["block", "conv", "plain"])
@pytest.mark.parametrize("scale_shift", [True, False])
@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize("learned_variance", [True, False])
def test_every_variant_runs(resample, scale_shift, heads, learned_variance):
    fields = {"resample": resample, "scale_shift": scale_shift, "heads": heads, "learned_variance": learned_variance}
    net = small(ADM, 3, (3, 8, 4), **fields)
    x, noise = batch(net)
    out = net.train()(x, noise, label=torch.tensor([0, 1, -1]))
    assert out.shape == x.shape
    assert out.isfinite().all()
    out.square().sum().backward()
    last = net.head[2].weight.grad
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())
    if learned_variance:
        assert (last[:3].abs() > 0).any()
        assert (last[3:] == 0).all()


def test_the_features_read_the_index():
    """cos and sin of i·10000^(-k/half), at noise = i/250, exact where the noise level is float64."""
    features = ADM((3, 8, 8), 0, **SMALL[ADM]).condition.features
    index = torch.tensor([0.0, 3.0, 999.0], dtype=torch.float64)
    angle = index[:, None] * torch.exp(-math.log(10000) * torch.arange(16, dtype=torch.float64) / 16)
    torch.testing.assert_close(
        features(index / 250).double(), torch.cat([angle.cos(), angle.sin()], 1), rtol=0, atol=2e-4
    )


@both
def test_features_narrower_than_a_head_have_no_attention(build):
    with torch.device("meta"):
        wide, narrow = (build((3, 8, 8), 0, **TINY | {"attention": (8, 4), "head_channels": n}) for n in (32, 64))
    at = [name for name in wide.state_dict() if "attention" in name]
    assert any(name.startswith("encoder.0.attention") for name in at)
    assert not any(name.startswith("encoder.0.attention") for name in narrow.state_dict())
    assert any(name.startswith("middle.0.attention") for name in narrow.state_dict())


@both
def test_has_second_derivatives(build):
    net = small(build, shape=(1, 8, 8)).double()
    x, noise = batch(net, 1, torch.float64)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(net(x, noise).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad.isfinite().all()


@both
@pytest.mark.parametrize(
    ("shape", "fields", "message"),
    [
        ((2,), {}, "for data of another shape try model=mlp$"),
        ((1, 8, 9), {}, "the width must be a multiple of 2"),
        ((1, 8, 8), {"channels": 0}, "channels = 0"),
        ((1, 8, 8), {"multipliers": ()}, "multipliers"),
        ((1, 8, 8), {"multipliers": (1, 0)}, "multipliers"),
        ((1, 8, 8), {"blocks": 0}, "blocks = 0, but it must be a number > 0"),
        ((1, 8, 8), {"dropout": 1.0}, "dropout"),
        ((1, 8, 8), {"head_channels": 0}, "head_channels"),
        ((1, 8, 8), {"head_channels": 20}, "heads of attention cannot divide"),
    ],
)
def test_refuses(build, shape, fields, message):
    with pytest.raises(InputError, match=message):
        build(shape, 0, **SMALL[build] | fields)


@pytest.mark.parametrize(
    ("build", "fields", "message"),
    [
        (ADM, {"heads": -1}, "heads"),
        (ADM, {"group_size": 0}, "group_size"),
        (ADM, {"channels": 36, "heads": 1, "group_size": 5}, "group norm cannot divide"),
        (ADM, {"resample": "fir"}, "resample"),
        (EDM2, {"label_balance": 1.5}, r"in \[0, 1\]"),
        (EDM2, {"clip": -1.0}, "clip"),
        (EDM2, {"logvar": -1}, "logvar"),
    ],
)
def test_refuses_its_own(build, fields, message):
    with pytest.raises(InputError, match=message):
        build((1, 8, 8), 0, **SMALL[build] | fields)


def test_magnitudes_are_preserved():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(64, 48, 8, 8, generator=generator), torch.randn(64, 16, 8, 8, generator=generator)
    for kept in (mix(a, a.flip(0), 0.3), cat(a, b, 0.5), Weight(48, 32, 1)(a), Weight(48, 32, 3)(a)[..., 1:-1, 1:-1]):
        assert abs(kept.square().mean().sqrt().item() - 1) < 0.05
    features = Features(64)(torch.linspace(-1, 1, 1000))
    assert abs(features.square().mean().sqrt().item() - 1) < 0.05
    scaled = normalize(1000 * a, (1,))
    torch.testing.assert_close(scaled.square().mean(1), torch.ones(64, 8, 8), rtol=1e-4, atol=0)


def test_weights_are_put_back_in_training_only():
    net = small(EDM2, 3)
    x, noise = batch(net)
    label = torch.tensor([0, 1, 2])
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    said = net(x, noise, label=label)
    assert all(torch.equal(weight, before[name]) for name, weight in net.named_parameters())
    trained = net.train()(x, noise, label=label)
    torch.testing.assert_close(trained, said, rtol=2e-3, atol=2e-3)
    for name, weight in net.named_parameters():
        if weight.ndim > 0:
            size = weight.detach().flatten(1).square().mean(1).sqrt()
            torch.testing.assert_close(size, torch.ones_like(size), rtol=2e-2, atol=0, msg=name)
    trained.square().sum().backward()  # the write into the weights does not trouble the gradient
    assert all(weight.grad is not None for weight in net.parameters())


def test_activations_are_clipped():
    net = small(EDM2, clip=0.5)
    seen = []
    net.encoder[0].register_forward_hook(lambda module, inputs, out: seen.append(out.abs().max().item()))
    net(*batch(net))
    assert seen == [0.5]
    assert small(EDM2, clip=0.0)(*batch(net)).isfinite().all()


def test_says_how_uncertain_it_is_only_if_built_to():
    noise = torch.linspace(-1, 1, 5)
    assert small(EDM2, logvar=16).log_variance(noise).shape == (5,)
    with pytest.raises(InputError, match="logvar = 0"):
        small(EDM2).log_variance(noise)


# of the official networks: guided-diffusion's for ImageNet; EDM2's with the head of its uncertainty, XS, S and XXL
@pytest.mark.parametrize(
    ("build", "size", "fields", "count"),
    [
        (ADM, 64, {"learned_variance": True}, 295_904_454),
        (ADM, 128, {"multipliers": (1, 1, 2, 3, 4), "heads": 4, "channels": 256, "blocks": 2}, 421_529_606),
        (ADM, 256, {"multipliers": (1, 1, 2, 2, 4, 4), "channels": 256, "blocks": 2}, 553_838_086),
        (ADM, 512, {"multipliers": (0.5, 1, 1, 2, 2, 4, 4), "channels": 256, "blocks": 2}, 558_997_638),
        (EDM2, 64, {"channels": 128, "logvar": 128}, 124_710_949),
        (EDM2, 64, {"channels": 192, "logvar": 128}, 280_209_381),
        (EDM2, 64, {"channels": 448, "logvar": 128}, 1_523_156_709),
    ],
)
def test_as_many_weights_as_the_papers_have(build, size, fields, count):
    with torch.device("meta"):
        net = build((3, size, size), 1000, **fields | ({"learned_variance": True} if build is ADM else {}))
    assert sum(weight.numel() for weight in net.parameters()) == count
