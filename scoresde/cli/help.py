"""--help, read from the sources: every group with its options, every key with its default. Nothing is imported."""

import ast
import importlib.util
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from scoresde import registry
from scoresde.cli.sketch import Sketch

__all__ = ["show_help"]

_YAML = {"None": "null", "True": "true", "False": "false"}


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
                    fit = [other for other in fit if Sketch(inside, other).is_a(kind)]
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
            print(f"  {f'{key}={_YAML.get(default, default)}':<22}{text}")


def _show(title: str, options: Sequence[str], chosen: str | list[str] | None, group: str) -> None:
    print(f"{title} [{', '.join(chosen) if isinstance(chosen, list) else chosen or 'of the solver'}]")
    for option in options:
        facts = ""
        if title == "solver":
            with suppress(Exception):  # a user's own may need more than its source to say what it is
                facts = _facts(option)
            facts = f"{facts:<42}"
        print(f"  {option:<22}{facts}{registry.summary(group, option)}")
    print(_LEGEND if title == "solver" else "")


_LEGEND = """\
  order p: twice the steps divide the error by 2^p (p/q: p on the ODE, q in law on the SDE). NFE: network evaluations a
  sample, with denoise: the last one leads onto the data. ODE: deterministic; SDE: stochastic; ODE or SDE: as eta (edm:
  churn) says. All of it at the defaults of the solver's fields.
"""


def _facts(name: str) -> str:
    """A solver's order, NFE and noise at its defaults: ``order 2 · 2 NFE/step + 1 · ODE or SDE``."""
    solver = Sketch("solver", name)
    weak, adaptive = solver.weak_order, solver.adaptive
    strong = None if adaptive and weak is None else solver.order  # it has one, that no grid shows
    kind = "ODE" if weak is None else "SDE" if strong is None else "ODE or SDE"
    orders = dict.fromkeys(p for p in (strong, weak) if p is not None)
    order = "adaptive" if adaptive else "order " + ("/".join(str(p or "–") for p in orders) or "–")
    few, many = (solver.nfe(steps - solver.denoises) for steps in (100, 200))
    if few is None:
        return f"{order} · NFE as needed · {kind}"
    each = (many - few) // 100
    rest = many + 1 - 200 * each
    more = f" {'+' if rest > 0 else '−'} {abs(rest)}" if rest else ""
    return f"{order} · {each} NFE/step{more} · {kind}"


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
