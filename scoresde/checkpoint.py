"""A model in one safetensors file that describes itself, or in another project's. Nothing in a file is executed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoresde import pickled
from scoresde.assemble import assemble
from scoresde.compat.base import Format
from scoresde.errors import InputError, printable
from scoresde.files import regular
from scoresde.registry import build, describe, names
from scoresde.score import Denoiser
from scoresde.store import read_any, write

__all__ = ["describe_model", "load", "save"]


def describe_model(model: Denoiser) -> dict[str, Any]:
    """Network, process, parameterization and data range as plain values, enough to build the model anew.

    Raises:
        InputError: for a wrapper of a model.
    """
    if not isinstance(model, Denoiser):
        raise InputError(f"a {type(model).__name__} is no Denoiser: save the model itself, before .on(…) and the like")
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

    Raises:
        InputError: for a wrapper of a model.
    """
    card = describe_model(model) | {"about": dict(about or {})}
    write(path, model.net.state_dict(), card)


def load(path: str | Path, device: torch.device | str | None = None, recipe: str | None = None) -> Denoiser:
    """Read a model, in eval mode: one that `save` wrote, or a published one of another project.

    Args:
        path: a ``.safetensors`` file that `save` wrote, or a checkpoint of a format in ``scoresde/compat``: a file of
            PyTorch, a pickle, a folder.
        device: where to put it, the CPU by default.
        recipe: the ``experiment/`` recipe by which a foreign checkpoint was trained, or the name of a published
            network, where it cannot tell. What is assumed without one is an `Assumed` warning.

    Raises:
        InputError: for a file that is missing, truncated, of no known format, or whose weights are not those of the
            network that it describes.
    """
    path = Path(path)
    called = printable(str(path))
    tree, card = _open(path)
    if card is not None and recipe is not None:
        raise InputError(f"recipe = {recipe}, but {called} describes itself: leave the recipe out")
    try:
        model = _foreign(tree, path, recipe) if card is None else _own(tree, card)
        return model.to(device or "cpu").eval()
    except InputError as error:
        raise InputError(f"{called} cannot be loaded: {printable(str(error))}") from None
    except OSError as error:
        raise InputError(f"{called} cannot be read: {error.strerror or error}") from None
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{called} does not describe a model: {printable(repr(error))}") from None


def _open(path: Path) -> tuple[Any, dict[str, Any] | None]:
    """What a path holds: a tree of values, None for a folder, and our card, None for what is foreign."""
    if os.path.isdir(path):  # Path's raises for a name that the system does not take
        return None, None
    if path.suffix == ".safetensors" or not regular(path):
        return read_any(path)
    return pickled.read(path), None


def _own(tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> Denoiser:
    sde, param = build("sde", card["sde"]), build("param", card["param"])
    bounds = card["range"] and (float(card["range"][0]), float(card["range"][1]))
    return Denoiser(assemble(card["model"], tensors), sde, param, bounds)


def _foreign(tree: Any, path: Path, recipe: str | None) -> Denoiser:
    for name in names("compat"):
        family: Format = build("compat", name)
        if family.matches(tree, path):
            if recipe is not None and not family.recipes:
                raise InputError(f"recipe = {recipe}, but its format, {name}, tells all itself: leave the recipe out")
            return family.denoiser(tree, path, recipe)
    known = ", ".join(names("compat"))
    keys = [*map(str, list(tree)[:4]), *(["…"] if len(tree) > 4 else [])] if isinstance(tree, dict) else None
    holds = f"it holds {', '.join(keys) or 'nothing'}" if keys is not None else "what it holds is no dict"
    said = "it is a folder of other files" if tree is None else holds
    raise InputError(f"it was not written by scoresde, and is of no format that is read ({known}): {said}")
