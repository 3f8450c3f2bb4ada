"""Resampling against a slow reference: zeros put in by hand, and the convolution written as sums."""

import numpy as np
import pytest
import torch

from scoresde.model.layers.resample import Downsample, DownsampleConv, Upsample, UpsampleConv

TAPS = [(1, 3, 3, 1), (1, 1), (1, 2, 3, 4), (1, 4, 6, 7, 3, 2)]


def fir(image: np.ndarray, kernel: np.ndarray, up: int, down: int, before: int, after: int) -> np.ndarray:
    """StyleGAN2's upfirdn2d of one channel: insert zeros, pad, convolve, keep every `down`-th pixel."""
    height, width = image.shape
    big = np.zeros((height * up, width * up))
    big[::up, ::up] = image
    big = np.pad(big, (before, after))
    size = len(kernel)
    rows, columns = big.shape[0] - size + 1, big.shape[1] - size + 1
    out = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            out[i, j] = (big[i : i + size, j : j + size] * kernel[::-1, ::-1]).sum()
    return out[::down, ::down]


def convolve(images: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """A network's convolution without padding, channels first."""
    outputs, _, size, _ = weight.shape
    rows, columns = [(n - size) // stride + 1 for n in images.shape[1:]]
    out = np.zeros((outputs, rows, columns))
    for i in range(rows):
        for j in range(columns):
            patch = images[:, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, i, j] = (weight * patch).sum((1, 2, 3))
    return out


def outer(taps: tuple[int, ...]) -> np.ndarray:
    line = np.array(taps, dtype=float)
    return np.outer(line, line) / line.sum() ** 2


@pytest.fixture
def image():
    return torch.randn(2, 3, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("taps", TAPS)
def test_downsample_is_filter_then_every_second_pixel(image, taps):
    p = len(taps) - 2
    got = Downsample(taps).double()(image)
    for b in range(2):
        for c in range(3):
            want = fir(image[b, c].numpy(), outer(taps), 1, 2, (p + 1) // 2, p // 2)
            np.testing.assert_allclose(got[b, c], want, atol=1e-6)


@pytest.mark.parametrize("taps", TAPS)
def test_upsample_is_zeros_then_filter(image, taps):
    p = len(taps) - 2
    got = Upsample(taps).double()(image)
    for b in range(2):
        for c in range(3):
            want = fir(image[b, c].numpy(), 4 * outer(taps), 2, 1, (p + 1) // 2 + 1, p // 2)
            np.testing.assert_allclose(got[b, c], want, atol=1e-6)


@pytest.mark.parametrize("taps", TAPS)
def test_downsampling_convolution_pads_once(image, taps):
    layer = DownsampleConv(3, 5, taps).double()
    p = len(taps)
    with torch.no_grad():
        got = layer(image)
    filtered = np.stack([fir(channel.numpy(), outer(taps), 1, 1, (p + 1) // 2, p // 2) for channel in image[0]])
    np.testing.assert_allclose(got[0], convolve(filtered, layer.conv.weight.detach().numpy(), 2), atol=1e-6)


@pytest.mark.parametrize("taps", TAPS)
def test_upsampling_convolution_pads_once(image, taps):
    layer = UpsampleConv(3, 5, taps).double()
    p = len(taps) - 4
    with torch.no_grad():
        torch.nn.init.normal_(layer.conv.bias)
        got = layer(image)
    # zeros between the pixels and two rows of them round about: the whole of the transposed convolution
    big = np.zeros((3, 12 - 1 + 4, 8 - 1 + 4))
    big[:, 2:-2:2, 2:-2:2] = image[0].numpy()
    wide = convolve(big, layer.conv.weight.detach().numpy(), 1)
    want = np.stack([fir(channel, 4 * outer(taps), 1, 1, (p + 1) // 2 + 1, p // 2 + 1) for channel in wide])
    np.testing.assert_allclose(got[0], want + layer.conv.bias.detach().numpy()[:, None, None], atol=1e-6)


def test_plain_resampling_averages_and_repeats(image):
    down, up = Downsample(None)(image), Upsample(None)(image)
    torch.testing.assert_close(down[..., 0, 1], image[..., :2, 2:4].mean((-1, -2)))
    assert torch.equal(up[..., ::2, 1::2], image)
    assert torch.equal(up[..., 1::2, ::2], image)


@pytest.mark.parametrize("layer", [Downsample((1, 3, 3, 1)), Upsample((1, 3, 3, 1)), Downsample(None), Upsample(None)])
def test_a_constant_stays_inside(layer):
    inside = layer(torch.full((1, 2, 8, 8), 3.0))[..., 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.full_like(inside, 3.0))


@pytest.mark.parametrize("taps", [None, (1, 3, 3, 1)])
def test_two_by_two_goes_down_and_up(taps):
    x = torch.randn(1, 4, 2, 2)
    assert Downsample(taps)(x).shape == DownsampleConv(4, 4, taps)(x).shape == (1, 4, 1, 1)
    assert Upsample(taps)(x).shape == UpsampleConv(4, 4, taps)(x).shape == (1, 4, 4, 4)
