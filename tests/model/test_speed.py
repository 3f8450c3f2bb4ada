"""What makes networks fast changes no number: layouts, in-place sums, fused attention, compiled graphs."""

import copy

import pytest
import torch
from torch import nn

from scoresde.model.layers.attention import Attention
from scoresde.model.layers.blocks import ResidualBlock
from scoresde.model.layers.heads import attend
from scoresde.model.layers.primitive import Dropout
from scoresde.model.layers.resample import Downsample, DownsampleConv, Upsample, UpsampleConv
from tests.model.test_networks import NETWORKS, awake, batch

needs_dynamo = pytest.mark.skipif(not torch._dynamo.is_dynamo_supported(), reason="needs torch.compile")
UNETS = ["ncsnpp", "ddpmpp"]


@pytest.fixture
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@needs_dynamo
@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("name", NETWORKS)
def test_is_one_graph(name):
    """torch.compile takes a network whole: a graph break would leave its graph."""
    net = NETWORKS[name]()
    explained = torch._dynamo.explain(net)(*batch(net))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


@needs_dynamo
@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("name", UNETS)
def test_compiled_it_says_the_same(name):
    """Outputs and gradients; dropout, which draws another way in a graph, is off."""
    net = awake(NETWORKS[name]()).double()
    same = copy.deepcopy(net)
    x, noise = batch(net, dtype=torch.float64)
    want, got = net(x, noise), torch.compile(same, backend="eager", fullgraph=True)(x, noise)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    want.square().sum().backward()
    got.square().sum().backward()
    for one, other in zip(net.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", UNETS)
def test_the_memory_format_changes_no_number(name):
    net = awake(NETWORKS[name]()).double()
    x, noise = batch(net, dtype=torch.float64)
    want = net(x, noise)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(x.to(memory_format=torch.channels_last), noise), want, rtol=1e-9, atol=1e-9)
    again = copy.deepcopy(net)
    again.load_state_dict(last.state_dict())
    assert torch.equal(again(x, noise), want)


@pytest.mark.parametrize("name", NETWORKS)
def test_images_lie_alike_from_end_to_end(name):
    """One layer that turns them to channels_last makes every convolution after it copy its weights, at each call."""
    net, turned = NETWORKS[name]().eval(), []
    for where, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_pre_hook(
                lambda layer, args, where=where: turned.append(where) if not args[0].is_contiguous() else None
            )
    with torch.no_grad():
        net(*batch(net))
    net(*batch(net))
    assert not turned


@pytest.mark.parametrize("name", UNETS)
def test_with_and_without_gradients_the_output_is_one(name):
    net = awake(NETWORKS[name]()).double()
    x, noise = batch(net, dtype=torch.float64)
    with torch.no_grad():
        alone = net(x, noise)
    torch.testing.assert_close(net(x, noise), alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", UNETS)
def test_runs_in_bfloat16(name):
    net = awake(NETWORKS[name]())
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(0.5)  # tamer: what is compared is the path, not how rounding grows
    x, noise = batch(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = net(x, noise)
    half.float().square().sum().backward()
    whole = net(x, noise)
    assert (half.float() - whole).norm() < 0.1 * whole.norm()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 3, 8, 1), (2, 3, 8, 5), (1, 1, 4, 64)])
def test_attention_is_its_formula(shape, dtype):
    q, k, v = torch.randn(3, *shape, dtype=dtype).unbind()
    weights = torch.einsum("bhci,bhcj->bhij", q, k).div(shape[2] ** 0.5).exp()
    want = torch.einsum("bhij,bhcj->bhci", weights / weights.sum(3, keepdim=True), v)
    torch.testing.assert_close(attend(q, k, v), want)
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v), want)


def test_attention_of_large_scores_is_finite():
    q = torch.full((1, 1, 4, 3), 1e3)
    assert attend(q, q, q).isfinite().all()


def _layers() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    torch.manual_seed(0)
    made = {"attention": (Attention(4, 0.7), (2, 4, 2, 2))}
    for taps in (None, (1, 3, 3, 1)):
        made[f"down {taps}"] = Downsample(taps), (1, 2, 4, 4)
        made[f"up {taps}"] = Upsample(taps), (1, 2, 2, 2)
        made[f"down conv {taps}"] = DownsampleConv(2, 1, taps), (1, 2, 4, 4)
        made[f"up conv {taps}"] = UpsampleConv(2, 1, taps), (1, 2, 2, 2)
    return made


@pytest.mark.parametrize("name", _layers())
def test_first_and_second_derivatives(name):
    """Against differences: losses with ∇·s differentiate a derivative of every layer."""
    layer, shape = _layers()[name]
    layer = layer.double()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


def test_a_block_leaves_its_input_alone():
    """It sums in place, but only into what it made itself."""
    for inputs in (8, 4):
        block = ResidualBlock(inputs, 8, 6, dropout=0.0, gain=0.7, attention=True)
        x, emb = torch.randn(2, inputs, 4, 4), torch.randn(2, 6)
        kept = x.clone(), emb.clone()
        block(x, emb)
        assert torch.equal(x, kept[0])
        assert torch.equal(emb, kept[1])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dropout_drops_and_grows(p, dtype):
    x = torch.ones(300, 301, dtype=dtype)
    y = Dropout(p)(x)
    assert y.dtype == dtype
    assert set(y.unique().tolist()) == {0.0, y.max().item()}
    assert y.max().item() == pytest.approx(1 / (1 - p), rel=2e-4)
    # 90,300 draws: five deviations
    assert abs((y == 0).double().mean().item() - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    halves = (y == 0).double().view(-1, 2)
    assert abs(halves.prod(1).mean().item() - p**2) < 5 * (p**2 / len(halves)) ** 0.5  # neighbours are strangers


def test_dropout_follows_the_seed_and_its_gradient_the_mask():
    x = torch.randn(7, 5, 3, requires_grad=True)
    layer = Dropout(0.3)
    torch.manual_seed(3)
    y = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), y)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope * x, y)
    state = torch.get_rng_state()
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("p", [1e-9, 1 - 1e-9])
def test_dropout_at_its_ends(p):
    assert Dropout(p)(torch.ones(64)).isfinite().all()
    assert Dropout(p)(torch.ones(0)).shape == (0,)
