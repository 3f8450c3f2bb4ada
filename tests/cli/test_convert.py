"""Other projects' checkpoints on the command line: what every command reads, convert.py writes as ours."""

import hashlib
import shutil
import sys

import pytest
import torch

from scoresde import registry
from scoresde.checkpoint import load, save
from scoresde.score import Denoiser
from scoresde.store import read
from tests.cli.test_commands import command, refused

__all__ = ["command"]

FAMILY = '''"""A family of checkpoints."""

from dataclasses import dataclass

from scoresde import registry
from scoresde.compat.base import Format, fill, read_recipe
from scoresde.errors import InputError
from scoresde.score import Denoiser

__all__ = ["Theirs"]


@dataclass(frozen=True)
class Theirs(Format):
    """Weights that a recipe describes."""

    recipes = True

    def matches(self, tree, path):
        return isinstance(tree, dict) and "theirs" in tree

    def denoiser(self, tree, path, recipe=None):
        if recipe is None:
            raise InputError("it does not say its architecture: give recipe=…")
        spec, weights = read_recipe(recipe), tree["theirs"]
        net = fill(spec.model, weights, {name: name for name in weights}, shape=(2,), classes=0)
        return Denoiser(net, spec.sde, spec.param, (-1.0, 1.0))
'''


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A family of a user's own package, and a checkpoint of it."""
    folder = tmp_path / "their_formats" / "compat"
    folder.mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    (folder / "theirs.py").write_text(FAMILY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_packages", [*registry._packages, "their_formats"])
    net = registry.build("model", "mlp", shape=(2,), classes=0)
    torch.save({"theirs": net.state_dict()}, tmp_path / "foreign.pth")
    yield net
    for module in [m for m in sys.modules if m.startswith("their_formats")]:
        del sys.modules[module]
    registry._folder.cache_clear()


HERE = ["device=cpu", "hydra.run.dir=run"]
THEIRS = ["checkpoint=foreign.pth", "recipe=points"]


def test_a_foreign_checkpoint_is_converted(command, foreign, tmp_path):
    keys = ["out=own/points.safetensors", "licence=CC BY 4.0", "hydra.run.dir=run"]
    status, out, err = command("convert", *THEIRS, *keys)
    assert status == 0, err
    for said in (
        "model          name=mlp",
        "sde            name=vp",
        "licence        CC BY 4.0",
        "own/points.safetensors",
    ):
        assert said in out
    model = load(tmp_path / "own" / "points.safetensors")
    x, t = torch.randn(3, 2), torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(model(x, t).x0, load(tmp_path / "foreign.pth", recipe="points")(x, t).x0)
    card = read(tmp_path / "own" / "points.safetensors")[1]
    assert card["about"]["source"] == {
        "file": "foreign.pth",
        "sha256": hashlib.sha256((tmp_path / "foreign.pth").read_bytes()).hexdigest(),
        "recipe": "points",
        "licence": "CC BY 4.0",
    }
    assert (card["model"]["name"], card["model"]["shape"], card["range"]) == ("mlp", [2], [-1.0, 1.0])
    assert (tmp_path / "run" / "convert.config.yaml").exists()
    refused(command("convert", *THEIRS, *keys), "out = own/points.safetensors exists: choose another")


def test_a_foreign_checkpoint_is_sampled_and_calibrated_as_it_is(command, foreign, tmp_path):
    status, out, err = command("sample", *THEIRS, "n=4", "steps=3", *HERE)
    assert status == 0, err
    assert "samples        run/samples.npy, (4, 2)" in out
    status, out, err = command("calibrate", *THEIRS, "steps=2", "paths=50", "batch=32", *HERE)
    assert status == 0, err
    assert "checkpoint=foreign.pth recipe=points" in out
    status, out, err = command("sample", *THEIRS, "n=4", "steps=2", "solver=calibrated", *HERE)
    assert status == 0, err


def test_what_cannot_be_converted_is_said(command, foreign, tmp_path):
    refused(command("convert"), "there is nothing to convert: give checkpoint=…")
    refused(command("convert", "checkpoint=none.pth"), "there is no checkpoint none.pth")
    refused(command("convert", "checkpoint=foreign.pth"), "foreign.pth cannot be loaded", "give recipe=…")
    refused(
        command("sample", "checkpoint=foreign.pth", "recipe=point"),
        "recipe = point does not exist: did you mean points?",
    )
    refused(command("convert", *THEIRS, "out=points.pth"), "it must be a .safetensors file")
    refused(command("convert", "checkpoint=foreign.pth", "recipe=digits"), "foreign.pth cannot be loaded")
    (tmp_path / "page.pth").write_bytes(b"<!doctype html><title>404</title>")
    refused(command("sample", "checkpoint=page.pth"), "page.pth is a web page, not a checkpoint")
    shutil.copy(tmp_path / "foreign.pth", tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "foreign.pth").read_bytes()[:5000])
    refused(command("sample", "checkpoint=cut.pth"), "cut.pth is truncated: it ends at byte 5000")
    torch.save({"theirs": {"a": float("nan")}}, tmp_path / "odd.pth")
    refused(command("sample", "checkpoint=odd.pth", "recipe=points"), "odd.pth cannot be loaded")
    assert not (tmp_path / "outputs").exists() or not any((tmp_path / "outputs").rglob("*.safetensors"))


def test_our_own_checkpoint_needs_no_recipe(command, tmp_path):
    net = registry.build("model", "mlp", shape=(2,), classes=0)
    save(tmp_path / "own.safetensors", Denoiser(net, registry.build("sde", "vp"), registry.build("param", "eps")))
    refused(command("sample", "checkpoint=own.safetensors", "recipe=points"), "own.safetensors describes itself")
