"""Guided diffusion's files and those of improved DDPM: a network's state_dict and nothing else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from scoresde.compat.base import Format, Made, fill, plain_names
from scoresde.compat.configured.scheduler import chain
from scoresde.errors import InputError, nearest
from scoresde.score import Denoiser

__all__ = ["ADM"]

_MARKS = ("input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight", "output_blocks.0.0.in_layers.0.weight")
_LAYERS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "embed",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "shortcut",
    "norm": "attention.norm",
    "qkv": "attention.qkv",
    "proj_out": "attention.out",
    "op": "conv",
    "conv": "conv",
}
_WHOLE = {
    "time_embed.0": "condition.first",
    "time_embed.2": "condition.second",
    "label_emb": "condition.label",
    "input_blocks.0.0": "stem",
    "out.0": "head.0",
    "out.2": "head.2",
}


class _Published(NamedTuple):
    """What a state_dict cannot tell of a network: the images' size, heads, the order of qkv, and the chain."""

    size: int
    heads: int = 0
    heads_first: bool = True
    schedule: str = "linear"
    steps: int = 1000
    pace: float = 1.0


class _Shape(NamedTuple):
    """What it tells."""

    channels: int
    multipliers: tuple[float, ...]
    blocks: int
    resample: str


_ADM: dict[str, tuple[_Shape, _Published]] = {
    "adm_imagenet64": (_Shape(192, (1, 2, 3, 4), 3, "block"), _Published(64, heads_first=False, schedule="squaredcos")),
    "adm_imagenet128": (_Shape(256, (1, 1, 2, 3, 4), 2, "block"), _Published(128, heads=4)),
    "adm_imagenet256": (_Shape(256, (1, 1, 2, 2, 4, 4), 2, "block"), _Published(256)),
    "adm_imagenet512": (_Shape(256, (0.5, 1, 1, 2, 2, 4, 4), 2, "block"), _Published(512)),
    # of improved DDPM, some of which were told 1000·i/N
    "iddpm_cifar10": (_Shape(128, (1, 2, 2, 2), 3, "conv"), _Published(32, 4, True, "squaredcos", 4000, 0.25)),
    "iddpm_imagenet64": (_Shape(128, (1, 2, 3, 4), 3, "conv"), _Published(64, 4, True, "squaredcos", 4000, 0.25)),
    "iddpm_imagenet64_cond": (_Shape(192, (1, 2, 3, 4), 3, "conv"), _Published(64, 4, True, "squaredcos", 4000)),
    "iddpm_lsun256": (_Shape(128, (1, 1, 2, 2, 4, 4), 2, "conv"), _Published(256, heads=1)),
}


@dataclass(frozen=True)
class ADM(Format):
    """``256x256_diffusion.pt`` and its like: conditional or not, the average already.

    Widths, blocks, attention and classes are read off the tensors. The images' size, the heads and the chain are not
    in the file: the published networks are known by their widths; of another, the recipe says which it is like.

    Source: Dhariwal & Nichol 2021, "Diffusion models beat GANs on image synthesis", and Nichol & Dhariwal 2021,
    "Improved denoising diffusion probabilistic models", official code.
    """

    recipes = True

    def matches(self, tree: Any, path: Path) -> bool:
        """Whether it has the tensors of their `UNetModel`."""
        return isinstance(tree, Mapping) and all(mark in _names(tree) for mark in _MARKS)

    def denoiser(self, tree: Any, path: Path, recipe: str | None = None) -> Denoiser:
        """As `Format`; a recipe is one of those in ``_ADM``."""
        if not all(isinstance(tensor, Tensor) for tensor in tree.values()):
            raise InputError("it holds something else than a network's tensors")
        weights = plain_names(tree)
        shape, ups = _shape(weights)
        like = recipe or next((name for name, (known, _) in _ADM.items() if known == shape), None)
        if like is None:
            raise InputError(
                f"its network has {shape.channels} channels times {shape.multipliers} and {shape.blocks} blocks, as no "
                f"published one: say which it is like, recipe=… ({', '.join(_ADM)})"
            )
        if like not in _ADM:
            raise InputError(f"recipe = {like} is none that a state_dict of ADM can be of: {nearest(like, _ADM)}")
        known = _ADM[like][1]
        spec, image = _spec(weights, shape, known)

        def attention(qkv: Tensor) -> Tensor:
            if known.heads_first:  # rows are theirs by head, then q, k, v; ours are q, k, v, then by head
                heads = spec["heads"] or qkv.shape[0] // 3 // spec["head_channels"]
                qkv = qkv.reshape(heads, 3, -1, *qkv.shape[1:]).transpose(0, 1).flatten(0, 2)
            return _pixel(qkv)

        names: dict[str, str | Made] = {}
        for name in weights:
            own = _own(name, ups)
            if own is not None and own.rpartition(".")[0].endswith("attention.qkv"):
                names[own] = Made([name], attention)
            elif own is not None and own.endswith("attention.out.weight"):
                names[own] = Made([name], _pixel)
            elif own is not None:
                names[own] = name
        classes = weights["label_emb.weight"].shape[0] if "label_emb.weight" in weights else 0
        net = fill(spec, weights, names, shape=(image, known.size, known.size), classes=classes)
        sde, param = chain({"schedule": known.schedule}, known.steps, pace=known.pace)
        return Denoiser(net, sde, param, (-1.0, 1.0)).eval()


def _names(tree: Mapping[Any, Any]) -> set[str]:
    return {name.removeprefix("module.") for name in tree if isinstance(name, str)}


def _shape(weights: Mapping[str, Tensor]) -> tuple[_Shape, list[int]]:
    """Widths, blocks and resampling, and after which output blocks something doubles the size."""
    outputs = sorted({int(match[1]) for name in weights if (match := re.match(r"output_blocks\.(\d{1,4})\.", name))})
    inputs = {int(match[1]) for name in weights if (match := re.match(r"input_blocks\.(\d{1,4})\.", name))}
    count = len(outputs)
    if outputs != list(range(count)):
        raise InputError("its output_blocks are not numbered from 0")
    absent = [k for k in range(count) if k not in inputs]  # of layers without tensors
    convs = [k for k in sorted(inputs) if f"input_blocks.{k}.0.op.weight" in weights]
    ups = [k for k in outputs if any(f"output_blocks.{k}.{place}.in_layers.0.weight" in weights for place in (1, 2))]
    resample = "conv" if convs else "block" if ups else "plain"
    levels = 1 + len(convs or ups or absent)
    if count % levels or count // levels < 2:
        raise InputError(f"its {count} output_blocks are no multiple of {levels} resolutions")
    blocks = count // levels - 1
    widths = []
    for level in range(levels):
        name = f"input_blocks.{1 + level * (blocks + 1)}.0.out_layers.3.weight"
        if name not in weights:
            raise InputError(f"it has no tensor {name}, the first block of a resolution")
        widths.append(weights[name].shape[0])
    channels = weights["time_embed.0.weight"].shape[1]
    if not channels:
        raise InputError("its time_embed.0.weight is empty")
    multipliers = tuple(width / channels for width in widths)
    ups = [(blocks + 1) * (level + 1) - 1 for level in range(levels - 1)]
    return _Shape(channels, multipliers, blocks, resample), ups


def _spec(weights: Mapping[str, Tensor], shape: _Shape, known: _Published) -> tuple[dict[str, Any], int]:
    """The fields of `adm`, and how many channels the images have."""
    written, image = weights["out.2.weight"].shape[0], weights["input_blocks.0.0.weight"].shape[1]
    if written not in (image, 2 * image):
        raise InputError(f"it reads {image} channels and writes {written}: networks that enlarge images are not read")
    starts = [1 + level * (shape.blocks + 1) for level in range(len(shape.multipliers))]
    attends = [known.size >> i for i, k in enumerate(starts) if f"input_blocks.{k}.1.qkv.weight" in weights]
    shift, norm = (weights.get(f"input_blocks.1.0.{layer}.weight") for layer in ("emb_layers.1", "out_layers.0"))
    return {
        "name": "adm",
        "channels": shape.channels,
        "multipliers": list(shape.multipliers),
        "blocks": shape.blocks,
        "attention": attends,
        "dropout": 0.0,
        "head_channels": 64,
        "heads": known.heads,
        "scale_shift": shift is None or norm is None or shift.shape[0] == 2 * norm.shape[0],
        "resample": shape.resample,
        "group_size": 1,
        "learned_variance": written != image,
    }, image


def _own(name: str, ups: list[int]) -> str | None:
    """Our name of a tensor, None for one that has no place."""
    layer, _, parameter = name.rpartition(".")
    if layer in _WHOLE:
        return f"{_WHOLE[layer]}.{parameter}"
    match = re.fullmatch(r"(input_blocks|output_blocks)\.(\d{1,4})\.(\d)\.(.+)", layer)
    if match is not None:
        number, place, inner = int(match[2]), int(match[3]), match[4]
        attends = inner in ("norm", "qkv", "proj_out")
        own = f"encoder.{number - 1}"
        if match[1] == "output_blocks":
            # what doubles the size is an entry of its own, after that of the block
            own = f"decoder.{number + sum(up < number for up in ups) + (place > 0 and not attends)}"
        return f"{own}.{_LAYERS[inner]}.{parameter}" if inner in _LAYERS else None
    match = re.fullmatch(r"middle_block\.([012])\.(.+)", layer)
    if match is None or match[2] not in _LAYERS:
        return None
    return f"middle.{1 if match[1] == '2' else 0}.{_LAYERS[match[2]]}.{parameter}"


def _pixel(weight: Tensor) -> Tensor:
    """Their convolution over a line of pixels is ours over an image's."""
    return weight[..., None] if weight.ndim == 3 else weight
