"""The transformer and the U-Nets for sequences and of diffusers: what they read, and what they refuse."""

import pytest
import torch

from scoresde.errors import InputError
from scoresde.model.dit import DiT
from scoresde.model.unet1d import UNet1d
from scoresde.model.unet2d import UNet2D

from .test_networks import SMALL, SMALL_2D, awake, batch

SMALL_DIT = {"width": 16, "depth": 1, "heads": 2}


def test_dit_knows_where_a_patch_is():
    """Without its positions a transformer would carry a permutation of patches along."""
    net = awake(DiT((1, 4, 4), 0, **SMALL_DIT))
    x, noise = batch(net)
    moved = x.roll(2, 3)
    assert not torch.allclose(net(moved, noise), net(x, noise).roll(2, 3), atol=1e-3)
    net.positions.zero_()
    torch.testing.assert_close(net(moved, noise), net(x, noise).roll(2, 3), rtol=1e-4, atol=1e-5)


def test_dit_positions_are_the_papers():
    """Half of the width says the column, half the row: sines, then cosines, of falling frequencies."""
    table = DiT((1, 4, 6), 0, patch=2, width=8, depth=1, heads=2).positions.unflatten(0, (2, 3))
    frequencies = torch.tensor([1.0, 0.01])
    for row in range(2):
        for column in range(3):
            parts = [(place * frequencies).sin() for place in (column, row)]
            others = [(place * frequencies).cos() for place in (column, row)]
            want = torch.cat([parts[0], others[0], parts[1], others[1]])
            torch.testing.assert_close(table[row, column], want)


def test_dit_puts_patches_where_they_were():
    """With the blocks shut and the head reading the stem back, it is the identity on patches."""
    net = DiT((2, 4, 6), 0, patch=2, width=8, depth=1, heads=2)
    with torch.no_grad():
        net.positions.zero_()
        # a patch of 2·2·2 numbers, in the order rows, columns, channels, becomes a token and back
        eye = torch.eye(8).unflatten(1, (2, 2, 2)).permute(0, 3, 1, 2)
        net.stem.weight.copy_(eye)
        net.head.weight.copy_(torch.eye(8))
    x, noise = batch(net)
    patches = x.unflatten(3, (3, 2)).unflatten(2, (2, 2))  # (B, C, rows, 2, columns, 2)
    mean = patches.mean((1, 3, 5), keepdim=True)
    std = (patches.var((1, 3, 5), keepdim=True, unbiased=False) + 1e-6).sqrt()
    want = ((patches - mean) / std).flatten(4, 5).flatten(2, 3)
    torch.testing.assert_close(net(x, noise), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3), (2, 8), (3, 24), (1, 1024)])
def test_unet1d_takes_lengths_that_halve_often_enough(shape):
    levels = 1 + min(2, (shape[1] & -shape[1]).bit_length() - 1)
    net = awake(UNet1d(shape, 0, channels=8, multipliers=(1,) * levels, blocks=2, kernel=5))
    x, noise = batch(net)
    assert net(x, noise).shape == x.shape


def test_unet1d_sees_along_the_sequence_only():
    """Away from the ends and within its reach, a shifted sequence gives the shifted output."""
    net = awake(UNet1d((2, 64), 0, channels=8, multipliers=(1, 1), blocks=1)).double()
    for module in net.modules():
        if hasattr(module, "attention"):
            module.attention = None  # attention and norms see the whole sequence
    for block in [*net.encoder, *net.middle, *net.decoder]:
        block.norm1, block.norm2 = torch.nn.Identity(), torch.nn.Identity()
    net.norm = torch.nn.Identity()
    x, noise = batch(net, dtype=torch.float64)
    x[..., :28], x[..., 36:] = 0, 0
    torch.testing.assert_close(net(x.roll(2, 2), noise)[..., 26:40], net(x, noise).roll(2, 2)[..., 26:40])


@pytest.mark.parametrize(
    "fields",
    [
        {"scale_shift": True},
        {
            "resample_down": "block",
            "resample_up": "block",
            "attention_down": (True, True),
            "attention_up": (True, True),
        },
        {"pad_both": True, "cosine_first": True, "frequency_shift": 0},
        {"attention_middle": False, "middle_groups": 0, "head_channels": 4},
        {"centered": False, "middle_scale": 1.4, "dropout": 0.1},
        {"learned_variance": True},
        {"channels": (8,), "attention_down": (True,), "attention_up": (False,)},
    ],
)
def test_every_variant_of_unet2d_runs(fields):
    net = awake(UNet2D((1, 4, 8), 0, **{**SMALL_2D, **fields}))
    x, noise = batch(net)
    out = net(x, noise)
    assert out.shape == x.shape
    assert out.isfinite().all()


@pytest.mark.parametrize(
    ("build", "shape", "fields", "message"),
    [
        (DiT, (2,), {}, r"DiT.shape = \(2,\), but it must be \(channels, height, width\)"),
        (DiT, (1, 4, 5), {}, "the width must be a multiple of 2: try 4 or 6, or another patch"),
        (DiT, (1, 1, 4), {}, "the height must be a multiple of 2: try 2, or another patch"),
        (DiT, (1, 4, 4), {"width": 18}, "width = 18, but it must be a multiple of 4 and of its 2 heads"),
        (DiT, (1, 4, 4), {"heads": 0}, "heads = 0"),
        (DiT, (1, 4, 4), {"patch": 0}, "patch = 0"),
        (DiT, (1, 4, 4), {"depth": 0}, "depth = 0"),
        (DiT, (1, 4, 4), {"mlp_ratio": 0.0}, "mlp_ratio = 0.0"),
        (DiT, (1, 4, 4), {"mlp_ratio": float("nan")}, "mlp_ratio = nan"),
        (DiT, (1, 4, 4), {"mlp_eps": 0.0}, "mlp_eps = 0.0"),
        (DiT, (1, 4, 4), {"frequency_shift": 2}, "frequency_shift = 2, but it must be 0 or 1"),
        (UNet1d, (1, 8, 8), {}, r"UNet1d.shape = .*it must be \(channels, length\)"),
        (UNet1d, (1, 9), {}, "the length must be a multiple of 2: try 8 or 10, or fewer multipliers"),
        (UNet1d, (1, 8), {"channels": 12}, "channels = 12, but it must be a multiple of 8"),
        (UNet1d, (1, 8), {"channels": 136}, "channels = 136, .*of 32 where a resolution has more than 128"),
        (UNet1d, (1, 8), {"kernel": 4}, "kernel = 4, but it must be an odd number"),
        (UNet1d, (1, 8), {"multipliers": ()}, "multipliers"),
        (UNet1d, (1, 8), {"blocks": 0}, "blocks = 0"),
        (UNet1d, (1, 8), {"dropout": 1.0}, "dropout = 1.0"),
        (UNet2D, (8,), {}, "UNet2D.shape"),
        (UNet2D, (1, 8, 9), {}, "the width must be a multiple of 2: try 8 or 10"),
        (UNet2D, (1, 8, 8), {"channels": ()}, "channels"),
        (UNet2D, (1, 8, 8), {"channels": (8, 16, 16)}, "attention_down = .* true or false for each of 3 resolutions"),
        (UNet2D, (1, 8, 8), {"groups": 3}, "groups = 3, but it must be a number that divides each of 8, 16 channels"),
        (UNet2D, (1, 8, 8), {"middle_groups": 3}, "middle_groups = 3, but it must be 0, or a number that divides 16"),
        (UNet2D, (1, 8, 8), {"head_channels": 5}, "head_channels = 5"),
        (UNet2D, (1, 8, 8), {"eps": 0.0}, "eps = 0.0"),
        (UNet2D, (1, 8, 8), {"middle_scale": 0.0}, "middle_scale = 0.0"),
        (UNet2D, (1, 8, 8), {"frequency_shift": 2}, "frequency_shift = 2"),
        (UNet2D, (1, 8, 8), {"blocks": 0}, "blocks = 0"),
        (UNet2D, (1, 8, 8), {"dropout": -0.1}, "dropout = -0.1"),
        (UNet2D, (1, 8, 8), {"resample_up": "fir"}, "one of conv, block"),
    ],
)
def test_refuses(build, shape, fields, message):
    small = {DiT: SMALL_DIT, UNet1d: SMALL, UNet2D: SMALL_2D}[build]
    with pytest.raises(InputError, match=message):
        build(shape, 0, **{**small, **fields})


@pytest.mark.parametrize(
    ("build", "shape", "fields"), [(DiT, (1, 4, 4), SMALL_DIT), (UNet1d, (1, 8), SMALL), (UNet2D, (1, 8, 8), SMALL_2D)]
)
def test_has_second_derivatives(build, shape, fields):
    """Sliced score matching differentiates a derivative of the network."""
    net = awake(build(shape, 0, **fields, tokens=3)).double()
    x, noise = batch(net, 1, torch.float64)
    x.requires_grad_()
    tokens = torch.ones(1, 2, 3, dtype=torch.float64)
    (slope,) = torch.autograd.grad(net(x, noise, tokens=tokens).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
