"""--help, read from the sources: every group with its options, every key with its default. Nothing is imported."""

import ast
import importlib.util
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import yaml

from scoresde import registry
from scoresde.cli.sketch import Computed, Sketch

__all__ = ["show_help"]

_WIDTH = 110
_YAML = {"None": "null", "True": "true", "False": "false"}


def show_help(name: str, groups: Sequence[str], settings: Sequence[str], job: str) -> None:
    """Print what a command takes; arguments as for `scoresde.cli.command.command`."""
    about = _docstring(_tree(job.partition(":")[0])).partition("\n")[0]
    print(f"{about}\n")
    print(f"  python {name}.py [group=option …] [key=value …]     or, installed, scoresde-{name}")
    print("  --cfg job shows the whole configuration, --multirun runs every combination of a,b,c")
    print("  [in brackets] is what is taken by default\n")
    chosen = _defaults(name)
    for group in groups:
        options, default = registry.names(group), chosen.get(group)
        title = f"{group} [{', '.join(default) if isinstance(default, list) else default or 'of the solver'}]"
        if group == "solver":
            print(f"{title:<24}order NFE")
            _show_solvers(options)
        else:
            print(title)
            _show_options(group, options)
        for option in options:
            for field, (inside, preset) in registry.nested_fields(group, option).items():
                title = f"{group}/{field}"
                if title in registry.groups():
                    print(f"{title} [{preset}]")
                    _show_options(inside, registry.names(inside))
                else:
                    print(f"{title} [{preset}], with {group}={option}")
                    _show("", ", ".join(_fitting(inside, option, field)), indent=2)
                    print()
    recipes = sorted((_conf() / "experiment").glob("*.yaml"))
    texts = {path.stem: path.read_text(encoding="utf-8").partition(f"# {name}: ")[2] for path in recipes}
    if any(texts.values()):
        print("experiment")
        for recipe, text in texts.items():
            if text:
                _show(f"  {recipe}", text.splitlines()[0])
        print()
    print("keys")
    for place in settings:
        module, _, cls = place.partition(":")
        for key, default, text in _fields(_tree(module), cls):
            _show(f"  {key}={_YAML.get(default, default)}", text)


def _show(first: str, text: str, indent: int = 24) -> None:
    """A text beside what it is about, in as many lines as it takes."""
    lines = textwrap.wrap(text, _WIDTH - indent, break_on_hyphens=False)
    head = f"{first:<{indent}}" if len(first) < indent else f"{first}\n{'':<{indent}}"
    print(head + f"\n{'':<{indent}}".join(lines))


def _show_options(group: str, options: Sequence[str]) -> None:
    for option in options:
        _show(f"  {option}", registry.summary(group, option))
    print()


_KINDS = {
    "ODE": "deterministic, on the probability-flow ODE",
    "ODE or SDE": "deterministic or stochastic, as solver.eta says (of edm, solver.churn)",
    "SDE": "stochastic, on the reverse SDE",
    "adaptive": "adaptive: in steps as small as a tolerance asks for",
    "parallel": "parallel in time",
    "": "others",
}
_LEGEND = """
  order p: twice the steps divide the error by 2^p (p/q: p on the ODE, q in law on the SDE).
  NFE: network evaluations a sample, the last of which leads onto the data. Both at its fields' defaults.
"""


def _show_solvers(options: Sequence[str]) -> None:
    facts = {option: _facts(option) for option in options}
    for kind, title in _KINDS.items():
        rows = [option for option in options if facts[option][2] == kind]
        if rows:
            print(f"\n  {title}")
        for option in rows:
            order, nfe, _ = facts[option]
            _show(f"    {option:<20}{order:<6}{nfe}", registry.summary("solver", option), indent=42)
    print(_LEGEND)


def _facts(option: str) -> tuple[str, str, str]:
    """A solver's order, NFE and kind at its defaults, such as ("2", "2/step + 1", "ODE or SDE").

    Empty for one of a user's own that computes them and has no `Solver.facts`.
    """
    solver = Sketch("solver", option)
    try:
        if facts := solver.read("facts"):
            return facts
        if solver.read("adaptive"):
            return "–", "as needed", "adaptive"
        if solver.home("nfe") != "StepSolver":
            return "", "", ""
        strong, weak, cost = (solver.read(name) for name in ("order", "weak_order", "cost"))
        # onto the data it is one evaluation: the last step, or one more
        rest = 1 - cost if solver.read("denoises") else 1
    except Computed:
        return "", "", ""
    orders = dict.fromkeys(str(p) for p in (strong, weak) if p)
    more = f" {'+' if rest > 0 else '−'} {abs(rest)}" if rest else ""
    kind = "ODE" if weak is None else "SDE" if strong is None else "ODE or SDE"
    return "/".join(orders) or "–", f"{cost}/step{more}", kind


def _fitting(group: str, holder: str, field: str) -> list[str]:
    """What a component may hold in a field."""
    kind = _annotation(registry.source(group, holder), field)
    fit = [option for option in registry.names(group) if option != holder and Sketch(group, option).is_a(kind)]
    # its rules ask the network once a step
    return [option for option in fit if _facts(option)[1] == "1/step"] if holder == "picard" else fit


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
