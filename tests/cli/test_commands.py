"""The commands, as a user types them."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TINY = ["model=mlp", "model.width=16", "model.depth=1", "steps=6", "batch=32", "warmup=2", "save_every=4"]
SMALL = [*TINY, "preview_every=4", "device=cpu", "hydra.run.dir=run"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command in this process, in an empty folder: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCORESDE_DEBUG", raising=False)

    def run(name, *arguments):
        from importlib import import_module

        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        status = 0
        try:
            import_module(f"scoresde.cli.{name}").main()
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def refused(result, *words, status=2):
    code, _, err = result
    lines = [line for line in err.splitlines() if line]
    assert code == status, err
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_train_sample_evaluate(command, tmp_path):
    status, out, err = command("train", "sde=vp", *SMALL)
    assert status == 0, err
    run = tmp_path / "run"
    for name in ("model.safetensors", "resume.safetensors", "loss.csv", "loss.png", "train.config.yaml", "previews"):
        assert (run / name).exists(), name
    assert out.count("checkpoint     run/model.safetensors") == 1
    assert out.count("training sde=vp") == 1
    assert "loss=" in err
    assert yaml.safe_load((run / "train.config.yaml").read_text())["sde"]["beta_max"] == 20.0
    assert len(list(csv.reader((run / "loss.csv").open()))) == 7

    status, out, err = command(
        "sample",
        "checkpoint=run/model.safetensors",
        "solver=heun",
        "steps=5",
        "n=40",
        "batch=16",
        "hydra.run.dir=drawn",
    )
    assert status == 0, err
    x = np.load(tmp_path / "drawn" / "samples.npy", allow_pickle=False)
    assert x.shape == (40, 1, 8, 8)
    assert x.min() >= -1
    assert x.max() <= 1
    assert out.count("11 network evaluations") == 1
    assert (tmp_path / "drawn" / "samples.png").exists()
    assert (tmp_path / "drawn" / "trajectory.gif").exists()

    status, out, err = command("evaluate", "samples=drawn/samples.npy", "metric=[energy,nearest]", "hydra.run.dir=said")
    assert status == 0, err
    figures = json.loads((tmp_path / "said" / "metrics.json").read_text())
    assert all(np.isfinite(v) for v in figures.values())
    for name in figures:
        assert name in out


def test_points_and_labels(command, tmp_path):
    assert command("train", "data=points", "data.kind=rings", *SMALL)[0] == 0
    assert command("sample", "checkpoint=run/model.safetensors", "steps=3", "n=8", "hydra.run.dir=drawn")[0] == 0
    assert np.load(tmp_path / "drawn" / "samples.npy").shape == (8, 2)
    assert (tmp_path / "drawn" / "samples.png").exists()
    refused(command("sample", "checkpoint=run/model.safetensors", "label=1"), "label = 1", "labels=true")
    refused(command("evaluate", "samples=drawn/samples.npy"), "(2,)", "(1, 8, 8)")
    status, out, _ = command("evaluate", "samples=drawn/samples.npy", "data=points", "data.n=200")
    assert status == 0
    assert "classifier is left out" in out
    assert "energy distance" in out

    labelled = "checkpoint=labelled/model.safetensors"
    assert command("train", "labels=true", *SMALL[:-1], "hydra.run.dir=labelled")[0] == 0
    assert command("sample", labelled, "label=3", "steps=2", "hydra.run.dir=three")[0] == 0
    status, out, _ = command("sample", labelled, "steps=2", "n=20", "hydra.run.dir=all")
    assert status == 0
    assert "sample i has label i mod 10" in out
    refused(command("sample", labelled, "label=10"), "label = 10", "0 to 9")


def test_the_newest_checkpoint_and_samples_are_found(command, tmp_path):
    refused(command("sample"), "there is no model.safetensors under outputs/", "train.py")
    refused(command("evaluate"), "there is no samples.npy under outputs/", "sample.py")
    assert not list(tmp_path.rglob("*.yaml"))
    assert command("train", *SMALL[:-1])[0] == 0
    (run,) = (tmp_path / "outputs" / "train").iterdir()
    assert command("train", "name=later", *SMALL[:-1])[0] == 0
    status, out, _ = command("sample", "steps=2", "n=4")
    assert status == 0
    assert "outputs/later/" in out
    assert str(run) not in out
    assert command("evaluate", "metric=[energy]")[0] == 0


def test_resume_goes_on_where_it_stopped(command, tmp_path):
    assert command("train", "sde=ve", *SMALL)[0] == 0
    assert (
        command("train", "sde=ve", *[a for a in SMALL[:-1] if a != "steps=6"], "steps=10", "hydra.run.dir=long")[0] == 0
    )
    status, out, err = command("train", "resume=run", "steps=10")
    assert status == 0, err
    assert "sde=ve" in out
    assert (tmp_path / "run" / "loss.csv").read_text() == (tmp_path / "long" / "loss.csv").read_text()
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        tmp_path / "long" / "model.safetensors"
    ).read_bytes()
    refused(command("train", "resume=run", "sde=vp", "steps=12"), "trained with sde")
    refused(command("train", "resume=run", "data=points", "steps=12"), "trained with data")
    refused(command("train", "resume=run", "seed=1", "steps=12"), "trained with seed = 0, not 1")
    refused(command("train", "resume=run"), "has 10 steps already")
    refused(command("train", "resume=nowhere"), "nowhere", "no checkpoint")


def test_tensorboard_logs_too(command, tmp_path):
    assert command("train", "tensorboard=true", *SMALL)[0] == 0
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert events.stat().st_size > 100


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (ROOT / "scoresde/conf/experiment").glob("*.yaml")))
def test_every_recipe_trains(command, recipe):
    small = ["steps=1", "batch=8", "device=cpu"]
    status, out, err = command("train", f"experiment={recipe}", *small)
    assert status == 0, err
    assert f"outputs/{recipe}/" in out


def test_multirun(command, tmp_path):
    status, _, err = command("train", "--multirun", "sde=vp,ve", *SMALL[:-1], "hydra.sweep.dir=many")
    assert status == 0, err
    for job, name in (("0", "vp"), ("1", "ve")):
        assert yaml.safe_load((tmp_path / "many" / job / "train.config.yaml").read_text())["sde"]["name"] == name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sde=vpp"], ["sde=vpp does not exist", "did you mean vp?", "rectified"]),
        (["sdee=vp"], ["sdee", "did you mean sde?"]),
        (["loss/weighting=std"], ["loss/weighting=std", "did you mean std2?"]),
        (["experiment=digit"], ["did you mean digits?"]),
        (["sde.bta_min=3"], ["sde.bta_min", "did you mean beta_min?"]),
        (["+sde.bta_min=3"], ["bta_min", "did you mean beta_min?"]),
        (["+model.typo=3"], ["model=mlp has no field typo"]),
        (["+typo=3"], ["there is no key typo"]),
        (["stps=3"], ["stps", "did you mean steps?"]),
        (["sde.beta_min=x"], ["sde.beta_min=x", "Float"]),
        (["steps=many"], ["steps=many", "Integer"]),
        (["sde.beta_min=-1"], ["VP.beta_min = -1.0", ">= 0"]),
        (["sde.beta_min=nan"], ["VP.beta_min = nan"]),
        (["sde=ve", "sde.sigma_min=60"], ["VE.sigma_max = 50.0", "> sigma_min = 60.0"]),
        (["sde.t_min=2"], ["VP.t_max = 1.0", "> t_min = 2.0"]),
        (["sde=double_well"], ["GaussianSDE", "DoubleWell", "sde=vp"]),
        (["steps=0"], ["Training.steps = 0", ">= 1"]),
        (["lr=nan"], ["lr = nan"]),
        (["batch=100000"], ["batch = 100000", "1797"]),
        (["device=tpu"], ["device = 'tpu'", "device=auto"]),
        (["data=points", "labels=true"], ["labels=true needs data with labels"]),
        (["data=points", "model=ncsnpp"], ["model=mlp"]),
        (["model=ncsnpp", "model.multipliers=[1,2,2,2,2]"], ["16"]),
        (["steps=3,4"], ["--multirun"]),
    ],
)
def test_bad_input_is_one_line_before_any_work(command, tmp_path, arguments, words):
    refused(command("train", "model=mlp", *arguments), *words)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_bad_sampling_is_refused(command, tmp_path):
    assert command("train", *SMALL)[0] == 0
    checkpoint = "checkpoint=run/model.safetensors"
    refused(command("sample", checkpoint, "steps=0"), "steps = 0")
    refused(command("sample", checkpoint, "n=0"), "n = 0")
    refused(command("sample", checkpoint, "seed=-1"), "seed = -1")
    refused(command("sample", checkpoint, "solver=hean"), "did you mean heun?")
    refused(command("sample", checkpoint, "solver=ode", "solver.method=rk5"), "rk5")
    refused(command("sample", checkpoint, "solver=predictor_corrector", "solver/predictor=ode"), "solver/predictor=ode")
    refused(command("sample", checkpoint, "solver=predictor_corrector", "solver.corrector.snr=0"), "snr = 0.0")
    refused(command("sample", "checkpoint=none.safetensors"), "there is no checkpoint none.safetensors")
    whole = (tmp_path / "run" / "model.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(command("sample", "checkpoint=half.safetensors"), "half.safetensors", "truncated")
    assert not list(tmp_path.rglob("samples.npy"))


def test_a_diverging_run_says_where(command):
    result = command(
        "train", *SMALL[:-1], "lr=1e30", "warmup=0", "hydra.run.dir=run", "sde=ve", "clip=1e30", "steps=50"
    )
    refused((*result[:2], result[2].splitlines()[-1]), "stopped at step", "try a lower lr", status=1)


def test_debug_shows_the_traceback(command, monkeypatch):
    from scoresde.errors import InputError

    monkeypatch.setenv("SCORESDE_DEBUG", "1")
    with pytest.raises(InputError, match="beta_min"):
        command("train", "model=mlp", "sde.beta_min=-1")


def test_help_names_every_group_option_and_key(command):
    from scoresde import registry

    for name, groups in (("train", ["sde", "model", "param", "loss", "data"]), ("sample", ["solver", "grid"])):
        status, out, _ = command(name, "--help")
        assert status == 0
        for group in groups:
            for option in registry.names(group):
                (line,) = (
                    text
                    for text in out.splitlines()
                    if text.split()[:1] == [option] and registry.summary(group, option) in text
                )
                assert len(line) > len(option) + 10
    assert "loss/weighting" in command("train", "--help")[1]
    assert "digits" in command("train", "--help")[1]
    assert "solver/predictor" in command("sample", "--help")[1]


def test_help_does_not_wait_for_torch():
    code = "import sys; sys.argv = ['train.py', '--help']; import scoresde.cli.train as train; train.main(); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def test_cfg_job_prints_the_whole_configuration(command):
    status, out, err = command("train", "sde=ve", "--cfg", "job")
    assert status == 0, err
    config = yaml.safe_load(out)
    assert config["sde"] == {"name": "ve", "sigma_min": 0.01, "sigma_max": 50.0, "t_min": 1e-5, "t_max": 1.0}
    assert config["loss"]["weighting"]["name"] == "std2"


@pytest.mark.parametrize("script", ["train", "sample", "evaluate"])
def test_the_scripts_run(script):
    done = subprocess.run(
        [sys.executable, f"{script}.py", "--help"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert f"scoresde-{script}" in done.stdout
