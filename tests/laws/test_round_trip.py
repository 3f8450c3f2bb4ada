"""A component is its name and its fields: both ways, on the command line, and in a user's own package."""

import ast
import copy
import dataclasses
import importlib
import inspect
import json
import sys
import typing
from pathlib import Path

import pytest
import torch
from torch import nn

import scoresde
from scoresde import registry
from scoresde.errors import InputError

ALL = [(group, name) for group in registry.groups() for name in registry.names(group)]
every = pytest.mark.parametrize(("group", "name"), ALL, ids=[f"{group}={name}" for group, name in ALL])
PAPERS = ("sde", "solver", "param", "grid", "loss")


def build(group, name, **fields):
    """A component, on no device: networks of full size cost nothing."""
    needs = {f.name for f in dataclasses.fields(registry.component(group, name)) if registry._required(f)}
    shape = (3, 32) if name == "unet1d" else (3, 32, 32)
    supplied = {"shape": shape, "classes": 0 if name == "ncsnv2" else 10, "range": (-1.0, 1.0)}
    with torch.device("meta"):
        return registry.build(group, {"name": name, **fields}, **{k: v for k, v in supplied.items() if k in needs})


@every
def test_built_from_its_description_it_is_the_same(group, name):
    made = build(group, name)
    said = registry.describe(made)
    assert said["name"] == name
    assert json.loads(json.dumps(said)) == said
    with torch.device("meta"):
        again = registry.build(group, said)
    assert registry.describe(again) == said
    assert isinstance(made, nn.Module) or again == made


@every
def test_other_values_survive_too(group, name):
    """Each number halfway to its default's double, each option the last: what is refused for its range is left."""
    cls = registry.component(group, name)
    for f in dataclasses.fields(cls):
        hint = registry._hints(cls)[f.name]
        if not f.init or registry._required(f) or "group" in f.metadata:
            continue
        if typing.get_origin(hint) is typing.Literal:
            value = typing.get_args(hint)[-1]
        elif hint is bool:
            value = not f.default
        elif hint in (int, float):
            value = hint(f.default * 1.5 + hint(1) * (f.default == 0))
        else:
            continue
        try:
            made = build(group, name, **{f.name: value})
        except InputError:
            continue
        said = registry.describe(made)
        assert said[f.name] == value
        assert type(said[f.name]) is type(value)
        with torch.device("meta"):
            assert registry.describe(registry.build(group, said)) == said


@every
def test_the_file_is_named_after_its_one_public_class(group, name):
    module = importlib.import_module(f"scoresde.{group.replace('/', '.')}.{name}")
    (public,) = module.__all__
    assert name == name.lower()
    assert public.lower() == name.replace("_", "")
    cls = getattr(module, public)
    assert dataclasses.is_dataclass(cls)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [c for c in classes if not c.startswith("_")] == [public]


@every
def test_a_component_says_what_it_is_and_where_it_comes_from(group, name):
    summary = registry.summary(group, name)
    assert summary.endswith((".", "…"))
    assert 10 < len(summary) <= 110
    cls = registry.component(group, name)
    assert inspect.getdoc(cls)
    if group.split("/")[0] in PAPERS:
        assert "Source:" in inspect.getdoc(cls)


@every
def test_every_field_is_documented(group, name):
    """By itself, beside others (``t_min, t_max:``), or by the class that it comes from."""
    cls = registry.component(group, name)
    text = "\n".join(inspect.getdoc(c) or "" for c in cls.__mro__ if dataclasses.is_dataclass(c))
    for f in dataclasses.fields(cls):
        assert f.name in text, f"{cls.__name__}.{f.name} is in no docstring"


@every
def test_an_unknown_field_is_refused_with_the_nearest(group, name):
    fields = [f.name for f in dataclasses.fields(registry.component(group, name)) if f.init]
    with pytest.raises(InputError, match=rf"^{group}={name} has no field unheard_of: [^\n]*$"):
        registry.build(group, {"name": name, "unheard_of": 1})
    if fields:
        with pytest.raises(InputError, match=f"did you mean {fields[0]}\\?"):
            registry.build(group, {"name": name, fields[0] + "x": 1})


@every
def test_a_value_of_another_type_is_refused(group, name):
    cls = registry.component(group, name)
    for f in dataclasses.fields(cls):
        if registry._hints(cls)[f.name] in (int, float, bool) and not registry._required(f):
            for wrong in ("a word", [1, 2], {"a": 1}, None):
                with pytest.raises(InputError, match=rf"^{group}={name}: {f.name} = [^\n]*$"):
                    build(group, name, **{f.name: wrong})
        if typing.get_origin(registry._hints(cls)[f.name]) is typing.Literal:
            with pytest.raises(InputError, match=rf"^{group}={name}: {f.name} = 'nothing' is not an option: [^\n]*$"):
                build(group, name, **{f.name: "nothing"})


@pytest.mark.parametrize("group", registry.groups())
def test_an_unknown_name_is_refused_with_the_nearest(group):
    with pytest.raises(InputError, match=rf"^{group}=\S+ does not exist: did you mean \S+\? \(there are: .*\)$"):
        registry.build(group, registry.names(group)[0] + "x")
    for nameless in ({}, {"name": 3}):
        with pytest.raises(InputError, match=rf"^{group} needs a name: "):
            registry.build(group, nameless)


@pytest.mark.parametrize("name", ["../errors", "base", "__init__", "scoresde.errors", "", "os", "vp.py", "VP"])
def test_only_components_are_built(name):
    with pytest.raises(InputError):
        registry.build("sde", name)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A user's package that holds one SDE of its own, on the path; the registry is afterwards what it was."""
    from hydra.core.config_store import ConfigStore

    folder = tmp_path / "their_package" / "sde"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "mine.py").write_text(
        '"""A slow EDM."""\n'
        "from dataclasses import dataclass\n"
        "from scoresde.sde.base import GaussianSDE\n"
        '__all__ = ["Mine"]\n\n'
        "@dataclass(frozen=True)\n"
        "class Mine(GaussianSDE):\n"
        '    """s = slowness t."""\n\n'
        "    slowness: float = 2.0\n"
        "    t_min: float = 0.01\n"
        "    t_max: float = 10.0\n\n"
        "    def alpha(self, t):\n"
        "        return 0 * t + 1\n\n"
        "    def var(self, t):\n"
        "        return (self.slowness * t) ** 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_packages", list(registry._packages))
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", copy.deepcopy(store.repo))
    registry.publish("their_package")
    yield store
    for module in [m for m in sys.modules if m.startswith("their_package")]:
        del sys.modules[module]
    registry._folder.cache_clear()


def test_a_users_component_joins(published):
    assert "mine" in registry.names("sde")
    assert registry.summary("sde", "mine") == "A slow EDM."
    mine = registry.build("sde", {"name": "mine", "slowness": 3})
    assert type(mine).__module__ == "their_package.sde.mine"
    assert registry.describe(mine) == {"name": "mine", "slowness": 3.0, "t_min": 0.01, "t_max": 10.0}
    assert registry.build("sde", registry.describe(mine)) == mine
    with pytest.raises(InputError, match="sde=mine has no field slownes: did you mean slowness"):
        registry.build("sde", {"name": "mine", "slownes": 1.0})
    assert published.load("sde/mine.yaml").node == {"name": "mine", "slowness": 2.0, "t_min": 0.01, "t_max": 10.0}


def test_what_is_given_by_kernel_alone_can_be_sampled(published):
    """α and s² are enough: drift, diffusion and time follow."""
    from scoresde.analytic import GaussianMixture

    mine = registry.build("sde", "mine")
    model = GaussianMixture(mine, torch.zeros(1, 1), 1.0)
    for name in ("heun", "ancestral"):
        x = scoresde.sample(model, 500, solver=registry.build("solver", name), steps=100)
        assert abs(x.std().item() - 1) < 0.2


def test_a_package_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="there is no package nowhere_to_be_found to publish"):
        registry.publish("nowhere_to_be_found")


def test_every_component_is_on_the_command_line(published):
    for group, name in ALL:
        if "/" in group:
            holders = [
                f"{g}/{f}" for g, n in ALL for f, (inside, _) in registry.nested_fields(g, n).items() if inside == group
            ]
            assert holders
            nodes = [published.load(f"{holder}/{name}.yaml").node for holder in holders]
        else:
            nodes = [published.load(f"{group}/{name}.yaml").node]
        for node in nodes:
            assert node.name == name
            cls = registry.component(group, name)
            for f in dataclasses.fields(cls):
                if f.init and "group" not in f.metadata and f.default is not dataclasses.MISSING:
                    value = list(f.default) if isinstance(f.default, tuple) else f.default
                    assert node[f.name] == value
