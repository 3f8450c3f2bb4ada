"""Folders of diffusers: UNet2DModel with DDPM's blocks or NCSN++'s, and DiT, with the scheduler beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoresde.compat.base import Format, inside, read_json, read_recipe
from scoresde.compat.configured.config import tensors
from scoresde.compat.configured.scheduler import process
from scoresde.compat.configured.transformer import transformer
from scoresde.compat.configured.unet import unet
from scoresde.errors import InputError, nearest
from scoresde.registry import describe
from scoresde.score import Denoiser

__all__ = ["Diffusers"]

_NETWORKS = {"UNet2DModel": unet, "DiTTransformer2DModel": transformer, "Transformer2DModel": transformer}
_PLACES = ("unet", "transformer", ".")
_SCHEDULERS = ("scheduler/scheduler_config.json", "scheduler_config.json")
_KEYS = {"conv_in.weight", "time_embedding.linear_1.weight"}, {"pos_embed.proj.weight", "proj_out_1.weight"}


@dataclass(frozen=True)
class Diffusers(Format):
    """A pipeline's folder, as ``save_pretrained`` writes it: a network's config.json and weights, and its scheduler.

    Configurations are read as plain values of known names; which classes they name chooses among ours.

    Source: diffusers 0.42; Ho et al. 2020; Song et al. 2021; Peebles & Xie 2023.
    """

    recipes = True

    def matches(self, tree: Any, path: Path) -> bool:
        """Whether it is a folder with a config.json of a network, or the file of weights out of one."""
        if tree is None:
            return path.is_dir() and any((path / place / "config.json").is_file() for place in _PLACES)
        return isinstance(tree, Mapping) and any(keys <= tree.keys() for keys in _KEYS)

    def denoiser(self, tree: Any, path: Path, recipe: str | None = None) -> Denoiser:
        """As `Format`; the recipe gives the process and the parameterization of a folder without a scheduler."""
        if tree is not None:
            raise InputError(
                "diffusers keeps the configuration beside the weights: give the folder, not the file in it"
            )
        place = next(place for place in _PLACES if (path / place / "config.json").is_file())
        config = read_json(inside(path, f"{place}/config.json" if place != "." else "config.json"))
        kind = config.get("_class_name")
        if not isinstance(kind, str) or kind not in _NETWORKS:
            raise InputError(f"its network is {kind!r:.80}, which is not read: {nearest(str(kind), _NETWORKS)}")
        scheduler = next((name for name in _SCHEDULERS if (path / name).is_file()), None)
        if scheduler is None and recipe is None:
            raise InputError(
                f"it has no {_SCHEDULERS[0]}, which tells the process: give the pipeline's folder, or recipe=…"
            )
        net = _NETWORKS[kind](config, tensors(path, place))
        if scheduler is None:
            assert recipe is not None
            known = read_recipe(recipe)
            return Denoiser(net, known.sde, known.param, known.range).eval()
        if recipe is not None:
            raise InputError(f"recipe = {recipe}, but its scheduler tells the process: leave the recipe out")
        sde, param, bounds = process(read_json(inside(path, scheduler)), describe(net)["name"])
        return Denoiser(net, sde, param, bounds).eval()
