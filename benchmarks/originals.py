"""The papers' own networks and training steps, run from checkouts that the user gives: none of that code is ours.

Each is built at the same size as ours and trained as its own code trains: its optimizer call, its average of weights.
"""

import copy
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Contestant", "Size", "diffusers", "edm", "ours", "score_sde"]

Finish = Callable[[nn.Module], Callable[[], None]]


@dataclass(frozen=True)
class Size:
    """The size of a network, as all of them say it.

    Args:
        resolution: of the images, which have three channels.
        channels: of the finest features.
        multipliers: one for each resolution.
        blocks: in each resolution.
        attention: the resolutions that have it.
        batch: images at a time.
    """

    resolution: int
    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    batch: int


@dataclass
class Contestant:
    """A network, and what its own training code does once the gradients are there.

    Args:
        net: the network.
        forward: its output for images and noise levels in (0, 1), through the module in its first argument.
        finish: makes the optimizer and the average, and returns a call that steps both.
    """

    net: nn.Module
    forward: Callable[[nn.Module, Tensor, Tensor], Tensor]
    finish: Finish


def ours(size: Size, kind: str, device: str) -> Contestant:
    """This package's network of a size, and what `scoresde.training` does.

    Args:
        size: of the network.
        kind: ncsnpp or ddpmpp.
        device: where it lies.
    """
    from scoresde.diagnosis import finite
    from scoresde.ema import EMA
    from scoresde.ema.decay import Decay
    from scoresde.registry import build

    fields = {name: getattr(size, name) for name in ("channels", "multipliers", "blocks", "attention")}
    shape = (3, size.resolution, size.resolution)
    net = build("model", {"name": kind, **fields}, shape=shape, classes=0).to(device)

    def finish(net: nn.Module) -> Callable[[], None]:
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-4, fused=True)
        average = EMA(net, Decay(0.999))

        def step() -> None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            average.update(10_000, size.batch)
            finite(average.weights)

        return step

    def forward(net: nn.Module, x: Tensor, level: Tensor) -> Tensor:
        return net(x, level.log() / 4 if kind == "ncsnpp" else 999 / 250 * level)

    return Contestant(net, forward, finish)


@contextmanager
def _importing(path: Path) -> Iterator[None]:
    """With a checkout first on the path, and its modules forgotten afterwards: two checkouts share names."""
    root = str(path.resolve())
    sys.path.insert(0, root)
    try:
        yield
    finally:
        sys.path.remove(root)
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(root):
                del sys.modules[name]


class _Config(dict[str, Any]):
    """Fields as attributes: all that the original asks of its configuration."""

    __getattr__ = dict.__getitem__


def score_sde(path: Path, size: Size, kind: str, device: str) -> Contestant:
    """Song et al.'s NCSN++ (VE) or DDPM++ (VP), continuous.

    Args:
        path: a checkout of score_sde_pytorch.
        size, kind: as for `ours`.
        device: as for `ours`; on a GPU the original compiles its own extension.
    """
    from torch.utils import cpp_extension

    fourier = kind == "ncsnpp"
    model = _Config(
        sigma_min=0.01, sigma_max=50, num_scales=1000, beta_min=0.1, beta_max=20.0, dropout=0.1,
        embedding_type="fourier" if fourier else "positional", scale_by_sigma=fourier, nonlinearity="swish",
        nf=size.channels, ch_mult=size.multipliers, num_res_blocks=size.blocks, attn_resolutions=size.attention,
        resamp_with_conv=True, conditional=True, fir=fourier, fir_kernel=[1, 3, 3, 1], skip_rescale=True,
        resblock_type="biggan", progressive="none", progressive_input="residual" if fourier else "none",
        progressive_combine="sum", attention_type="ddpm", init_scale=0.0, fourier_scale=16, conv_size=3,
    )  # fmt: skip
    data = _Config(image_size=size.resolution, num_channels=3, centered=True)
    config = _Config(model=model, data=data, training=_Config(continuous=True))
    load = cpp_extension.load
    if device == "cpu":
        cpp_extension.load = lambda *_, **__: None  # the CPU's path does not call what it compiles
    try:
        with _importing(path):
            net = importlib.import_module("models.ncsnpp").NCSNpp(config).to(device)
            average = importlib.import_module("models.ema").ExponentialMovingAverage
    finally:
        cpp_extension.load = load

    def finish(net: nn.Module) -> Callable[[], None]:
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.9, 0.999), eps=1e-8)
        ema = average(net.parameters(), decay=0.999)

        def step() -> None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), max_norm=1.0)
            optimizer.step()
            ema.update(net.parameters())

        return step

    return Contestant(net, lambda net, x, level: net(x, level if fourier else 999 * level), finish)


def edm(path: Path, size: Size, kind: str, device: str) -> Contestant:
    """Karras et al.'s rewriting of both networks, SongUNet.

    Args:
        path: a checkout of edm.
        size, kind, device: as for `ours`.
    """
    fourier = kind == "ncsnpp"
    options: dict[str, Any] = {
        "embedding_type": "fourier" if fourier else "positional",
        "encoder_type": "residual" if fourier else "standard",
        "channel_mult_noise": 2 if fourier else 1,
        "resample_filter": [1, 3, 3, 1] if fourier else [1, 1],
        "model_channels": size.channels,
        "channel_mult": list(size.multipliers),
        "num_blocks": size.blocks,
        "attn_resolutions": list(size.attention),
        "dropout": 0.1,
    }
    if importlib.util.find_spec("requests") is None:
        sys.modules["requests"] = types.ModuleType("requests")  # for its downloads, which nobody calls here
    with _importing(path):
        net = importlib.import_module("training.networks").SongUNet(size.resolution, 3, 3, **options).to(device)

    def finish(net: nn.Module) -> Callable[[], None]:
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
        ema = copy.deepcopy(net).eval().requires_grad_(False)

        def step() -> None:
            for weight in net.parameters():
                if weight.grad is not None:
                    torch.nan_to_num(weight.grad, nan=0, posinf=1e5, neginf=-1e5, out=weight.grad)
            optimizer.step()
            for averaged, weight in zip(ema.parameters(), net.parameters(), strict=True):
                averaged.copy_(weight.detach().lerp(averaged, 0.999))

        return step

    return Contestant(net, lambda net, x, level: net(x, level, None), finish)


def diffusers(size: Size, device: str) -> Contestant:
    """diffusers' UNet2DModel of the same widths, with residual resampling: the nearest that it has to DDPM++.

    Args:
        size, device: as for `ours`.

    Raises:
        ImportError: where it is not installed.
    """
    from diffusers import UNet2DModel
    from diffusers.training_utils import EMAModel

    attends = [(size.resolution >> i) in size.attention for i in range(len(size.multipliers))]
    net = UNet2DModel(
        sample_size=size.resolution, in_channels=3, out_channels=3, layers_per_block=size.blocks, dropout=0.1,
        block_out_channels=tuple(m * size.channels for m in size.multipliers), attention_head_dim=None,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        downsample_type="resnet", upsample_type="resnet",
    ).to(device)  # fmt: skip

    def finish(net: nn.Module) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
        ema = EMAModel(net.parameters(), decay=0.999)

        def step() -> None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            ema.step(net.parameters())

        return step

    return Contestant(net, lambda net, x, level: net(x, 999 * level).sample, finish)
