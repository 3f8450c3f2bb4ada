"""What the tensors of a score_sde_pytorch file tell of its network."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from scoresde.errors import InputError

__all__ = ["infer", "levels_with_attention"]

_NO = "give recipe=, the experiment it was trained by"


def infer(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The network's name and fields, as `scoresde.registry.build` takes them.

    What leaves no trace in the tensors is as in every published file: residual sums are divided by √2 in BigGAN's
    blocks and not in DDPM's; there is a FIR filter where there is a pyramid.

    Raises:
        InputError: for tensors that are not of one of its networks.
    """
    if "begin_conv.weight" in weights:
        return _refinenet(weights)
    modules = _modules(weights)
    fourier = "W" in modules[0]
    stem = modules[3 if fourier else 2].get("weight")
    if stem is None or stem.ndim != 4:
        raise InputError(f"its modules do not begin as score_sde's networks do: {_NO}")
    channels, image = stem.shape[:2]
    rest = modules[4 if fourier else 3 :]
    kinds = [_kind(module) for module in rest]

    levels, blocks = _counts(kinds)
    widths = [module["Conv_0.weight"].shape[0] for kind, module in zip(kinds, rest, strict=True) if kind == "block"]
    multipliers = [width // channels for width in widths[: levels * blocks : blocks]]

    spec: dict[str, Any] = {"channels": channels, "multipliers": multipliers, "blocks": blocks}
    ends = [rest[i + 1]["weight"].shape[0] for i, kind in enumerate(kinds[:-1]) if kind == "norm"]
    if "resample" not in kinds and levels > 1:
        return {"name": "ddpm", "decoder_attention": "last"} | spec
    if "read" in kinds:
        doubled = rest[kinds.index("read") + 1]["Conv_0.weight"].shape[1] > widths[blocks - 1]
        spec |= {"progressive_input": "skip", "progressive_combine": "cat" if doubled else "sum"}
    elif "conv" in _encoder(kinds):
        spec["progressive_input"] = "residual"
    if len(ends) == levels > 1 and ends[0] == image:
        spec["progressive_output"] = "skip"
    elif len(ends) == 2:
        spec["progressive_output"] = "residual"
    plain = not fourier and "progressive_input" not in spec and "progressive_output" not in spec
    if plain:
        return {"name": "ddpmpp"} | spec
    # a filter names the convolutions of a residual pyramid, where there is one
    fir = "conv" not in kinds or any("Conv2d_0.weight" in module for module in rest)
    none = {"progressive_input": "none", "fir": fir, "time": "fourier" if fourier else "positional"}
    return {"name": "ncsnpp"} | none | spec


def levels_with_attention(weights: Mapping[str, Tensor]) -> list[int]:
    """Which levels have attention on the way down, finest first: images halve from one to the next."""
    modules = _modules(weights)
    kinds = _encoder([_kind(module) for module in modules[4 if "W" in modules[0] else 3 :]])
    resample = "resample" if "resample" in kinds else "conv"
    return sorted({kinds[:i].count(resample) for i, kind in enumerate(kinds) if kind == "attention"})


def _counts(kinds: Sequence[str]) -> tuple[int, int]:
    """How many levels there are, and blocks in each: n down, two in the middle, and n + 1 up."""
    levels = (kinds.count("resample") or kinds.count("conv")) // 2 + 1
    blocks, left = divmod(kinds.count("block") - 2 - levels, 2 * levels)
    if blocks < 1 or left:
        raise InputError(f"its modules are not as many as in one of score_sde's networks: {_NO}")
    return levels, blocks


def _encoder(kinds: Sequence[str]) -> list[str]:
    """The way down."""
    levels, blocks = _counts(kinds)
    middle = [i for i, kind in enumerate(kinds) if kind == "block"][levels * blocks]
    return list(kinds[:middle])


def _modules(weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The numbered list, each module as its tensors."""
    modules: dict[int, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        match name.split(".", 2):
            case ["all_modules", number, rest] if number.isdecimal():
                modules.setdefault(int(number), {})[rest] = tensor
    if sorted(modules) != list(range(len(modules))) or len(modules) < 8:
        raise InputError(f"its modules are not numbered from 0 without a gap, as score_sde's are: {_NO}")
    return [modules[i] for i in range(len(modules))]


def _kind(module: Mapping[str, Tensor]) -> str:
    if "Dense_0.weight" in module and "Conv_0.weight" in module:
        outputs, inputs = module["Conv_0.weight"].shape[:2]
        return "resample" if inputs == outputs and "Conv_2.weight" in module else "block"
    if "NIN_3.W" in module:
        return "attention"
    if "Conv2d_0.weight" in module:
        return "conv"
    if "Conv_0.weight" in module:
        return "read" if module["Conv_0.weight"].shape[-1] == 1 else "conv"
    if "weight" in module:
        return "norm" if module["weight"].ndim == 1 else "write"
    raise InputError(f"it has a module of {', '.join(sorted(module)[:3])}, which no network of score_sde has: {_NO}")


def _refinenet(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    channels = weights["begin_conv.weight"].shape[0]
    levels = ["1", "2", "3", "31", "4", "5"]
    found = [weights[f"res{i}.1.conv2.weight"].shape[0] for i in levels if f"res{i}.1.conv2.weight" in weights]
    return {"name": "ncsnv2", "channels": channels, "multipliers": [width // channels for width in found]}
