"""Files as NVIDIA's persistence code pickles them, written from the layout alone, with weights of a formula."""

import math
import pickle
import sys
import types
import zlib

import torch
from torch import nn


def weight(name, shape):
    """What a tensor holds: of the magnitude of a trained one, and not zero anywhere that matters."""
    wave = torch.sin(0.7 * torch.arange(math.prod(shape), dtype=torch.float64) + zlib.crc32(name.encode()) % 1000)
    if len(shape) == 0:
        return torch.tensor(0.8)
    if len(shape) > 1:
        wave = wave * math.sqrt(1 / math.prod(shape[1:]))
    else:
        wave = 0.2 * wave + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return wave.reshape(shape).float()


def values(layout):
    return {name: weight(name, shape) for name, shape in layout.items()}


def layer(name, *shape):
    """A layer with a bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def block(name, inputs, outputs, emb, *, adaptive, attention=False, taps=None, project=False):
    """EDM's ``UNetBlock``; ``taps`` where it resamples, ``project`` where its shortcut then has a convolution."""
    found = layer(f"{name}.norm0", inputs) | layer(f"{name}.conv0", outputs, inputs, 3, 3)
    if taps:
        found[f"{name}.conv0.resample_filter"] = (1, 1, taps, taps)
    found |= layer(f"{name}.affine", outputs * (2 if adaptive else 1), emb)
    found |= layer(f"{name}.norm1", outputs) | layer(f"{name}.conv1", outputs, outputs, 3, 3)
    if inputs != outputs or (taps and project):
        found |= layer(f"{name}.skip", outputs, inputs, 1, 1)
    if taps:
        found[f"{name}.skip.resample_filter"] = (1, 1, taps, taps)
    if attention:
        found |= layer(f"{name}.norm2", outputs) | layer(f"{name}.qkv", 3 * outputs, outputs, 1, 1)
        found |= layer(f"{name}.proj", outputs, outputs, 1, 1)
    return found


def mapping(features, emb, label, augment, *, song):
    found = {}
    if label and song:
        found |= layer("map_label", features, label)
    elif label:
        found["map_label.weight"] = (emb, label)
    if augment:
        found["map_augment.weight"] = (features, augment)
    return found | layer("map_layer0", emb, features) | layer("map_layer1", emb, emb)


def song(size, image, *, width=8, label=0, augment=0, fourier=False, taps=2, encoder="standard", decoder="standard"):
    """EDM's ``SongUNet`` of two resolutions, widths (width, 2·width), a block in each, attention in the second."""
    emb, features = 4 * width, (2 if fourier else 1) * width
    found = {"map_noise.freqs": (features // 2,)} if fourier else {}
    found |= mapping(features, emb, label, augment, song=True)
    own = {"emb": emb, "adaptive": False}
    fine, coarse = f"{size}x{size}", f"{size // 2}x{size // 2}"
    found |= layer(f"enc.{fine}_conv", width, image, 3, 3) | block(f"enc.{fine}_block0", width, width, **own)
    found |= block(f"enc.{coarse}_down", width, width, **own, taps=taps, project=True)
    if encoder == "residual":
        found |= layer(f"enc.{coarse}_aux_residual", width, image, 3, 3)
        found[f"enc.{coarse}_aux_residual.resample_filter"] = (1, 1, taps, taps)
    if encoder == "skip":
        found[f"enc.{coarse}_aux_down.resample_filter"] = (1, 1, taps, taps)
        found |= layer(f"enc.{coarse}_aux_skip", width, image, 1, 1)
    wide = 2 * width
    found |= block(f"enc.{coarse}_block0", width, wide, **own, attention=True)
    found |= block(f"dec.{coarse}_in0", wide, wide, **own, attention=True) | block(
        f"dec.{coarse}_in1", wide, wide, **own
    )
    found |= block(f"dec.{coarse}_block0", 2 * wide, wide, **own)
    found |= block(f"dec.{coarse}_block1", wide + width, wide, **own, attention=True)
    if decoder == "skip":
        found |= layer(f"dec.{coarse}_aux_norm", wide) | layer(f"dec.{coarse}_aux_conv", image, wide, 3, 3)
    found |= block(f"dec.{fine}_up", wide, wide, **own, taps=taps, project=True)
    found |= block(f"dec.{fine}_block0", wide + width, width, **own) | block(
        f"dec.{fine}_block1", 2 * width, width, **own
    )
    if decoder == "skip":
        found[f"dec.{fine}_aux_up.resample_filter"] = (1, 1, taps, taps)
    return found | layer(f"dec.{fine}_aux_norm", width) | layer(f"dec.{fine}_aux_conv", image, width, 3, 3)


def dhariwal(size, image, *, width=64, label=0, augment=0, written=None):
    """EDM's ``DhariwalUNet`` of two resolutions of equal width, a block in each, attention in the second."""
    emb = 4 * width
    found = mapping(width, emb, label, augment, song=False)
    own = {"emb": emb, "adaptive": True}
    fine, coarse = f"{size}x{size}", f"{size // 2}x{size // 2}"
    found |= layer(f"enc.{fine}_conv", width, image, 3, 3) | block(f"enc.{fine}_block0", width, width, **own)
    found |= block(f"enc.{coarse}_down", width, width, **own, taps=2)
    found |= block(f"enc.{coarse}_block0", width, width, **own, attention=True)
    found |= block(f"dec.{coarse}_in0", width, width, **own, attention=True)
    found |= block(f"dec.{coarse}_in1", width, width, **own)
    for i in range(2):
        found |= block(f"dec.{coarse}_block{i}", 2 * width, width, **own, attention=True)
    found |= block(f"dec.{fine}_up", width, width, **own, taps=2)
    for i in range(2):
        found |= block(f"dec.{fine}_block{i}", 2 * width, width, **own)
    return found | layer("out_norm", width) | layer("out_conv", written or image, width, 3, 3)


def magnitude(size, image, *, width=64, label=0):
    """EDM2's ``Precond`` around its ``UNet`` of two resolutions of equal width, attention in the second."""
    found = {"unet.out_gain": (), "unet.emb_fourier.freqs": (width,), "unet.emb_fourier.phases": (width,)}
    found["unet.emb_noise.weight"] = (width, width)
    if label:
        found["unet.emb_label.weight"] = (width, label)
    fine, coarse = f"{size}x{size}", f"{size // 2}x{size // 2}"

    def one(name, inputs, way, attention=False):
        name = f"unet.{name}"
        inner = {f"{name}.emb_gain": (), f"{name}.emb_linear.weight": (width, width)}
        inner[f"{name}.conv_res0.weight"] = (width, width if way == "enc" else inputs, 3, 3)
        inner[f"{name}.conv_res1.weight"] = (width, width, 3, 3)
        if inputs != width:
            inner[f"{name}.conv_skip.weight"] = (width, inputs, 1, 1)
        if attention:
            inner |= {
                f"{name}.attn_qkv.weight": (3 * width, width, 1, 1),
                f"{name}.attn_proj.weight": (width, width, 1, 1),
            }
        return inner

    found[f"unet.enc.{fine}_conv.weight"] = (width, image + 1, 3, 3)
    found |= one(f"enc.{fine}_block0", width, "enc") | one(f"enc.{coarse}_down", width, "enc")
    found |= one(f"enc.{coarse}_block0", width, "enc", True) | one(f"dec.{coarse}_in0", width, "dec", True)
    found |= one(f"dec.{coarse}_in1", width, "dec")
    for i in range(2):
        found |= one(f"dec.{coarse}_block{i}", 2 * width, "dec", True)
    found |= one(f"dec.{fine}_up", width, "dec")
    for i in range(2):
        found |= one(f"dec.{fine}_block{i}", 2 * width, "dec")
    found["unet.out_conv.weight"] = (image, width, 3, 3)
    return found | {"logvar_fourier.freqs": (16,), "logvar_fourier.phases": (16,), "logvar_linear.weight": (1, 16)}


class Persistent(nn.Module):
    """A module that is pickled as a persistent object, under another class's name."""

    def __init__(self, kind="Conv2d", args=(), kwargs=None, **attributes):
        super().__init__()
        self.__dict__ |= {"kind": kind, "_init_args": tuple(args), "_init_kwargs": dict(kwargs or {}), **attributes}

    def __reduce__(self):
        state = dict(self.__dict__)
        kind = state.pop("kind")
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": kind, "state": state}
        return _reconstruct_persistent_obj, (meta,), None, None, None


def _reconstruct_persistent_obj(meta):
    raise AssertionError("a file was executed")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


def tree(outer, inner, name, tensors, buffers=("freqs", "phases", "resample_filter", "u")):
    """Modules of flat tensors: ``outer`` holds ``inner`` under ``name``, all else by the dots in its name."""
    outer.add_module(name, inner)
    for path, tensor in tensors.items():
        *folders, last = path.split(".")
        place = outer
        for folder in folders:
            if folder not in place._modules:
                place.add_module(folder, nn.ModuleDict() if folder in ("enc", "dec") else Persistent())
            place = place._modules[folder]
        if last in buffers:
            place.register_buffer(last, tensor)
        else:
            place.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    return outer.eval()


def write(path, content):
    """Pickle, or for .pt as torch saves, while the modules exist that a pickle names."""
    names = ("torch_utils", "torch_utils.persistence")
    before = {name: sys.modules.get(name) for name in names}
    try:
        for name in names:
            sys.modules[name] = types.ModuleType(name)
        sys.modules[names[1]]._reconstruct_persistent_obj = _reconstruct_persistent_obj
        if path.suffix == ".pt":
            torch.save(content, path)
        else:
            path.write_bytes(pickle.dumps(content))
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return path
