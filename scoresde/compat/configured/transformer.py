"""diffusers' DiTTransformer2DModel, as `dit`."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scoresde.compat.base import Made, fill
from scoresde.compat.configured.config import configured
from scoresde.errors import InputError
from scoresde.model.base import Network

__all__ = ["transformer"]

_KNOWN: dict[str, Any] = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 0,
    "num_layers": 28,
    "dropout": 0.0,
    "norm_num_groups": 32,
    "attention_bias": True,
    "sample_size": 32,
    "patch_size": 2,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
    "upcast_attention": False,
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-5,
}
# what the general transformer of older releases says too, and the only value of it that a DiT has
_ONLY: dict[str, Any] = {
    "cross_attention_dim": None,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "double_self_attention": False,
    "use_linear_projection": False,
    "attention_type": "default",
    "caption_channels": None,
    "interpolation_scale": None,
    "use_additional_conditions": None,
}
_EMBEDDINGS = "norm1.emb."
_LAYERS = {
    "norm1.linear": "modulation",
    "attn1.to_out.0": "out",
    "ff.net.0.proj": "first",
    "ff.net.2": "second",
}
_WHOLE = {
    "pos_embed.proj": "stem",
    "proj_out_1": "modulation",
    "proj_out_2": "head",
    "norm1.emb.timestep_embedder.linear_1": "condition.first",
    "norm1.emb.timestep_embedder.linear_2": "condition.second",
    "norm1.emb.class_embedder.embedding_table": "condition.label",
}


def transformer(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Network:
    """Our network of a configuration and its weights.

    Raises:
        InputError: for settings that are unknown or that no DiT has, and weights that do not fit.
    """
    said = configured(config, _KNOWN | _ONLY, "DiTTransformer2DModel")
    for name, value in _ONLY.items():
        if said[name] != value:
            raise InputError(f"its transformer has {name} = {said[name]!r:.80}, which no DiT has")
    only = {"activation_fn": "gelu-approximate", "norm_type": "ada_norm_zero", "attention_bias": True}
    for name, value in (only | {"norm_elementwise_affine": False}).items():
        if said[name] != value:
            raise InputError(f"its transformer has {name} = {said[name]!r}, but only {value} is read")
    image, size, classes = said["in_channels"], said["sample_size"], said["num_embeds_ada_norm"]
    if said["out_channels"] not in (None, 0, image, 2 * image) or not isinstance(classes, int) or classes < 1:
        raise InputError("its transformer writes neither an output nor an output and a variance, or has no classes")
    spec = {
        "name": "dit",
        "patch": said["patch_size"],
        "width": said["num_attention_heads"] * said["attention_head_dim"],
        "depth": said["num_layers"],
        "heads": said["num_attention_heads"],
        "mlp_eps": said["norm_eps"],
        # as diffusers computes them, also for weights of the paper, which were trained with 0
        "frequency_shift": 1,
        "learned_variance": said["out_channels"] == 2 * image,
    }
    names: dict[str, str | Made] = {}
    for name in weights:
        layer, _, parameter = name.rpartition(".")
        if layer in _WHOLE:
            names[f"{_WHOLE[layer]}.{parameter}"] = name
        elif layer.startswith("transformer_blocks."):
            number, _, inner = layer.removeprefix("transformer_blocks.").partition(".")
            if inner.startswith(_EMBEDDINGS) and inner in _WHOLE:
                _same(weights, name, number)
                if number == "0":
                    copies = [other for other in weights if other.endswith(f".{inner}.{parameter}")]
                    names[f"{_WHOLE[inner]}.{parameter}"] = Made(copies, lambda first, *_: first)
            elif inner == "attn1.to_q":
                parts = [name.replace(".to_q.", f".to_{part}.") for part in "qkv"]
                names[f"blocks.{number}.qkv.{parameter}"] = Made(parts, lambda *parts: torch.cat(parts))
            elif inner in _LAYERS:
                names[f"blocks.{number}.{_LAYERS[inner]}.{parameter}"] = name
    return fill(spec, weights, names, shape=(image, size, size), classes=classes)


def _same(weights: Mapping[str, Tensor], name: str, number: str) -> None:
    """Refuse blocks that embed the conditions each in its own way: the paper's share one embedding."""
    first = weights.get(name.replace(f"transformer_blocks.{number}.", "transformer_blocks.0.", 1))
    if first is not None and not torch.equal(first, weights[name]):
        raise InputError(f"its blocks do not share one embedding of time and class: {name} is not that of block 0")
