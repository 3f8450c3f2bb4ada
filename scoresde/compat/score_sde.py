"""score_sde_pytorch's ``.pth``: NCSN++, DDPM++, DDPM and NCSNv2 on VE, VP and sub-VP, continuous and discrete."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scoresde.compat.base import Format, Recipe, by_name, fill, plain_names, read_recipe
from scoresde.compat.song.infer import infer, levels_with_attention
from scoresde.compat.song.names import refinenet_names, unet_names
from scoresde.errors import Assumed, InputError
from scoresde.model.base import Network
from scoresde.registry import build
from scoresde.score import Denoiser
from scoresde.sde.ve import VE

__all__ = ["ScoreSDE"]

_ATTENTION = 16  # the height that every published U-Net has attention at
_FIRST = ("all_modules.0.", "begin_conv.")


@dataclass(frozen=True)
class ScoreSDE(Format):
    """``checkpoint_N.pth`` of score_sde_pytorch: {model, ema, optimizer, step}; the averaged weights are taken.

    With a recipe, network, process and parameterization are the experiment's. Without one they are told from the
    tensors, and where they leave no trace they are as in the published files:

    - Fourier features: VE, continuous, with the σ's of the file's table; NCSNv2, and sinusoidal features averaged at
      the rate 0.999 as all of VE's were: VE at the table's noise levels.
    - DDPM++, and sinusoidal features averaged at the rate 0.9999: VP, continuous, β from 0.1 to 20. Sub-VP and
      discrete times have the same tensors: name the recipe. Others are refused without one.
    - the image's size is where attention at 16 pixels puts it; NCSNv2's is 32, or 64 from a σ above 50 on.

    VE's networks take data in [0, 1], the others in [-1, 1].

    Source: Song et al. 2021, official code in PyTorch, and its `get_score_fn`.
    """

    recipes = True

    def matches(self, tree: Any, path: Path) -> bool:
        """Whether it holds a model of numbered modules, or NCSNv2."""
        model = tree.get("model") if isinstance(tree, Mapping) else None
        if not isinstance(model, Mapping) or not all(isinstance(name, str) for name in model):
            return False
        names = plain_names({name: value for name, value in model.items() if isinstance(value, Tensor)})
        return "sigmas" in names and any(name.startswith(_FIRST) for name in names)

    def denoiser(self, tree: Any, path: Path, recipe: str | None = None) -> Denoiser:
        """As `Format`."""
        weights = plain_names({name: value for name, value in tree["model"].items() if isinstance(value, Tensor)})
        average, rate = _average(tree)
        known = _guess(weights, rate) if recipe is None else _told(recipe, weights)
        shape = known.shape or _shape(weights, known.model)
        with torch.device("meta"):
            own = build("model", known.model, shape=shape, classes=0).state_dict()
        names = refinenet_names(own) if known.model["name"] == "ncsnv2" else unet_names(own, weights)

        def filled(tensors: Mapping[str, Tensor]) -> Network:
            return fill(known.model, tensors, names, ["sigmas"], shape=shape, classes=0)

        if average is not None:
            # it is of what is trained: neither the table of σ's nor the Fourier features' frequencies
            trained = [name for name in weights if name not in ("sigmas", "all_modules.0.W")]
            try:
                weights |= by_name(trained, average, weights)
            except InputError:
                filled(weights)  # names the tensor of the model that is at fault, if one is
                raise
        return Denoiser(filled(weights), known.sde, known.param, known.range).eval()


def _average(tree: Any) -> tuple[list[Tensor] | None, float | None]:
    """The averaged weights and their rate; None where there are none."""
    average = tree.get("ema")
    if average is None:
        warnings.warn("it holds no average (EMA): these are the weights of its last step", Assumed, stacklevel=2)
        return None, None
    if not isinstance(average, Mapping) or not isinstance(average.get("shadow_params"), list):
        raise InputError("its average (EMA) has no list shadow_params")
    tensors = average["shadow_params"]
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise InputError("its average (EMA) holds something else than tensors")
    rate = average.get("decay")
    if isinstance(rate, Tensor) and rate.numel() == 1:
        rate = rate.item()
    return tensors, rate if isinstance(rate, float) else None


def _told(recipe: str, weights: Mapping[str, Tensor]) -> Recipe:
    """What a recipe says, where the file's noise levels do not say otherwise."""
    known = read_recipe(recipe)
    if known.shape is None:
        raise InputError(f"recipe = {recipe}, but score_sde trained no such model: name one of its configurations")
    table, sde = weights["sigmas"].double().flatten(), known.sde
    if isinstance(sde, VE):
        ends = table.new_tensor([sde.sigma_max, sde.sigma_min])
        levels = round(1 + 250 * sde.log_ratio * abs(known.param.factor) / 4) if known.param.step else len(table)
        if len(table) != levels or not torch.allclose(table[[0, -1]], ends, rtol=1e-4, atol=0):
            raise InputError(
                f"its sigmas go from {table[0]:g} to {table[-1]:g} in {len(table)} levels, but those of "
                f"recipe = {recipe} from {sde.sigma_max:g} to {sde.sigma_min:g} in {levels}"
            )
    return known


def _guess(weights: Mapping[str, Tensor], rate: float | None) -> Recipe:
    """What a file is that nobody has told of."""
    model = infer(weights)
    sigmas = weights["sigmas"].double()
    if sigmas.ndim != 1 or len(sigmas) < 2 or not (sigmas.diff() < 0).all() or not sigmas[-1] > 0:
        raise InputError("its sigmas are not a falling list of noise levels")
    ve = build("sde", {"name": "ve", "sigma_min": sigmas[-1].item(), "sigma_max": sigmas[0].item()})
    if model.get("time") == "fourier":
        param = {"name": "published", "target": "minus_eps", "scaled": False}
    elif model["name"] == "ncsnv2":
        param = _index_of(ve, len(sigmas))
    elif model["name"] == "ddpmpp" or (rate is not None and abs(rate - 0.9999) < 1e-6):
        warnings.warn(
            "read as of VP with continuous times: sub-VP and discrete times have the same tensors and need recipe=…",
            Assumed,
            stacklevel=2,
        )
        param = {"name": "published", "target": "eps", "scaled": False, "clock": "time", "factor": 999 / 250}
        return Recipe(model, build("sde", "vp"), build("param", param), None, (-1.0, 1.0))
    elif rate is not None and abs(rate - 0.999) < 1e-6:
        warnings.warn("read as of VE with discrete times, by the rate of its average, 0.999", Assumed, stacklevel=2)
        param = _index_of(ve, len(sigmas))
    else:
        raise InputError("its tensors are those of VE, VP and sub-VP alike: give recipe=, the experiment it is of")
    return Recipe(model | {"centered": False}, ve, build("param", param), None, (0.0, 1.0))


def _index_of(ve: Any, count: int) -> dict[str, Any]:
    """Noise levels numbered from σ_max down, in equal steps of log σ, as sinusoidal features read the numbers."""
    per_log = (count - 1) / ve.log_ratio / 250
    clock = {"factor": -4 * per_log, "offset": math.log(ve.sigma_max) * per_log, "step": 1 / 250}
    return {"name": "published", "target": "minus_eps", "scaled": False} | clock


def _shape(weights: Mapping[str, Tensor], model: Mapping[str, Any]) -> tuple[int, ...]:
    """Of one image: nothing in a file says its size."""
    if model["name"] == "ncsnv2":
        size = {4: 32 if weights["sigmas"].max() <= 50 else 64, 5: 128}.get(len(model["multipliers"]), 256)
        return (weights["begin_conv.weight"].shape[1], size, size)
    levels = levels_with_attention(weights)
    if not levels:
        raise InputError("it has no attention to tell the image's size by: give recipe=, the experiment it is of")
    size = _ATTENTION << levels[0]
    stem = weights[f"all_modules.{3 if 'all_modules.0.W' in weights else 2}.weight"]
    return (stem.shape[1], size, size)
