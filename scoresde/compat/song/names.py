"""score_sde_pytorch's names of the tensors of a network, by ours."""

from collections.abc import Collection
from itertools import count

import torch
from torch import Tensor

from scoresde.compat.base import Made

__all__ = ["refinenet_names", "unet_names"]

Names = dict[str, str | Made]

_BLOCK = {"norm1": "GroupNorm_0", "conv1": "Conv_0", "embed": "Dense_0", "norm2": "GroupNorm_1", "conv2": "Conv_1"}
_PARTS = ("weight", "bias")


def unet_names(own: Collection[str], theirs: Collection[str]) -> Names:
    """Of NCSN++, DDPM++ and DDPM: one numbered list of modules, in the order in which the image meets them.

    Args:
        own: the names in our network's ``state_dict``.
        theirs: the names in the file; they tell which of two layers a block has for the same purpose.
    """
    return _UNet(own, theirs).names


def refinenet_names(own: Collection[str]) -> Names:
    """Of NCSNv2.

    Args:
        own: the names in our network's ``state_dict``.
    """
    levels = _length(own, "encoder")
    # the network for 256 pixels has a level that was put between two others without counting on
    numbers = ["1", "2", "3", "31", "4", "5"] if levels == 6 else [str(i + 1) for i in range(levels)]
    refine = ["1", "2", "31", "3", "4", "5"] if levels == 6 else numbers
    prefixes = {"stem": "begin_conv", "head": "end_conv", "norm": "normalizer"}
    prefixes |= {f"encoder.{i}": f"res{number}" for i, number in enumerate(numbers)}
    prefixes |= {f"decoder.{i}": f"refine{number}" for i, number in enumerate(refine)}
    names: Names = {}
    for name in own:
        top = next(prefix for prefix in prefixes if name.startswith(f"{prefix}."))
        rest = name.removeprefix(f"{top}.").split(".")
        names[name] = ".".join([prefixes[top], *_refined(rest, halves=_halves(top, rest, levels))])
    return names


def _halves(top: str, rest: list[str], levels: int) -> bool:
    """Whether a layer lies in a block that halves the image: the first of a level that is neither first nor dilated."""
    group, _, level = top.partition(".")
    return group == "encoder" and rest[0] == "0" and 0 < int(level) < levels - 2


def _refined(rest: list[str], *, halves: bool) -> list[str]:
    match rest:
        case [block, ("norm1" | "norm2") as norm, part]:
            return [block, norm.replace("norm", "normalize"), part]
        case [block, ("conv2" | "shortcut") as layer, part] if halves:
            return [block, layer, "conv", part]
        case ["adapt", image, unit, layer, part]:
            return ["adapt_convs", image, _unit(unit, layer), part]
        case ["out", unit, layer, part]:
            return ["output_convs", _unit(unit, layer), part]
        case ["fuse", image, part]:
            return ["msf", "convs", image, part]
        case ["pool", stage, part]:
            return ["crp", "convs", stage, part]
    return rest


def _unit(unit: str, layer: str) -> str:
    return f"{int(unit) + 1}_{1 if layer == 'first' else 2}_conv"


class _UNet:
    """Goes through our layers, and counts theirs."""

    def __init__(self, own: Collection[str], theirs: Collection[str]) -> None:
        self.own, self.theirs, self.numbers = own, theirs, count()
        self.names: Names = {}
        if "condition.features.frequencies" in own:
            self.names["condition.features.frequencies"] = f"{self.next()}.W"
        for layer in ("condition.first", "condition.second", "stem"):
            self.layer(layer, self.next())
        levels = _length(own, "encoder")
        for i in range(levels):
            self.level(f"encoder.{i}")
            if i < levels - 1:
                self.resample(f"encoder.{i}.resample")
                self.pyramid(f"encoder.{i}.pyramid")
        self.block("middle.0")
        self.block("middle.1")
        for i in range(levels):
            self.level(f"decoder.{i}")
            self.pyramid(f"decoder.{i}.pyramid")
            if i < levels - 1:
                self.resample(f"decoder.{i}.resample")
        if "head.0.weight" in own:
            self.write("head")

    def next(self) -> str:
        return f"all_modules.{next(self.numbers)}"

    def layer(self, ours: str, theirs: str) -> None:
        self.names |= {f"{ours}.{part}": f"{theirs}.{part}" for part in _PARTS}

    def level(self, ours: str) -> None:
        for j in range(_length(self.own, f"{ours}.blocks")):
            self.block(f"{ours}.blocks.{j}")

    def block(self, ours: str) -> None:
        theirs = self.next()
        for layer, name in _BLOCK.items():
            self.layer(f"{ours}.{layer}", f"{theirs}.{name}")
        if f"{ours}.shortcut.weight" in self.own:
            if f"{theirs}.NIN_0.W" in self.theirs:
                self.dense(f"{ours}.shortcut", f"{theirs}.NIN_0")
            else:
                self.layer(f"{ours}.shortcut", f"{theirs}.Conv_2")
        if f"{ours}.attention.qkv.weight" in self.own:
            theirs = self.next()
            self.layer(f"{ours}.attention.norm", f"{theirs}.GroupNorm_0")
            self.dense(f"{ours}.attention.qkv", *(f"{theirs}.NIN_{i}" for i in range(3)))
            self.dense(f"{ours}.attention.out", f"{theirs}.NIN_3")

    def dense(self, ours: str, *theirs: str) -> None:
        """Dense maps over the channels, kept as (inputs, outputs), as one 1×1 convolution."""
        self.names[f"{ours}.weight"] = Made([f"{name}.W" for name in theirs], _convolution)
        self.names[f"{ours}.bias"] = Made([f"{name}.b" for name in theirs], lambda *b: torch.cat(b))

    def resample(self, ours: str) -> None:
        if f"{ours}.norm1.weight" in self.own:
            self.block(ours)
        else:
            self.resampled(f"{ours}.layer.conv", self.next())

    def resampled(self, ours: str, theirs: str) -> None:
        """A resampling layer, which need not have a convolution; with a filter it has another name."""
        if f"{ours}.weight" in self.own:
            filtered = f"{theirs}.Conv2d_0.weight" in self.theirs
            self.layer(ours, f"{theirs}.{'Conv2d_0' if filtered else 'Conv_0'}")

    def pyramid(self, ours: str) -> None:
        if f"{ours}.read.weight" in self.own:
            self.layer(f"{ours}.read", f"{self.next()}.Conv_0")
        elif f"{ours}.resample.conv.weight" in self.own:
            self.resampled(f"{ours}.resample.conv", self.next())
        elif f"{ours}.write.0.weight" in self.own:
            self.write(f"{ours}.write")

    def write(self, ours: str) -> None:
        self.layer(f"{ours}.0", self.next())
        self.layer(f"{ours}.2", self.next())


def _length(own: Collection[str], prefix: str) -> int:
    """How many children a list of modules has."""
    return next(i for i in count() if not any(name.startswith(f"{prefix}.{i}.") for name in own))


def _convolution(*weights: Tensor) -> Tensor:
    return torch.cat([weight.t() for weight in weights])[:, :, None, None]
