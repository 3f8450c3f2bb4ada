"""A file imports only lower floors, a component only its base, and an engine has one file."""

import ast
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import scoresde

ROOT = Path(scoresde.__file__).parent
FLOORS = [
    {"errors"},
    {"files", "foreign", "diagnosis"},
    {"tensor", "noise", "registry", "store", "pickled"},
    {"sde", "model", "param"},  # strangers to each other
    {"score", "assemble"},
    {"analytic"},
    {"reverse", "grid", "guidance"},
    {"data"},
    {"solver", "metric", "ema"},
    {"compat"},
    {"loss", "posterior", "likelihood", "sampling", "checkpoint", "calibration"},
    {"batches", "plot", "posthoc"},
    {"training"},
    {"conf", "cli"},
]
ENGINES = {"torchdiffeq", "torchsde", "accelerate"}
# imported where they are used: a user who does not need them does not wait for them
USED_IN = {"plot": {"matplotlib", "PIL"}}
LATE = {"hydra", "omegaconf", "matplotlib", "sklearn", "scipy", "tensorboard", "PIL", "tqdm"}
FILES = sorted(ROOT.rglob("*.py"))


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in FILES}


def imports(path, *, late=True):
    """The modules that a file imports, ``from package import module`` among them; ``late`` ones in functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & NAMES) or {node.module}
        typed = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        if not typed and (late or not isinstance(node, ast.FunctionDef)):
            todo += ast.iter_child_nodes(node)
    return found


def unit(module):
    """The part of the house that a module is in: its folder or file right under scoresde/."""
    return module.split(".")[1] if "." in module else ""


def floor(module):
    found = [i for i, units in enumerate(FLOORS) if unit(module) in units]
    assert found, f"{module} has no floor: add it to FLOORS here and in docs/architecture.md"
    return found[0]


every_file = pytest.mark.parametrize("path", FILES, ids=name_of)


@every_file
def test_a_file_imports_only_lower_floors(path):
    module = name_of(path)
    if module == "scoresde":
        return
    for other in imports(path):
        if other == "scoresde" or not other.startswith("scoresde.") or unit(other) == unit(module):
            continue
        assert floor(other) < floor(module), f"{module} (floor {floor(module)}) imports {other} (floor {floor(other)})"


@every_file
def test_a_component_imports_no_sibling(path):
    module = name_of(path)
    group, _, name = module.rpartition(".")
    if not (path.parent / "base.py").exists() or path.parent == ROOT or path.name == "__init__.py":
        return
    siblings = {other for other in imports(path) if other.startswith(group + ".")}
    inner = {f"{group}.base"} if name != "base" else set()
    folders = {f"{group}.{inside.name}." for inside in path.parent.iterdir() if inside.is_dir()}
    inner |= {other for other in siblings if other.startswith(tuple(folders)) or other.endswith(".base")}
    assert siblings <= inner


@every_file
def test_the_face_of_a_group_imports_its_base_only(path):
    module = name_of(path)
    if path.name == "__init__.py" and (path.parent / "base.py").exists():
        assert imports(path) <= {f"{module}.base"}


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_an_engine_is_imported_in_one_file(engine):
    users = [name_of(path) for path in FILES if any(m.split(".")[0] == engine for m in imports(path))]
    assert len(users) <= 1
    if engine != "accelerate":
        assert len(users) == 1


@every_file
def test_nothing_heavy_is_imported_before_it_is_used(path):
    assert not {m.split(".")[0] for m in imports(path, late=False)} & (LATE - USED_IN.get(unit(name_of(path)), set()))


@every_file
def test_every_module_says_what_it_is_and_what_it_offers(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    offers = [n for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "__all__"]
    if path.name != "__init__.py":
        assert len(offers) == 1
        listed = ast.literal_eval(offers[0].value)
        defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        assert {n for n in defined if not n.startswith("_")} <= set(listed)


def test_every_group_is_a_floor_of_its_own_name():
    for path in FILES:
        if name_of(path) != "scoresde":
            floor(name_of(path))
    for lower, upper in pairwise(FLOORS):
        assert not lower & upper


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    return done.stdout.split()


@pytest.mark.parametrize("what", ["import scoresde", "from scoresde import sample"])
def test_importing_drags_nothing_in(what):
    loaded = set(run(f"{what}\nimport sys\nprint(*{{m.split('.')[0] for m in sys.modules}})"))
    assert not loaded & {"matplotlib", "sklearn", "torchsde", "torchdiffeq", "hydra", "omegaconf", "accelerate"}
    assert "scoresde" in loaded


def test_importing_costs_little_more_than_torch():
    def seconds(what):
        timed = f"import time; start = time.process_time()\n{what}\nprint(time.process_time() - start)"
        return min(float(run(timed)[0]) for _ in range(2))

    assert seconds("from scoresde import sample") < 1.3 * seconds("import torch") + 0.05
