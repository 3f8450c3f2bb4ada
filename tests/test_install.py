"""What a user's pip makes of the project. Needs the package index, hence slow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.skipif(torch.version.cuda is not None, reason="with a CUDA build of torch its packages belong there")
@pytest.mark.parametrize("extra", ["", "[log]", "[notebooks]", "[test]", "[dev]"])
def test_a_fresh_resolve_holds_no_torchvision_and_no_cuda(extra):
    command = [*PIP, "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", "-c", "constraints.txt"]
    done = subprocess.run([*command, f".{extra}"], cwd=ROOT, check=True, capture_output=True, text=True)
    names = {item["metadata"]["name"].lower() for item in json.loads(done.stdout)["install"]}
    assert {"scoresde", "torch", "hydra-core"} <= names
    assert not [name for name in names if name.startswith(("nvidia", "cuda", "triton", "torchvision"))]


def test_the_commands_run_outside_the_clone(tmp_path):
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    install = [*PIP, "install", "--quiet", "--no-deps", "--target", str(target), str(ROOT)]
    subprocess.run(install, check=True, capture_output=True)
    env = os.environ | {"PYTHONPATH": str(target)}
    tiny = ["model=mlp", "model.width=16", "model.depth=1", "steps=4", "batch=32", "device=cpu"]
    for command, arguments in (("train", tiny), ("sample", ["steps=2", "n=4"]), ("evaluate", ["metric=[energy]"])):
        script = target / "bin" / f"scoresde-{command}"
        done = subprocess.run(
            [sys.executable, str(script), *arguments], cwd=elsewhere, env=env, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        assert "outputs/" in done.stdout
    where = [sys.executable, "-c", "import scoresde; print(scoresde.__file__)"]
    said = subprocess.run(where, cwd=elsewhere, env=env, text=True, capture_output=True, check=True).stdout
    assert str(target) in said
