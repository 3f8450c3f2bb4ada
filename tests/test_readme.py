"""What the README shows runs as it stands."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch

from scoresde import registry
from scoresde.checkpoint import save
from scoresde.reverse import Reverse
from scoresde.score import Denoiser
from tests.laws.exact import flow, gaussian, slope, stretch

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^(python \S+\.py[^#\n]*)", TEXT, re.MULTILINE)


def block(marker: str) -> str:
    (found,) = (code for code in PYTHON if marker in code)
    return found


def test_the_front_door(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = registry.build("model", {"name": "mlp", "width": 16, "depth": 1}, shape=(1, 8, 8), classes=0)
    model = Denoiser(net, registry.build("sde", "vp"), registry.build("param", "eps"), (-1.0, 1.0))
    save("outputs/demo/model.safetensors", model)
    names: dict[str, torch.Tensor] = {}
    exec(block("outputs/demo/model.safetensors"), names)
    assert names["x"].shape == (16, 1, 8, 8)
    assert names["x"].abs().max() <= 1


def test_exact_scores(capsys):
    names: dict[str, torch.Tensor] = {}
    exec(block("GaussianMixture"), names)
    assert names["x"].shape == (1000, 2)
    # E log p of the mixture itself, −½ log(2πe 0.04)·2 − log 2, but for the modes' overlap
    assert abs(float(capsys.readouterr().out.partition("(")[2].rpartition(")")[0]) - (-0.312)) < 0.25


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The README's two files, as a package of the user's own."""
    for group, name, marker in (("sde", "ou", "class OU"), ("solver", "midpoint", "class Midpoint")):
        folder = tmp_path / "readme_package" / group
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / f"{name}.py").write_text(block(marker), encoding="utf-8")
    (tmp_path / "readme_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_packages", list(registry._packages))
    registry.publish("readme_package")
    yield
    for name in [n for n in sys.modules if n.startswith("readme_package")]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_the_sde_and_the_solver_keep_the_laws():
    process = registry.build("sde", {"name": "ou", "beta": 8.0})
    assert registry.build("sde", registry.describe(process)) == process
    t = torch.linspace(0.01, 1, 20, dtype=torch.float64)
    assert torch.allclose(process.drift_rate(t), torch.full_like(t, -4.0))
    assert torch.allclose(process.diffusion_squared(t), torch.full_like(t, 8.0))
    assert torch.allclose(process.time(process.log_snr(t)), t, rtol=1e-9)

    midpoint = registry.build("solver", "midpoint")
    reverse = Reverse(gaussian(process), eta=0.0)
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    counts = [16, 32, 64, 128]
    errors = []
    for steps in counts:
        ts = stretch(process, steps)
        end = flow(process, x, ts[0], ts[-1])
        errors.append((midpoint.solve(reverse, x, ts) - end).square().mean().sqrt().item())
    assert abs(slope(counts, errors) - midpoint.order) < 0.15


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command, tmp_path, monkeypatch, capsys):
    from importlib import import_module

    monkeypatch.chdir(tmp_path)
    _, script, *arguments = shlex.split(command)
    if "--multirun" in arguments:
        arguments.remove("--multirun")
        arguments = [a.partition(",")[0] for a in arguments]
    if "--help" not in arguments and "--cfg" not in arguments:
        arguments += ["--cfg", "job"]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    import_module(f"scoresde.cli.{Path(script).stem}").main()
    assert capsys.readouterr().out
