"""Labels, embeddings and tokens are said alike in every network."""

import math

import pytest
import torch

from scoresde import registry, sample
from scoresde.errors import InputError
from scoresde.model.layers.cross_attention import CrossAttention
from scoresde.score import Denoiser

UNET = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
SMALL = {
    "mlp": ((5,), {"width": 16, "depth": 2}),
    "ncsnpp": ((1, 8, 8), UNET),
    "ddpmpp": ((1, 8, 8), UNET),
    "ddpm": ((1, 8, 8), UNET | {"group_size": 4}),
    "adm": ((1, 8, 8), UNET | {"channels": 16, "head_channels": 8}),
    "edm2": ((1, 8, 8), UNET | {"head_channels": 8}),
    "dit": ((1, 8, 8), {"width": 16, "depth": 2, "heads": 2}),
    "unet1d": ((2, 8), UNET),
    "unet2d": (
        (1, 8, 8),
        {
            "channels": (8, 16),
            "attention_down": (False, True),
            "attention_up": (True, False),
            "groups": 4,
            "middle_groups": 4,
        },
    ),
}
CONDITIONS = {"label": {"classes": 3}, "embedding": {"embedding": 6}, "tokens": {"tokens": 5}}
NETWORKS = [name for name in registry.names("model") if name != "ncsnv2"]  # which reads no noise level even


def build(name: str, *, awake: bool = True, **conditions: int):
    torch.manual_seed(0)
    shape, fields = SMALL[name]
    net = registry.build("model", {"name": name, **fields, "classes": 0, **conditions}, shape=shape)
    if awake:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in net.parameters():
                # most networks start with layers at zero, which let nothing through
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator) / math.sqrt(weight.shape[1:].numel()))
    return net.eval()


def batch(net):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(4, *net.shape, generator=generator), torch.linspace(-1, 1, 4)


def values(which: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    if which == "label":
        return torch.tensor([0, 1, 2, 1])
    return torch.randn((4, 6) if which == "embedding" else (4, 3, 5), generator=generator)


def none(which: str) -> torch.Tensor:
    return torch.full((4,), -1) if which == "label" else torch.zeros_like(values(which))


@pytest.fixture(params=NETWORKS)
def name(request):
    assert request.param in SMALL, f"give {request.param} small fields above"
    return request.param


@pytest.fixture(params=CONDITIONS)
def which(request):
    return request.param


@torch.no_grad()
def test_a_network_reacts_to_its_condition(name, which):
    net = build(name, **CONDITIONS[which])
    x, noise = batch(net)
    value = values(which)
    out = net(x, noise, **{which: value})
    assert (out - net(x, noise)).flatten(1).norm(dim=1).min() > 1e-4
    assert (out - net(x, noise, **{which: value.roll(1, 0)})).flatten(1).norm(dim=1).min() > 1e-4


@torch.no_grad()
def test_no_condition_is_said_in_two_ways(name, which):
    net = build(name, **CONDITIONS[which])
    x, noise = batch(net)
    torch.testing.assert_close(net(x, noise, **{which: none(which)}), net(x, noise), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_condition_stays_with_its_sample(name, which):
    net = build(name, **CONDITIONS[which])
    x, noise = batch(net)
    value = values(which)
    mixed = value.clone()
    mixed[1] = none(which)[1]
    got = net(x, noise, **{which: mixed})
    want = net(x, noise, **{which: value})
    want[1] = net(x, noise)[1]
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_a_network_without_conditions_has_no_weights_for_them(name):
    plain = build(name, awake=False)
    for which, field in CONDITIONS.items():
        extra = set(build(name, awake=False, **field).state_dict()) - set(plain.state_dict())
        assert extra, which
    assert not [key for key in plain.state_dict() if "cross" in key or "label" in key or "vector" in key]


@torch.no_grad()
def test_with_cross_attention_it_starts_as_the_one_without(name):
    """Same weights, awake but for the cross-attention's last map, which starts at zero: the tokens are not seen yet."""
    plain, net = build(name), build(name, awake=False, tokens=5)
    zero = [key for key, weight in net.named_parameters() if "cross" in key and not weight.any()]
    assert zero
    missing, unexpected = net.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all("cross" in key for key in missing)
    x, noise = batch(net)
    assert torch.equal(net(x, noise, tokens=values("tokens")), plain(x, noise))


def test_every_condition_learns(name):
    net = build(name, classes=3, embedding=6, tokens=5).train()
    x, noise = batch(net)
    given = {which: values(which).clone() for which in CONDITIONS}
    for which in ("embedding", "tokens"):
        given[which].requires_grad_()
    net(x, noise, **given).square().sum().backward()
    assert all(given[which].grad.abs().sum() > 0 for which in ("embedding", "tokens"))
    assert all(
        weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters() if weight.requires_grad
    )


@torch.no_grad()
def test_tokens_are_a_sequence_of_any_length_whose_zeros_are_padding(name):
    net = build(name, tokens=5)
    x, noise = batch(net)
    tokens = values("tokens")
    padded = torch.cat([torch.zeros(4, 1, 5), tokens, torch.zeros(4, 2, 5)], dim=1)
    torch.testing.assert_close(net(x, noise, tokens=padded), net(x, noise, tokens=tokens), rtol=1e-4, atol=1e-5)
    assert net(x, noise, tokens=tokens[:, :0]).shape == x.shape


def test_conditions_of_another_shape_are_refused(name):
    net = build(name)
    x, noise = batch(net)
    with pytest.raises(InputError, match="was built with classes = 0: leave label=None"):
        net(x, noise, label=values("label"))
    with pytest.raises(InputError, match="was built with embedding = 0: leave embedding=None"):
        net(x, noise, embedding=values("embedding"))
    with pytest.raises(InputError, match="was built with tokens = 0: leave tokens=None"):
        net(x, noise, tokens=values("tokens"))
    net = build(name, classes=3, embedding=6, tokens=5)
    with pytest.raises(InputError, match=r"label of shape \(3,\), but it must be \(4,\)"):
        net(x, noise, label=values("label")[:3])
    for bad in (torch.zeros(4), torch.zeros(4, 5), torch.zeros(3, 6), torch.zeros(4, 6, 1)):
        with pytest.raises(InputError, match=r"embedding of shape .*, but it must be \(4, 6\)"):
            net(x, noise, embedding=bad)
    for bad in (torch.zeros(4, 5), torch.zeros(4, 3, 6), torch.zeros(3, 3, 5), torch.zeros(4, 1, 3, 5)):
        with pytest.raises(InputError, match=r"tokens of shape .*, but it must be \(4, L, 5\)"):
            net(x, noise, tokens=bad)


@pytest.mark.parametrize("field", ["embedding", "tokens"])
def test_refuses_a_negative_width(name, field):
    with pytest.raises(InputError, match=f"{field} = -1, but it must be the width of a"):
        build(name, **{field: -1})


@pytest.mark.parametrize("field", ["classes", "embedding", "tokens"])
def test_the_one_network_without_conditions_says_so(field):
    with pytest.raises(InputError, match=f"{field} = 3, but it must be 0, for it has no conditions"):
        registry.build("model", {"name": "ncsnv2", "classes": 0, field: 3}, shape=(1, 8, 8))


@torch.no_grad()
def test_a_denoiser_takes_conditions_in_any_precision():
    net = build("mlp", classes=3, embedding=6, tokens=5)
    model = Denoiser(net, registry.build("sde", "vp"), registry.build("param", "v"))
    cond = {which: values(which) for which in CONDITIONS}
    x, t = torch.randn(4, 5), torch.tensor(0.5)
    single = model(x, t, cond).x0
    double = model(x, t, {k: v.double() if v.is_floating_point() else v for k, v in cond.items()}).x0
    assert torch.equal(single, double)


@pytest.mark.parametrize("channels", [8, 64, 128])
@pytest.mark.parametrize("last", [False, True])
def test_cross_attention_is_the_papers_with_a_key_of_zeros(channels, last):
    """Against torch's own attention over the same tokens and one of zeros."""
    torch.manual_seed(0)
    layer = CrossAttention(channels, 5, last=last).double()
    torch.nn.init.normal_(layer.out.weight)
    h, tokens = torch.randn(2, 6, channels).double(), torch.randn(2, 3, 5).double()
    theirs = torch.nn.MultiheadAttention(
        channels, layer.heads, bias=False, kdim=5, vdim=5, batch_first=True, dtype=torch.float64
    )
    key, value = layer.key_value.weight.chunk(2)
    theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight = (
        layer.query.weight,
        *map(torch.nn.Parameter, (key, value)),
    )
    theirs.out_proj.weight = layer.out.weight
    seen = torch.cat([tokens, torch.zeros(2, 1, 5).double()], dim=1)
    if last:
        want = h + theirs(layer.norm(h), seen, seen)[0]
        got = layer(h, tokens)
    else:
        image = h.transpose(1, 2).reshape(2, channels, 2, 3)
        q = layer.norm(image).flatten(2).transpose(1, 2)
        want = image + theirs(q, seen, seen)[0].transpose(1, 2).reshape(image.shape)
        got = layer(image, tokens)
    torch.testing.assert_close(got, want)


def test_sampling_with_conditions():
    net = build("mlp", classes=3, embedding=6, tokens=5)
    model = Denoiser(net, registry.build("sde", "vp"), registry.build("param", "v"))
    cond = {which: values(which) for which in CONDITIONS}
    alone = sample(model, 4, steps=2, cond=cond)
    assert not torch.equal(alone, sample(model, 4, steps=2))
    torch.testing.assert_close(sample(model, 4, steps=2, cond=cond, batch=3), alone, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="networks know no condition 'embeding': did you mean embedding"):
        sample(model, 4, steps=2, cond={"embeding": values("embedding")})
    with pytest.raises(InputError, match=r"MLP got tokens of shape \(4, 5\), but it must be \(4, L, 5\)"):
        sample(model, 4, steps=2, cond={"tokens": torch.zeros(4, 5)})
