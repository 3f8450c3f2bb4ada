"""EDM's pickles: networks of Karras et al. 2022, and of others in its code, with all of its preconditionings."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from scoresde.compat.base import Format, Made, fill
from scoresde.compat.persistent.network import attribute, flat, heads_first, network, parts, settings
from scoresde.errors import InputError
from scoresde.param.base import Parameterization
from scoresde.pickled import Record, weights
from scoresde.registry import build
from scoresde.score import Denoiser
from scoresde.sde.base import GaussianSDE

__all__ = ["EDM"]

_PRECONDITIONINGS = ("EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond")
_SHARED = {"img_resolution": int, "in_channels": int, "out_channels": int, "label_dim": 0, "augment_dim": 0}
_SONG = _SHARED | {
    "model_channels": 128,
    "channel_mult": [1, 2, 2, 2],
    "channel_mult_emb": 4,
    "num_blocks": 4,
    "attn_resolutions": [16],
    "dropout": 0.1,
    "label_dropout": 0.0,
    "embedding_type": "positional",
    "channel_mult_noise": 1,
    "encoder_type": "standard",
    "decoder_type": "standard",
    "resample_filter": [1, 1],
}
_DHARIWAL = _SHARED | {
    "model_channels": 192,
    "channel_mult": [1, 2, 3, 4],
    "channel_mult_emb": 4,
    "num_blocks": 3,
    "attn_resolutions": [32, 16, 8],
    "dropout": 0.1,
    "label_dropout": 0.0,
}
_MODELS: dict[str, dict[str, Any]] = {"SongUNet": _SONG, "DhariwalUNet": _DHARIWAL}
_LAYERS = {
    "norm0": "norm1",
    "conv0": "conv1",
    "affine": "embed",
    "norm1": "norm2",
    "conv1": "conv2",
    "skip": "shortcut",
    "norm2": "attention.norm",
    "qkv": "attention.qkv",
    "proj": "attention.out",
}
# sinusoidal features multiply the noise level by 250, Fourier features by 4: theirs take it as it comes
_POSITIONAL, _FOURIER = 250.0, 4.0


@dataclass(frozen=True)
class EDM(Format):
    """``network-snapshot-….pkl`` and ``training-state-….pt``: a preconditioning around a SongUNet or DhariwalUNet.

    The file itself says how its network was built. What a network makes of augmentation labels is kept as its
    ``embedding``: none are given when sampling, and none are zeros.

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models", and official code.
    """

    def matches(self, tree: Any, path: Path) -> bool:
        """Whether its network is one of EDM's preconditionings."""
        return network(tree, _PRECONDITIONINGS) is not None

    def denoiser(self, tree: Any, path: Path, recipe: str | None = None) -> Denoiser:
        """As `Format`; the recipe is not needed."""
        outer = network(tree, _PRECONDITIONINGS)
        modules = outer.state.get("_modules") if outer is not None else None
        inner = modules.get("model") if isinstance(modules, Mapping) else None
        if outer is None or not isinstance(inner, Record) or inner.class_name not in _MODELS:
            raise InputError(f"its network is none of {', '.join(_MODELS)}")
        said = settings(inner, _MODELS[inner.class_name])
        resolution, channels, written = said["img_resolution"], said["in_channels"], said["out_channels"]
        double = outer.class_name == "iDDPMPrecond"
        if written != channels * (2 if double else 1) or said["channel_mult_emb"] != 4 or not said["channel_mult"]:
            raise InputError(f"its {inner.class_name} is of another kind than any that EDM trained")

        tensors = weights(outer)
        song = inner.class_name == "SongUNet"
        fourier = song and said["embedding_type"] == "fourier"
        spec = _song(said, double) if song else _adm(said, double)
        # filters follow from the settings, and a table of noise levels from the process
        ignored = {name for name in tensors if name.endswith(".resample_filter") or name == "u"}
        names: dict[str, str | Made] = {}
        for name in tensors.keys() - ignored:
            own = (_song_name if song else _adm_name)(name.removeprefix("model."), said)
            if own is not None and name.startswith("model."):
                names[own] = Made([name], heads_first) if own.rpartition(".")[0].endswith("qkv") else name
        names |= _labels(tensors, song, said["label_dim"])
        shape = (channels, resolution, resolution)
        net = fill(spec, tensors, names, ignored, shape=shape, classes=said["label_dim"])
        sde, param = _process(outer, _FOURIER if fourier else _POSITIONAL)
        return Denoiser(net, sde, param, (-1.0, 1.0)).eval()


def _process(outer: Record, scale: float) -> tuple[GaussianSDE, Parameterization]:
    """The process that a preconditioning was trained on, and what its network says (Karras et al. 2022, table 1)."""
    kind = outer.class_name
    sde: dict[str, Any]
    param: dict[str, Any] = {"name": "published", "factor": 1 / scale}
    if kind == "EDMPrecond":
        least, most = attribute(outer, "sigma_min"), attribute(outer, "sigma_max")
        sde = {"name": "edm", "t_min": max(least, 0.002), "t_max": most if math.isfinite(most) else 80.0}
        param = {"name": "edm", "sigma_data": attribute(outer, "sigma_data"), "factor": 1 / scale}
    elif kind == "VPPrecond":
        beta = attribute(outer, "beta_min")
        sde = {"name": "vp", "beta_min": beta, "beta_max": beta + attribute(outer, "beta_d")}
        sde["t_min"] = attribute(outer, "epsilon_t")
        param |= {"target": "eps", "clock": "time", "factor": (attribute(outer, "M") - 1) / scale}
    elif kind == "VEPrecond":
        sde = {"name": "ve", "sigma_min": attribute(outer, "sigma_min"), "sigma_max": attribute(outer, "sigma_max")}
        # it reads log(σ/2)
        param |= {"target": "minus_eps", "scaled": False, "factor": 4 / scale, "offset": -math.log(2) / scale}
    else:
        if (attribute(outer, "C_1"), attribute(outer, "C_2")) != (0.001, 0.008):
            raise InputError("its iDDPMPrecond has another schedule than C_1 = 0.001, C_2 = 0.008")
        steps = attribute(outer, "M")
        if not 2 <= steps <= 1_000_000:
            raise InputError(f"its iDDPMPrecond has M = {steps:g} steps")
        sde = {"name": "ddpm", "schedule": "squaredcos", "steps": int(steps), "t_min": 1 / steps}
        # it reads the index N·t − 1, at whole numbers
        param |= {"clock": "time", "factor": steps / scale, "offset": -1 / scale, "step": 1 / scale}
    return build("sde", sde), build("param", param)


def _song(said: Mapping[str, Any], double: bool) -> dict[str, Any]:
    """SongUNet as our NCSN++ or DDPM++."""
    fourier = said["embedding_type"] == "fourier"
    if double or said["channel_mult_noise"] != (2 if fourier else 1):
        raise InputError("its SongUNet has features or outputs of another number than DDPM++ and NCSN++")
    taps, encoder = said["resample_filter"], said["encoder_type"]
    return _both(said) | {
        "name": "ncsnpp" if fourier else "ddpmpp",
        "time": said["embedding_type"],
        # the plain filter too, where convolution and filter are one
        "fir": taps != [1, 1] or encoder == "residual",
        "fir_kernel": taps,
        "progressive_input": {"standard": "none"}.get(encoder, encoder),
        "progressive_output": {"standard": "none"}.get(said["decoder_type"], said["decoder_type"]),
        "progressive_combine": "sum",
    }


def _adm(said: Mapping[str, Any], double: bool) -> dict[str, Any]:
    """DhariwalUNet as our ADM."""
    return _both(said) | {"name": "adm", "learned_variance": double}


def _both(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "channels": said["model_channels"],
        "multipliers": said["channel_mult"],
        "blocks": said["num_blocks"],
        "attention": said["attn_resolutions"],
        "dropout": said["dropout"],
        "embedding": said["augment_dim"],
    }


_MAPPING = {"map_layer0": "condition.first", "map_layer1": "condition.second", "map_augment": "condition.vector"}


def _adm_name(name: str, said: Mapping[str, Any]) -> str | None:
    """Our name of DhariwalUNet's tensor."""
    layer, _, last = name.rpartition(".")
    outer = _MAPPING | {"out_norm": "head.0", "out_conv": "head.2"}
    return f"{outer[layer]}.{last}" if layer in outer else flat(name, said, _LAYERS)


def _song_name(name: str, said: Mapping[str, Any]) -> str | None:
    """Our name of SongUNet's tensor."""
    layer, _, last = name.rpartition(".")
    if layer in _MAPPING:
        return f"{_MAPPING[layer]}.{last}"
    if name == "map_noise.freqs":
        return "condition.features.frequencies"
    levels = len(said["channel_mult"])
    found = parts(name, said["img_resolution"], levels)
    if found is None:
        return None
    way, level, kind, index, rest = found
    inner = _LAYERS.get(rest.rpartition(".")[0])
    # a resampling is the last thing in the level that it leaves
    place = {
        ("enc", "down"): f"encoder.{level - 1}.resample",
        ("enc", "block"): f"encoder.{level}.blocks.{index}",
        ("dec", "in"): f"middle.{index}",
        ("dec", "up"): f"decoder.{levels - 2 - level}.resample",
        ("dec", "block"): f"decoder.{levels - 1 - level}.blocks.{index}",
    }.get((way, kind))
    if place is not None:
        return f"{place}.{inner}.{last}" if inner else None
    write = f"decoder.{levels - 1 - level}.pyramid.write" if said["decoder_type"] == "skip" else "head"
    beside = {
        ("enc", "conv"): "stem",
        ("enc", "aux_skip"): f"encoder.{level - 1}.pyramid.read",
        ("enc", "aux_residual"): f"encoder.{level - 1}.pyramid.resample.conv",
        ("dec", "aux_norm"): f"{write}.0",
        ("dec", "aux_conv"): f"{write}.2",
    }.get((way, kind))
    return f"{beside}.{last}" if beside else None


def _labels(tensors: Mapping[str, Tensor], song: bool, classes: int) -> dict[str, str | Made]:
    """The labels' map: theirs is of one-hot vectors, SongUNet's scaled, and with a bias that every sample gets."""
    weight, bias = "model.map_label.weight", "model.map_label.bias"
    if weight not in tensors:
        return {}
    if not song:
        return {"condition.label.weight": Made([weight], lambda label: label.t())}
    names: dict[str, str | Made] = {
        "condition.label.weight": Made([weight], lambda label: label.t() * math.sqrt(classes))
    }
    if bias in tensors:
        first = ["model.map_layer0.bias", "model.map_layer0.weight", bias]
        names["condition.first.bias"] = Made(first, lambda own, matrix, label: own + matrix @ label)
    return names
