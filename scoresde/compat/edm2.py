"""EDM2's pickles: the magnitude-preserving networks of Karras et al. 2024."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoresde.compat.base import Format, Made, fill
from scoresde.compat.persistent.network import attribute, flat, heads_first, network, settings
from scoresde.errors import InputError
from scoresde.pickled import Record, weights
from scoresde.registry import build
from scoresde.score import Denoiser

__all__ = ["EDM2"]

_UNET = {
    "img_resolution": int,
    "img_channels": int,
    "label_dim": int,
    "model_channels": 192,
    "channel_mult": [1, 2, 3, 4],
    "channel_mult_noise": 0,
    "channel_mult_emb": 0,
    "num_blocks": 3,
    "attn_resolutions": [16, 8],
    "label_balance": 0.5,
    "concat_balance": 0.5,
    "resample_filter": [1, 1],
    "channels_per_head": 64,
    "dropout": 0.0,
    "res_balance": 0.3,
    "attn_balance": 0.3,
    "clip_act": 256.0,
}
_BLOCK = {
    "emb_gain": "gain",
    "conv_res0": "conv1",
    "emb_linear": "embed",
    "conv_res1": "conv2",
    "conv_skip": "shortcut",
    "attn_qkv": "attention.qkv",
    "attn_proj": "attention.out",
}
_OUTER = {
    "unet.emb_fourier.freqs": "features.frequencies",
    "unet.emb_fourier.phases": "features.phases",
    "unet.emb_noise.weight": "noise.weight",
    "unet.emb_label.weight": "label.weight",
    "unet.out_conv.weight": "head.weight",
    "unet.out_gain": "gain",
    "logvar_fourier.freqs": "uncertainty.features.frequencies",
    "logvar_fourier.phases": "uncertainty.features.phases",
    "logvar_linear.weight": "uncertainty.linear.weight",
}


@dataclass(frozen=True)
class EDM2(Format):
    """``edm2-….pkl`` of EDM2, its autoguidance models among them: its preconditioning around its U-Net.

    Where the images have 4 channels they are latents, and the encoder is not part of the file.

    Source: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", and official code.
    """

    def matches(self, tree: Any, path: Path) -> bool:
        """Whether its network is EDM2's preconditioning."""
        return network(tree, ("Precond",)) is not None

    def denoiser(self, tree: Any, path: Path, recipe: str | None = None) -> Denoiser:
        """As `Format`; the recipe is not needed."""
        outer = network(tree, ("Precond",))
        modules = outer.state.get("_modules") if outer is not None else None
        inner = modules.get("unet") if isinstance(modules, Mapping) else None
        if outer is None or not isinstance(inner, Record) or inner.class_name != "UNet":
            raise InputError("its network is not EDM2's UNet")
        said = settings(inner, _UNET)
        if said["resample_filter"] != [1, 1] or not said["channel_mult"]:
            raise InputError("its UNet is of another kind than any that EDM2 trained")
        tensors = weights(outer)
        names: dict[str, str | Made] = {}
        for name, tensor in tensors.items():
            own = _OUTER.get(name) or flat(name.removeprefix("unet."), said, _BLOCK)
            if own is not None:
                names[own] = _source(name, own, tensor)
        frequencies = tensors.get("logvar_fourier.freqs")
        spec = _spec(said) | {"logvar": len(frequencies) if frequencies is not None and frequencies.ndim == 1 else 0}
        shape = (said["img_channels"], said["img_resolution"], said["img_resolution"])
        net = fill(spec, tensors, names, shape=shape, classes=said["label_dim"])
        param = build("param", {"name": "edm", "sigma_data": attribute(outer, "sigma_data")})
        pixels = (-1.0, 1.0) if said["img_channels"] in (1, 3) else None
        return Denoiser(net, build("sde", "edm"), param, pixels).eval()


def _source(name: str, own: str, tensor: Tensor) -> str | Made:
    """What our tensor is made of."""
    if own.endswith("qkv.weight"):
        return Made([name], heads_first)
    if own.rpartition(".")[2] == "gain" and tensor.dtype in (torch.float16, torch.bfloat16):
        fan = name.replace("emb_gain", "emb_linear.weight").replace("out_gain", "out_conv.weight")
        return Made([name, fan], _half_gain)
    return name


def _half_gain(gain: Tensor, weight: Tensor) -> Tensor:
    """A gain as their code applies it to a file's half precision: divided by √fan-in there, which rounds it."""
    root = weight[0].numel() ** 0.5
    return (gain / root).float() * root


def _spec(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": "edm2",
        "channels": said["model_channels"],
        "multipliers": said["channel_mult"],
        "blocks": said["num_blocks"],
        "attention": said["attn_resolutions"],
        "dropout": said["dropout"],
        "head_channels": said["channels_per_head"],
        "noise_multiplier": said["channel_mult_noise"],
        "embedding_multiplier": said["channel_mult_emb"],
        "label_balance": said["label_balance"],
        "concat_balance": said["concat_balance"],
        "residual_balance": said["res_balance"],
        "attention_balance": said["attn_balance"],
        "clip": said["clip_act"],
    }
