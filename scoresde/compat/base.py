"""What a foreign format is: how to know its files, and how to make a denoiser of one."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import yaml
from torch import Tensor

from scoresde.assemble import assemble, elements, sound
from scoresde.errors import InputError, nearest
from scoresde.model.base import Network
from scoresde.registry import build
from scoresde.score import Denoiser

__all__ = ["Format", "Made", "Recipe", "by_name", "fill", "inside", "plain_names", "read_json", "read_recipe"]


class Format(ABC):
    """A family of checkpoints: one frozen dataclass without fields a file.

    A format reads plain values and tensors, as `scoresde.pickled.read` gives them, and never runs what is in a file.
    ``recipes`` says whether a recipe can tell what its files do not.
    """

    recipes: ClassVar[bool] = False

    @abstractmethod
    def matches(self, tree: Any, path: Path) -> bool:
        """Whether a file is of this family, from its keys alone; never raises.

        Args:
            tree: what the file holds: for safetensors a dict of tensors, None for a folder.
            path: of the file or folder.
        """

    @abstractmethod
    def denoiser(self, tree: Any, path: Path, recipe: str | None = None) -> Denoiser:
        """The model, in eval mode, on the CPU, its ``sde`` the process that it was trained on.

        Args:
            tree, path: as in `matches`.
            recipe: the name of an ``experiment/`` recipe whose network, process and parameterization it has, or of a
                published network; needed where the file cannot tell, None for a format without ``recipes``.

        Raises:
            InputError: for whatever does not fit, naming it.
        """


@dataclass(frozen=True)
class Made:
    """A tensor of ours, made of foreign ones: ``Made(["q.weight", "k.weight"], lambda q, k: torch.cat([q, k]))``."""

    names: Sequence[str]
    how: Callable[..., Tensor]


def fill(
    spec: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    names: Mapping[str, str | Made],
    ignored: Iterable[str] = (),
    **supplied: Any,
) -> Network:
    """Our network with foreign weights: every tensor of both sides accounted for.

    Args:
        spec: our network's name and fields; ``supplied`` joins it: shape, classes.
        weights: the foreign tensors by their names.
        names: for every entry of our ``state_dict`` the foreign name, or how it is `Made` of several.
        ignored: foreign names that have no place in our network, on purpose; absent ones do no harm.

    Raises:
        InputError: for a tensor that is missing, left over, misshapen or not finite, by its foreign name.
    """
    ours: dict[str, Tensor] = {}
    used: set[str] = set()
    called: dict[str, str] = {}
    there = elements({name: one for name, one in weights.items() if isinstance(one, Tensor)})
    for own, source in names.items():
        one = source if isinstance(source, Made) else Made([source], lambda tensor: tensor)
        for name in one.names:
            if name not in weights:
                raise InputError(f"it has no tensor {name}, which {spec.get('name')} needs for its {own}")
            if not isinstance(weights[name], Tensor):
                raise InputError(f"its {name} is a {type(weights[name]).__name__}, not a tensor")
            sound(f"its tensor {name}", weights[name])
        used |= set(one.names)
        called[own] = f"its tensor {' with '.join(one.names)} (our {own})"
        try:
            ours[own] = one.how(*(weights[name] for name in one.names))
        except (RuntimeError, IndexError, ValueError) as error:
            shapes = ", ".join(f"{name} {tuple(weights[name].shape)}" for name in one.names)
            raise InputError(f"{own} cannot be made of {shapes}: {' '.join(str(error).split())}") from None
        there -= ours[own].numel()
        if there < 0:
            raise InputError(f"its tensors share their numbers, but those of {spec.get('name')} are each its own")
    left = sorted(weights.keys() - used - set(ignored))
    if left:
        raise InputError(f"its tensor {left[0]} has no place in {spec.get('name')} ({len(left)} such)")
    return assemble(spec, ours, called, **supplied)


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the ``module.`` that DataParallel puts before every name, and ``_orig_mod.`` of torch.compile."""
    out = dict(weights)
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        if out and all(name.startswith(prefix) for name in out):
            out = {name.removeprefix(prefix): tensor for name, tensor in out.items()}
    return out


def by_name(names: Sequence[str], tensors: Sequence[Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An average kept as a list, by the names of the parameters that it is of, in their order.

    Raises:
        InputError: for another number of tensors, or another shape than the parameter's.
    """
    if len(names) != len(tensors):
        raise InputError(f"its average (EMA) holds {len(tensors)} tensors, but its network has {len(names)} parameters")
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.shape != like[name].shape:
            shapes = tuple(tensor.shape), tuple(like[name].shape)
            raise InputError(f"its average (EMA) of {name} has shape {shapes[0]}, but the parameter has {shapes[1]}")
    return dict(zip(names, tensors, strict=True))


@dataclass(frozen=True)
class Recipe:
    """What an ``experiment/`` recipe says of a model.

    Args:
        model: the network's name and fields.
        sde, param: the process and the parameterization.
        shape, range: of the data that it wants, None where it does not say.
    """

    model: dict[str, Any]
    sde: Any
    param: Any
    shape: tuple[int, ...] | None
    range: tuple[float, float] | None


def read_recipe(name: str) -> Recipe:
    """An ``experiment/`` recipe. Its second line, ``# data: (3, 32, 32) in [0, 1]``, says what data it wants.

    Args:
        name: as in ``train.py experiment=…``, or as score_sde names its configurations: ``vp/cifar10_ddpmpp``.

    Raises:
        InputError: for a recipe that does not exist, naming those that do.
    """
    name = name.replace("/", "_")
    train = yaml.safe_load((files("scoresde.conf") / "train.yaml").read_text(encoding="utf-8"))
    chosen = {
        group: option for entry in train["defaults"] if isinstance(entry, dict) for group, option in entry.items()
    }
    values = _recipe(name, chosen)
    model, sde, param = ({"name": chosen[group], **values.get(group, {})} for group in ("model", "sde", "param"))
    text = (files("scoresde.conf") / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    data = re.search(r"^# data: \(([\d, ]+)\) in \[(-?[\d.]+), ([\d.]+)\]", text, re.MULTILINE)
    shape = tuple(int(size) for size in data[1].split(",")) if data else None
    bounds = (float(data[2]), float(data[3])) if data else None
    return Recipe(model, build("sde", sde), build("param", param), shape, bounds)


def _recipe(name: str, chosen: dict[str, str]) -> dict[str, Any]:
    """The values of a recipe and of those that it starts from; the components that they choose go to ``chosen``."""
    folder = files("scoresde.conf") / "experiment"
    there = [file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")]
    if name not in there:
        raise InputError(f"recipe = {name} does not exist: {nearest(name, there)}")
    own = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    values: dict[str, Any] = {}
    for entry in own.pop("defaults", []):
        if isinstance(entry, dict):
            ((group, option),) = entry.items()
            chosen[group.removeprefix("override ").lstrip("/")] = option
        elif entry != "_self_":
            values = _merge(values, _recipe(entry, chosen))
    return _merge(values, own)


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = under.keys() & over.keys()
    deep = {k: _merge(under[k], over[k]) for k in both if isinstance(under[k], dict) and isinstance(over[k], dict)}
    return under | over | deep


def inside(folder: Path, name: str) -> Path:
    """A file in a folder, by a name that a file of the folder gives.

    Raises:
        InputError: for a name that leads out of the folder, and for a file that is not there.
    """
    parts = Path(name).parts
    if not parts or "\\" in name or "\0" in name or Path(name).is_absolute() or ".." in parts:
        raise InputError(f"it names the file {name[:80]!r}, which is not in its folder")
    if not (folder / name).is_file():
        raise InputError(f"it lacks its file {name[:80]!r}")
    # a hub's cache keeps the files of a snapshot in blobs, beside snapshots, and links to them
    root, found = folder.resolve(), (folder / name).resolve()
    blobs = root.parent.parent / "blobs"
    linked = root.parent.name == "snapshots" and found.is_relative_to(blobs)
    if not found.is_relative_to(root) and not linked:
        raise InputError(f"its file {name[:80]!r} is a link out of its folder")
    return folder / name


def read_json(path: Path) -> dict[str, Any]:
    """A configuration as plain values: nothing that it names is looked up.

    Raises:
        InputError: for what is no object of JSON, or larger than a megabyte.
    """
    try:
        if path.stat().st_size > 1 << 20:
            raise InputError(f"its {path.name} is larger than a megabyte")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"its {path.name} is not JSON ({' '.join(str(error).split())[:80]})") from None
    if not isinstance(found, dict):
        raise InputError(f"its {path.name} is not an object of JSON")
    return found
