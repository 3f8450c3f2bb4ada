"""--help, read from the sources: every group with its options, every key with its default. Nothing is imported."""

import ast
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from scoresde import registry

__all__ = ["show_help"]


def show_help(name: str, groups: Sequence[str], settings: Sequence[str], job: str) -> None:
    """Print what a command takes; arguments as for `scoresde.cli.command.command`."""
    about = _docstring(_tree(job.partition(":")[0])).partition("\n")[0]
    print(f"{about}\n")
    print(f"  python {name}.py [group=option …] [key=value …]     or, installed, scoresde-{name}")
    print("  --cfg job shows the whole configuration, --multirun runs every combination of a,b,c\n")
    chosen = _defaults(name)
    for group in groups:
        _show(group, registry.names(group), chosen.get(group), group)
        for option in registry.names(group):
            for field, (inside, default) in registry.nested_fields(group, option).items():
                title = f"{group}/{field}"
                if title in registry.groups():
                    _show(title, registry.names(inside), default, inside)
                else:
                    kind = _annotation(registry.source(group, option), field)
                    fit = [other for other in registry.names(inside) if other != option]
                    fit = [other for other in fit if kind in _bases(registry.source(inside, other))]
                    print(f"{title} [{default}], with {group}={option}\n  {', '.join(fit)}\n")
    recipes = sorted((_conf() / "experiment").glob("*.yaml"))
    texts = {path.stem: path.read_text(encoding="utf-8").partition(f"# {name}: ")[2] for path in recipes}
    if any(texts.values()):
        print("experiment")
        print("".join(f"  {recipe:<22}{text.splitlines()[0]}\n" for recipe, text in texts.items() if text))
    print("keys")
    for place in settings:
        module, _, cls = place.partition(":")
        for key, default, text in _fields(_tree(module), cls):
            print(f"  {f'{key}={default}':<22}{text}")


def _show(title: str, options: Sequence[str], chosen: str | list[str] | None, group: str) -> None:
    print(f"{title} [{', '.join(chosen) if isinstance(chosen, list) else chosen}]")
    for option in options:
        print(f"  {option:<22}{registry.summary(group, option)}")
    print()


def _conf() -> Path:
    return Path(__file__).parent.parent / "conf"


def _defaults(name: str) -> dict[str, str | list[str]]:
    entries = yaml.safe_load((_conf() / f"{name}.yaml").read_text(encoding="utf-8"))["defaults"]
    return {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}


def _tree(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _bases(tree: ast.Module) -> set[str]:
    """The names of what a component's classes derive from."""
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {base.id for cls in classes for base in cls.bases if isinstance(base, ast.Name)}


def _annotation(tree: ast.Module, field: str) -> str:
    found = (node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == field)
    return ast.unparse(next(found).annotation)


def _docstring(node: ast.Module | ast.ClassDef) -> str:
    return ast.get_docstring(node) or ""


def _fields(tree: ast.Module, name: str) -> list[tuple[str, str, str]]:
    """(field, default, its line under Args) of a dataclass."""
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    about = dict(re.findall(r"^    (\w+): (.+(?:\n        .+)*)", _docstring(cls), re.MULTILINE))
    return [
        (node.target.id, ast.unparse(node.value), " ".join(about.get(node.target.id, "").split()))
        for node in cls.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
    ]
