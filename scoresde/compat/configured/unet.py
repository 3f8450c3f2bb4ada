"""diffusers' UNet2DModel, as `unet2d`, or as `ncsnpp` where its blocks are those of NCSN++."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scoresde.compat.base import Made, fill
from scoresde.compat.configured.config import configured
from scoresde.errors import InputError
from scoresde.model.base import Network

__all__ = ["unet"]

_KNOWN: dict[str, Any] = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": 0,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [224, 448, 672, 896],
    "layers_per_block": 2,
    "mid_block_scale_factor": 1.0,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": 0,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": "",
    "num_class_embeds": 0,
    "num_train_timesteps": 0,
}
_RESAMPLE = {"conv": "conv", "resnet": "block"}
_BLOCK = {"time_emb_proj": "embed", "conv_shortcut": "shortcut"}
_ATTENTION = {"group_norm": "norm", "to_out.0": "out", "proj_attn": "out"}
_QUERIES = {"to_q": ("to_k", "to_v"), "query": ("key", "value")}


def unet(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Network:
    """Our network of a configuration and its weights.

    Raises:
        InputError: for settings that are unknown or that no network of ours has, and weights that do not fit.
    """
    said = configured(config, _KNOWN, "UNet2DModel")
    size = said["sample_size"]
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    if not isinstance(height, int) or not isinstance(width, int):
        raise InputError(f"its UNet2DModel has sample_size = {size!r}, but scoresde needs the size of its images")
    shape = (said["in_channels"], height, width)
    if said["act_fn"] not in ("silu", "swish"):
        raise InputError(f"its UNet2DModel has act_fn = {said['act_fn']!r}, but only silu is read")
    types, up = said["down_block_types"], said["up_block_types"]
    if not len(types) == len(up) == len(said["block_out_channels"]):
        raise InputError("its UNet2DModel has not one block for each of its block_out_channels, both down and up")
    if said["time_embedding_dim"] not in (None, 0, 4 * said["block_out_channels"][0]):
        raise InputError("its UNet2DModel has time_embedding_dim other than 4 times its first channels")
    if said["mid_block_type"] != "UNetMidBlock2D":
        raise InputError(
            f"its UNet2DModel has mid_block_type = {said['mid_block_type']!r}: only UNetMidBlock2D is read"
        )
    if said["class_embed_type"]:
        raise InputError(f"its UNet2DModel has class_embed_type = {said['class_embed_type']!r}: only a table is read")
    skip = any("Skip" in kind for kind in [*types, *up])
    spec = _ncsnpp(said, height) if skip else _unet2d(said)
    names: dict[str, str | Made] = {}
    for name in weights:
        own = _own(name, said, skip)
        if own is not None and own.endswith(("qkv.weight", "qkv.bias")):
            tail, parameter = name.rpartition(".")[0], name.rpartition(".")[2]
            before, first = tail.rpartition(".")[0], tail.rpartition(".")[2]
            parts = [f"{before}.{part}.{parameter}" for part in (first, *_QUERIES[first])]
            names[own] = Made(parts, _stacked_conv if skip else _stacked)
        elif own is not None and skip and own.endswith("attention.out.weight"):
            names[own] = Made([name], _stacked_conv)
        elif own is not None:
            names[own] = name
    return fill(spec, weights, names, shape=shape, classes=0 if skip else said["num_class_embeds"] or 0)


def _unet2d(said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `unet2d`."""
    down, up = _attends(said["down_block_types"], "Down"), _attends(said["up_block_types"], "Up")
    for setting, options in (
        ("time_embedding_type", ("positional",)),
        ("downsample_type", tuple(_RESAMPLE)),
        ("upsample_type", tuple(_RESAMPLE)),
        ("downsample_padding", (0, 1)),
        ("resnet_time_scale_shift", ("default", "scale_shift")),
        ("out_channels", (said["in_channels"], 2 * said["in_channels"])),
    ):
        if said[setting] not in options:
            read = " or ".join(map(str, options))
            raise InputError(f"its UNet2DModel has {setting} = {said[setting]!r}, but only {read} is read")
    groups, shifts = said["norm_num_groups"], said["resnet_time_scale_shift"] == "scale_shift"
    if not groups:
        raise InputError("its UNet2DModel has norm_num_groups = null, which is read with NCSN++'s blocks only")
    # with scale_shift the attention in the middle has no norm unless it is given groups of its own
    middle = said["attn_norm_num_groups"] or (0 if shifts else groups)
    return {
        "name": "unet2d",
        "channels": said["block_out_channels"],
        "blocks": said["layers_per_block"],
        "attention_down": down,
        "attention_up": up[::-1],
        "attention_middle": said["add_attention"] is not False,
        "head_channels": said["attention_head_dim"] or 0,
        "groups": groups,
        "middle_groups": middle,
        "eps": said["norm_eps"],
        "scale_shift": shifts,
        "resample_down": _RESAMPLE[said["downsample_type"]],
        "resample_up": _RESAMPLE[said["upsample_type"]],
        "pad_both": said["downsample_padding"] == 1,
        "middle_scale": said["mid_block_scale_factor"],
        "frequency_shift": said["freq_shift"],
        "cosine_first": said["flip_sin_to_cos"],
        "centered": not said["center_input_sample"],
        "learned_variance": said["out_channels"] != said["in_channels"],
        "dropout": said["dropout"],
    }


def _ncsnpp(said: Mapping[str, Any], height: int) -> dict[str, Any]:
    """The fields of `ncsnpp`."""
    down, up = _attends(said["down_block_types"], "SkipDown"), _attends(said["up_block_types"], "SkipUp")
    channels = said["block_out_channels"]
    odd = [
        down != up[::-1],
        said["time_embedding_type"] != "fourier",
        said["attention_head_dim"] is not None,
        said["norm_num_groups"] is not None,
        not math.isclose(said["mid_block_scale_factor"], math.sqrt(2), rel_tol=1e-6),
        not math.isclose(said["norm_eps"], 1e-6),
        said["resnet_time_scale_shift"] != "default",
        said["out_channels"] != said["in_channels"],
        bool(said["num_class_embeds"] or said["attn_norm_num_groups"] or said["center_input_sample"]),
        any(width % channels[0] for width in channels),
        # with fewer, diffusers' norms around an attention have other groups than NCSN++'s
        any(width < 128 for width, attends in zip(channels, down, strict=True) if attends),
    ]
    if any(odd):
        raise InputError("its UNet2DModel has the blocks of NCSN++, but settings that NCSN++ has not")
    return {
        "name": "ncsnpp",
        "channels": channels[0],
        "multipliers": [width // channels[0] for width in channels],
        "blocks": said["layers_per_block"],
        "attention": [height >> i for i, attends in enumerate(down) if attends],
        "progressive_input": "skip",
        "progressive_output": "skip",
        "dropout": said["dropout"],
    }


def _attends(types: list[str], way: str) -> list[bool]:
    """Which blocks have attention; all must be of one kind."""
    kinds = {f"{way}Block2D": False, f"Attn{way}Block2D": True}
    for kind in types:
        # diffusers' first releases put UNetRes before the names
        if kind.removeprefix("UNetRes") not in kinds:
            raise InputError(f"its UNet2DModel has the block {kind!r:.80}, where only {' and '.join(kinds)} are read")
    return [kinds[kind.removeprefix("UNetRes")] for kind in types]


def _own(name: str, said: Mapping[str, Any], skip: bool) -> str | None:
    """Our name of a foreign tensor, None for one that is read along with another, or has no place."""
    layer, _, parameter = name.rpartition(".")
    last = len(said["block_out_channels"]) - 1
    head = {"conv_norm_out": f"decoder.{last}.pyramid.write.0", "conv_out": f"decoder.{last}.pyramid.write.2"}
    if not skip:
        head = {"conv_norm_out": "norm", "conv_out": "head"}
    whole = head | {
        "conv_in": "stem",
        "time_embedding.linear_1": "condition.first",
        "time_embedding.linear_2": "condition.second",
        "class_embedding": "condition.label",
    }
    if name == "time_proj.weight":
        return "condition.features.frequencies"
    if layer in whole:
        return f"{whole[layer]}.{parameter}"
    part, *path = layer.split(".")
    if part == "mid_block" and len(path) >= 3:
        kind, number, *inner = path
        return _inner(f"middle.{number}", kind, inner, parameter)
    if part not in ("down_blocks", "up_blocks") or len(path) < 2:
        return None
    level, kind, *inner = path
    own = f"{'encoder' if part == 'down_blocks' else 'decoder'}.{level}"
    if kind in ("resnets", "attentions") and len(inner) >= 2:
        number, *inner = inner
        if skip and part == "up_blocks" and kind == "attentions":
            number = str(said["layers_per_block"])
        return _inner(f"{own}.blocks.{number}", kind, inner, parameter)
    if kind in ("resnet_down", "resnet_up"):
        return _inner(f"{own}.resample", "resnets", inner, parameter)
    if kind in ("skip_conv", "skip_norm"):
        inner_name = "read" if part == "down_blocks" else "write.2" if kind == "skip_conv" else "write.0"
        return f"{own}.pyramid.{inner_name}.{parameter}"
    if kind in ("downsamplers", "upsamplers") and len(inner) == 2:
        return f"{own}.resample.{_BLOCK.get(inner[1], inner[1])}.{parameter}"
    return None


def _inner(own: str, kind: str, inner: list[str], parameter: str) -> str | None:
    layer = ".".join(inner)
    if kind == "resnets":
        return f"{own}.{_BLOCK.get(layer, layer)}.{parameter}"
    if any(layer in others for others in _QUERIES.values()):
        return None
    return f"{own}.attention.{'qkv' if layer in _QUERIES else _ATTENTION.get(layer, layer)}.{parameter}"


def _stacked(*parts: Tensor) -> Tensor:
    """Queries, keys and values as one map; some files have them as convolutions of one pixel."""
    return torch.cat([part.flatten(1) if part.ndim == 4 else part for part in parts])


def _stacked_conv(*parts: Tensor) -> Tensor:
    """The same as a convolution of one pixel."""
    whole = _stacked(*parts)
    return whole if whole.ndim == 1 else whole[:, :, None, None]
