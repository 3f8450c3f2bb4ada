"""A model in one safetensors file that describes itself. Nothing in a file is executed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoresde.errors import InputError
from scoresde.registry import build, describe
from scoresde.score import Denoiser
from scoresde.store import read, write

__all__ = ["describe_model", "load", "save"]


def describe_model(model: Denoiser) -> dict[str, Any]:
    """Network, process, parameterization and data range as plain values, enough to build the model anew."""
    return {
        "model": describe(model.net),
        "sde": describe(model.sde),
        "param": describe(model.param),
        "range": None if model.range is None else list(model.range),
    }


def save(path: str | Path, model: Denoiser, about: Mapping[str, Any] | None = None) -> None:
    """Write a model.

    Args:
        path: of the ``.safetensors`` file; written whole or not at all.
        model: what to write: its network's weights and `describe_model`.
        about: more to keep beside them, as plain values: the step, the loss.
    """
    write(path, model.net.state_dict(), describe_model(model) | {"about": dict(about or {})})


def load(path: str | Path, device: torch.device | str | None = None) -> Denoiser:
    """Read a model, in eval mode.

    Args:
        path: a ``.safetensors`` file that `save` wrote.
        device: where to put it, the CPU by default.

    Raises:
        InputError: for a file that is missing, truncated, written by something else, or whose weights are not those of
            the network that it describes.
    """
    tensors, card = read(path)
    try:
        sde, param = build("sde", card["sde"]), build("param", card["param"])
        bounds = card["range"] and (float(card["range"][0]), float(card["range"][1]))
        # first without memory, and with no more tensors than the file holds: a description is not to be trusted
        with torch.device("meta"), _at_most(tensors, card["model"]):
            expected = build("model", card["model"]).state_dict()
        _same(tensors, expected)
        net = build("model", card["model"])
        net.load_state_dict(tensors)
        return Denoiser(net, sde, param, bounds).to(device or "cpu").eval()
    except InputError as error:
        raise InputError(f"{path} cannot be loaded: {error}") from None
    except (KeyError, TypeError, IndexError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{path} does not describe a model: {error!r}") from None


@contextmanager
def _at_most(tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> Iterator[None]:
    """Refuse to build a network of larger numbers, or of more parameters, than a file's tensors account for."""
    most = sum(tensor.numel() for tensor in tensors.values())
    for field, value in card.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > most:
                raise InputError(f"{field} = {number} is more than its weights can be of")
    made = 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made > len(tensors):
            raise InputError(f"it describes a network of more than its {len(tensors)} tensors")

    hook = torch.nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _same(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not those of the described network."""
    odd = sorted(tensors.keys() ^ expected.keys())
    if odd:
        raise InputError(f"it does not hold the weights of the network that it describes: {odd[0]} is one-sided")
    for name, tensor in expected.items():
        if tensor.shape != tensors[name].shape:
            shapes = tuple(tensors[name].shape), tuple(tensor.shape)
            raise InputError(f"{name} has shape {shapes[0]}, but its network's has {shapes[1]}")
