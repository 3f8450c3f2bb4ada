"""DiT's files: a network's state_dict, or a training run's with its average."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoresde.compat.base import Format, fill, plain_names
from scoresde.compat.configured.scheduler import chain
from scoresde.errors import InputError
from scoresde.score import Denoiser

__all__ = ["DiT"]

_MARKS = {"x_embedder.proj.weight", "t_embedder.mlp.0.weight", "pos_embed", "final_layer.linear.weight"}
_WHOLE = {
    "x_embedder.proj": "stem",
    "t_embedder.mlp.0": "condition.first",
    "t_embedder.mlp.2": "condition.second",
    "y_embedder.embedding_table": "condition.label",
    "final_layer.adaLN_modulation.1": "modulation",
    "final_layer.linear": "head",
}
_LAYERS = {
    "attn.qkv": "qkv",
    "attn.proj": "out",
    "mlp.fc1": "first",
    "mlp.fc2": "second",
    "adaLN_modulation.1": "modulation",
}
_HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}


@dataclass(frozen=True)
class DiT(Format):
    """``DiT-XL-2-256x256.pt`` and its like, of latent codes; of a training run's file the average is read.

    Source: Peebles & Xie 2023, "Scalable diffusion models with transformers", and official code.
    """

    def matches(self, tree: Any, path: Path) -> bool:
        """Whether it has the tensors of their `DiT`, at the top or as the average of a run."""
        return _weights(tree).keys() >= _MARKS

    def denoiser(self, tree: Any, path: Path, recipe: str | None = None) -> Denoiser:
        """As `Format`; the recipe is not needed."""
        weights = _weights(tree)
        if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
            raise InputError("it holds something else than a network's tensors")
        stem, table = weights["x_embedder.proj.weight"], weights.get("y_embedder.embedding_table.weight")
        positions, last = weights["pos_embed"], weights["final_layer.linear.weight"]
        if stem.ndim != 4 or positions.ndim != 3 or table is None or table.ndim != 2:
            raise InputError("its x_embedder, y_embedder or pos_embed is of another shape than any DiT's")
        width, image, patch = stem.shape[0], stem.shape[1], stem.shape[2]
        if width not in _HEADS:
            raise InputError(f"its width is {width}, which is none of {', '.join(map(str, _HEADS))}: S, B, L, XL")
        if not image * patch or last.shape[0] not in (patch**2 * image, 2 * patch**2 * image):
            raise InputError(f"it writes {last.shape[0]} numbers a patch, neither an output nor that and a variance")
        hidden = weights.get("blocks.0.mlp.fc1.weight", stem).shape[0]
        numbers = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
        spec = {
            "name": "dit",
            "patch": patch,
            "width": width,
            "depth": len(numbers),
            "heads": _HEADS[width],
            "mlp_ratio": hidden / width,
            "learned_variance": last.shape[0] != patch**2 * image,
        }
        names = {own: name for name in weights if (own := _own(name)) is not None}
        size = patch * math.isqrt(positions.shape[1])
        net = fill(spec, weights, names, ["pos_embed"], shape=(image, size, size), classes=max(0, table.shape[0] - 1))
        fixed = dict(net.named_buffers())["positions"]
        if positions.shape[1:] != fixed.shape or not torch.allclose(positions[0].float(), fixed, atol=1e-3):
            raise InputError("its pos_embed is not the sines and cosines that DiT has")
        sde, param = chain({"schedule": "linear"}, 1000)
        return Denoiser(net, sde, param).eval()


def _weights(tree: Any) -> dict[str, Any]:
    """The average of a training run, or the tree itself."""
    if isinstance(tree, Mapping) and {"ema", "model"} <= tree.keys():
        tree = tree["ema"]
    if not isinstance(tree, Mapping) or not all(isinstance(name, str) for name in tree):
        return {}
    return plain_names(tree)


def _own(name: str) -> str | None:
    layer, _, parameter = name.rpartition(".")
    if layer in _WHOLE:
        return f"{_WHOLE[layer]}.{parameter}"
    if not layer.startswith("blocks."):
        return None
    number, _, inner = layer.removeprefix("blocks.").partition(".")
    return f"blocks.{number}.{_LAYERS[inner]}.{parameter}" if inner in _LAYERS else None
