"""``group=name`` is the component in ``scoresde/<group>/<name>.py``; its dataclass fields are its configuration.

A group is a folder with a ``base.py``. A component is any other file in it, whose ``__all__`` names one dataclass.
Nothing is imported before somebody asks for it, and nothing but a registered component is ever built.
"""

import ast
import dataclasses
import importlib
import importlib.util
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from scoresde.errors import InputError, nearest

__all__ = [
    "build",
    "component",
    "configurable",
    "describe",
    "groups",
    "names",
    "nested",
    "nested_fields",
    "publish",
    "source",
    "summary",
]

_packages = ["scoresde"]
_SEVERAL = {"metric"}  # groups of which a command takes several at once: metric=[energy,mmd]


def groups() -> list[str]:
    """The groups there are: ``["data", "grid", "loss", "loss/time", …]``."""
    root = _folder("scoresde")
    found = [file.parent.relative_to(root).as_posix() for file in root.rglob("base.py") if file.parent != root]
    return sorted(found)


def names(group: str) -> list[str]:
    """The names of a group's components, in alphabetical order, without importing any of them."""
    return sorted(_files(group))


def source(group: str, name: str) -> ast.Module:
    """A component's file as a syntax tree, without importing it."""
    return ast.parse(_files(group)[name].read_text(encoding="utf-8"))


def summary(group: str, name: str) -> str:
    """A component in one line: the first of its module's docstring, read without importing it."""
    text = ast.get_docstring(source(group, name)) or ""
    return text.partition("\n")[0]


def component(group: str, name: str) -> type[Any]:
    """The class behind ``group=name``.

    Raises:
        InputError: when there is no such component, naming those that exist.
    """
    if group not in groups():
        raise InputError(f"there is no group {group}: {nearest(group, groups())}")
    files = _files(group)
    if name not in files:
        raise InputError(f"{group}={name} does not exist: {nearest(name, files)}")
    package = _package_of(group, name)
    module = importlib.import_module(f"{package}.{group.replace('/', '.')}.{name}")
    (class_name,) = module.__all__
    return typing.cast(type[Any], getattr(module, class_name))


def nested(group: str, default: str) -> Any:
    """A dataclass field that holds another component: ``predictor: StepSolver = nested("solver", "euler_maruyama")``.

    On the command line the field becomes a group of its own, ``solver/predictor=ancestral``, whose options are the
    components of ``group`` that are of the field's type and not refused at their defaults.
    """
    return dataclasses.field(default_factory=lambda: build(group, default), metadata={"group": group, "name": default})


def nested_fields(group: str, name: str) -> dict[str, tuple[str, str]]:
    """A component's `nested` fields, as {field: (group, default)}, read without importing it."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(source(group, name)):
        match node:
            case ast.AnnAssign(
                target=ast.Name(id=field),
                value=ast.Call(
                    func=ast.Name(id="nested"), args=[ast.Constant(value=str(inside)), ast.Constant(value=str(default))]
                ),
            ):
                found[field] = (inside, default)
    return found


def build(group: str, spec: str | Mapping[str, Any], **supplied: Any) -> Any:
    """Make a component from its name and its fields.

    Args:
        group: such as ``"sde"``.
        spec: a name, or ``{"name": …, field: value, …}`` as `describe` and the command line write it.
        supplied: fields without a default, which the program supplies: a network's data shape.

    Returns:
        The component. ``build(group, describe(c))`` equals ``c``.

    Raises:
        InputError: for a name or field that does not exist and for a value of the wrong type or range.
    """
    fields = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise InputError(f"{group} needs a name: {nearest('', names(group))}")
    cls = component(group, name)
    known = {f.name: f for f in dataclasses.fields(cls) if f.init}
    fields |= supplied
    for key in fields:
        if key not in known:
            raise InputError(f"{group}={name} has no field {key}: {nearest(str(key), known)}")
    missing = [f.name for f in known.values() if _required(f) and f.name not in fields]
    if missing:
        raise InputError(f"{group}={name} needs {', '.join(missing)}")
    plain = {key: value for key, value in fields.items() if "group" not in known[key].metadata}
    values = _validate(cls, plain, where=f"{group}={name}")
    for key in fields.keys() - plain.keys():
        inner = fields[key]
        if isinstance(inner, str | Mapping):
            inner = build(known[key].metadata["group"], inner)
        wanted = _hints(cls)[key]
        if not isinstance(inner, wanted):
            raise InputError(
                f"{group}={name}: {key} must be a {wanted.__name__}, and {type(inner).__name__} is not one"
            )
        values[key] = inner
    return cls(**values)


def describe(built: Any) -> dict[str, Any]:
    """A component as plain values: ``{"name": "vp", "beta_min": 0.1, …}``, ready for JSON."""
    name = type(built).__module__.rpartition(".")[2]
    fields = [f for f in dataclasses.fields(built) if f.init]
    return {"name": name} | {f.name: _plain(getattr(built, f.name), "group" in f.metadata) for f in fields}


def publish(package: str | None = None) -> None:
    """Put every component on Hydra's command line.

    Args:
        package: a package of the user's own that holds the same group folders: ``their_package/sde/mine.py`` becomes
            ``sde=mine``.

    Raises:
        InputError: for a package that cannot be found.
    """
    from hydra.core.config_store import ConfigStore

    if package is not None and package not in _packages:
        _folder(package)
        _packages.append(package)
    store = ConfigStore.instance()
    for group in groups():
        if "/" in group:
            continue  # published below, by the component that holds it
        for name in names(group):
            cls = component(group, name)
            place = f"{group}.{name}" if group in _SEVERAL else None
            store.store(group=group, name=name, node=_node(name, cls), package=place)
            for f in dataclasses.fields(cls):
                if "group" in f.metadata:
                    inside = f.metadata["group"]
                    for option in names(inside):
                        other = component(inside, option)
                        if _holds(cls, f.name, other):
                            store.store(group=f"{group}/{f.name}", name=option, node=_node(option, other))


@cache
def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"there is no package {package} to publish: is it installed, or on PYTHONPATH?")
    return Path(found.submodule_search_locations[0])


def _files(group: str) -> dict[str, Path]:
    paths = (path for package in _packages for path in (_folder(package) / group).glob("*.py"))
    return {path.stem: path for path in paths if path.stem != "base" and not path.stem.startswith("_")}


def _package_of(group: str, name: str) -> str:
    return next(p for p in reversed(_packages) if (_folder(p) / group / f"{name}.py").exists())


def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _holds(cls: type[Any], field: str, other: type[Any]) -> bool:
    """Whether a component takes another in a field: one of its type that it does not refuse at the defaults."""
    if other is cls or not issubclass(other, _hints(cls)[field]):
        return False
    if any(_required(f) for f in (*dataclasses.fields(cls), *dataclasses.fields(other))):
        return True  # what the program supplies is not known here
    try:
        cls(**{field: other()})
    except InputError:
        return False
    return True


def _plain(value: Any, is_component: bool) -> Any:
    if is_component:
        return describe(value)
    return list(value) if isinstance(value, tuple) else value


def configurable(hint: Any) -> Any:
    """A field's type as OmegaConf knows it: a Literal is a string there, checked by `_validate`."""
    return str if typing.get_origin(hint) is Literal else hint


def _node(name: str, cls: type[Any]) -> type[Any]:
    """The typed configuration of a component: its fields that have defaults."""
    hints = _hints(cls)
    entries: list[Any] = [("name", str, name)]
    defaults: list[Any] = []
    for f in dataclasses.fields(cls):
        if not f.init or _required(f):
            continue
        if "group" in f.metadata:
            defaults.append({f.name: f.metadata["name"]})
            entries.append((f.name, Any, None))
        elif f.default is not dataclasses.MISSING:
            entries.append((f.name, configurable(hints[f.name]), f.default))
    if defaults:
        entries.append(("defaults", list[Any], dataclasses.field(default_factory=lambda: ["_self_", *defaults])))
    return dataclasses.make_dataclass(cls.__name__, entries)


def _validate(cls: type[Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values of the declared types, or one sentence."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    hints = _hints(cls)
    checked: dict[str, Any] = {}
    for key, value in values.items():
        hint = hints[key]
        if "${" in str(value):  # OmegaConf would look it up, in the environment too
            raise InputError(f"{where}: {key} = {value!r} must be a plain value")
        schema = dataclasses.make_dataclass("Schema", [("value", configurable(hint))])
        if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
            raise InputError(
                f"{where}: {key} = {value!r} is not an option: {nearest(str(value), typing.get_args(hint))}"
            )
        try:
            given = list(value) if isinstance(value, tuple) else value
            merged = OmegaConf.merge(OmegaConf.structured(schema), {"value": given})
            result: Any = OmegaConf.to_object(merged).value  # type: ignore[union-attr]
        except OmegaConfBaseException:
            wanted = getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint)
            raise InputError(f"{where}: {key} = {value!r}, but it must be of type {wanted}") from None
        checked[key] = tuple(result) if isinstance(result, list) else result
    return checked
