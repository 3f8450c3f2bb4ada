"""The commands, as a user types them."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.test_ranks import ALONE

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
    code, out, err = result
    assert out == ""  # a refusal comes before anything else
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
        "trajectory=true",
        "hydra.run.dir=drawn",
    )
    assert status == 0, err
    drawn = tmp_path / "drawn"
    x, states, times = (np.load(drawn / f"{name}.npy", allow_pickle=False) for name in ("samples", "states", "times"))
    assert x.shape == (40, 1, 8, 8)
    assert x.min() >= -1
    assert x.max() <= 1
    assert out.count("on cpu: 11 network evaluations a sample") == 1
    assert out.count("NFE            11 network evaluations a sample") == 1
    assert out.count("16 at a time: 8 more than asked for are drawn") == 1
    assert (drawn / "samples.png").exists()
    assert (drawn / "trajectory.gif").exists()
    assert states.shape == (7, *x.shape)
    assert np.array_equal(states[-1], x)
    assert times.tolist() == [1.0, *sorted(times[1:-1], reverse=True), 0.0]
    assert "drawn/states.npy, (7, 40, 1, 8, 8), at the times of times.npy" in out

    status, out, err = command("evaluate", "samples=drawn/samples.npy", "metric=[energy,nearest]", "hydra.run.dir=said")
    assert status == 0, err
    figures = json.loads((tmp_path / "said" / "metrics.json").read_text())
    assert all(np.isfinite(v) for v in figures.values())
    for name in figures:
        assert name in out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network that has learnt nothing yet, of digits with labels."""
    from scoresde import registry
    from scoresde.checkpoint import save
    from scoresde.score import Denoiser

    net = registry.build("model", {"name": "mlp", "width": 16, "depth": 1}, shape=(1, 8, 8), classes=10)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save(path, Denoiser(net, registry.build("sde", "vp"), registry.build("param", "v"), (-1.0, 1.0)))
    return f"checkpoint={path}"


@pytest.fixture
def draw(command, checkpoint, tmp_path):
    """Sample from it: the samples, and what was said."""

    def run(*arguments):
        status, out, err = command("sample", checkpoint, "device=cpu", "hydra.run.dir=drawn", *arguments)
        assert status == 0, err
        return np.load(tmp_path / "drawn" / "samples.npy"), out

    return run


def test_seeds_are_named(draw, tmp_path):
    x, out = draw("seeds=0-15", "steps=2", "batch=8", "solver=ddim")
    assert x.shape[0] == 16
    assert "sample i of a seed has label (seed + i) mod 10" in out
    assert "at a time" not in out  # nothing is padded
    assert not (tmp_path / "drawn" / "trajectory.gif").exists()
    for names, wanted in (
        ("seeds=[0,3,7-9]", [0, 3, 7, 8, 9]),
        ("seeds='0,3, 12-13'", [0, 3, 12, 13]),
        ("seeds=5", [5]),
    ):
        some, _ = draw(names, "steps=2", "batch=8", "solver=ddim")
        assert np.array_equal(some, x[wanted])
    for seed in ("seed=9", "seeds=9"):  # its label too
        one, _ = draw(seed, *["n=1"] * (seed == "seed=9"), "steps=2", "batch=8", "solver=ddim")
        assert np.array_equal(one[0], x[9])
    later, _ = draw("seed=9", "n=3", "steps=2", "batch=8", "solver=ddim")
    assert np.array_equal(later[2], draw("seed=9", "n=3", "label=1", "steps=2", "batch=8", "solver=ddim")[0][2])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seeds=9-3"], ["seeds = 9-3", "seeds=0-15 or seeds=[0,3,7-9]"]),
        (["seeds=first"], ["seeds = first", "must name seeds"]),
        (["seeds=-3"], ["seeds = -3", "must name seeds"]),
        (["seeds=[1.5]"], ["seeds = [1.5]", "must name seeds"]),
        (["seeds=[]"], ["seeds = []", "must name seeds"]),
        (["seeds=true"], ["seeds = True", "must name seeds"]),
        (["seeds=0-999999999999"], ["a million at most"]),
        (["seeds=99999999999999999999"], ["seed = 99999999999999999999", "2**64"]),
        (["seeds=0,3"], ["--multirun"]),
        (["seeds=0-3", "n=3"], ["n = 3 and seeds = 0-3, of 4"]),
        (["seeds=0-3", "seed=3"], ["seed = 3 and seeds = 0-3"]),
        (["batch=0"], ["batch = 0"]),
        (["animate=true"], ["animate"]),
        (["grid.rho=5"], ["grid.rho needs a grid", "karras"]),
        (["grid=explicit"], ["Explicit has no times", "grid.times=[1.0,0.5,0.1]"]),
        (["grid=explicit", "grid.times=[1.0,0.5]", "steps=4"], ["steps = 4", "leave steps out"]),
        (["grid=explicit", "grid.times=[0.5,1.0]"], ["Explicit.times = (0.5, 1.0)", "falling"]),
        (["grid=explicit", "grid.times=[2.0,1.0]"], ["t = 2 is outside VP"]),
        (["grid=discrete", "steps=1001"], ["its chain has 1000; take fewer"]),
        (["grid=discrete", "grid.spacing=middling"], ["middling", "leading"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_sampling_keys_are_one_line(command, checkpoint, tmp_path, arguments, words):
    refused(command("sample", checkpoint, "device=cpu", *arguments), *words)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_grids_are_chosen(draw):
    default, _ = draw("n=3", "steps=4")
    assert np.array_equal(default, draw("n=3", "steps=4", "grid=regular")[0])
    assert not np.array_equal(default, draw("n=3", "steps=4", "grid=karras", "grid.rho=5")[0])
    _, out = draw("n=3", "grid=explicit", "grid.times=[1.0,0.5,0.1]", "solver=ddim")
    assert "steps=3, on cpu: 3 network evaluations a sample" in out
    assert "NFE            3 network" in out
    assert "the grid starts" not in out
    _, out = draw("n=3", "grid=discrete", "grid.spacing=leading", "steps=5", "solver=heun")
    assert "the grid starts at t = 0.801, not at t_max = 1" in out


def test_nfe_is_declared_and_counted(draw):
    for arguments, wanted in ((["solver=dpm_solver"], 5), (["solver=dpm_solver", "denoise=false"], 6)):
        out = draw("n=5", "steps=3", "batch=2", *arguments)[1]
        assert out.count(f"{wanted} network evaluations a sample") == 2
        assert "declares" not in out
    out = draw("n=2", "steps=2", "solver=ode", "solver.rtol=0.1", "solver.atol=0.1")[1]
    assert "as many network evaluations as it takes" in out
    assert out.count("network evaluations a sample") == 1


def test_a_compiled_network_draws_the_same(draw, monkeypatch):
    """By a compiler that takes no time; test_compiling_for_real takes the real one."""
    import torch

    graphs = []

    def quickly(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda run, **keys: compiled(run, backend=quickly, fullgraph=True, **keys))
    x, out = draw("n=5", "steps=2", "batch=4", "seed=2", "compile=true")
    assert "compiled       in " in out
    assert "NFE            2 network evaluations a sample" in out
    assert len(graphs) == 1, "one graph, whatever the time: scales of input and output, and the network"
    np.testing.assert_allclose(x, draw("n=5", "steps=2", "batch=4", "seed=2")[0], atol=1e-5)


def test_a_network_that_does_not_compile_is_refused(command, checkpoint, monkeypatch):
    import torch

    def fails(*_, **__):
        raise RuntimeError("there is no g++\nsomewhere deep")

    monkeypatch.setattr(torch, "compile", lambda run, **keys: fails)
    status, _, err = command("sample", checkpoint, "device=cpu", "compile=true")  # which takes time: it is said before
    refused((status, "", err), "(there is no g++)", "compile=false")


@pytest.mark.slow
def test_compiling_for_real(draw):
    x, out = draw("n=5", "steps=2", "seed=2", "compile=true")
    assert "compiled       in " in out
    np.testing.assert_allclose(x, draw("n=5", "steps=2", "seed=2")[0], atol=1e-5)


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
    assert "sample i of a seed has label (seed + i) mod 10" in out
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


def ours(path):
    """Whether a recipe is for data that we have: a paper's own says in its second line what it wants."""
    return "\n# data: " not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "recipe", sorted(path.stem for path in (ROOT / "scoresde/conf/experiment").glob("*.yaml") if ours(path))
)
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


def test_images_of_a_folder_train_and_are_evaluated(command, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(16):
            pixels = np.random.default_rng(i).integers(0, 256, (4, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / label / f"{i}.png")
    (tmp_path / "pets" / "cat" / "broken.png").write_bytes(b"")
    data = ["data=folder", "data.path=pets", "data.on_error=skip"]
    status, _, err = command("train", *SMALL, *data, "labels=true", "flip=true", "dequantize=true", "batch=8")
    assert status == 0, err
    assert "note: 1 of 33 images are skipped, the first because pets/cat/broken.png is no image" in err
    status, _, err = command("sample", "checkpoint=run/model.safetensors", "n=20", "steps=3", "label=1")
    assert status == 0, err
    status, out, err = command("evaluate", *data, "metric=energy")
    assert status == 0, err
    assert "32 of it" in out


def test_an_average_of_another_length(command, tmp_path):
    status, _, err = command("train", *SMALL, "ema=power", "steps=12", "save_every=2")
    assert status == 0, err
    status, out, err = command("ema", "checkpoint=run/model.safetensors", "length=0.07", "hydra.run.dir=again")
    assert status == 0, err
    assert "average        of length 0.07 at step 12" in out
    assert "checkpoint     run/model.ema-0.07.safetensors" in out
    status, _, err = command("sample", "checkpoint=run/model.ema-0.07.safetensors", "n=2", "steps=3")
    assert status == 0, err
    refused(command("ema", "checkpoint=run/model.safetensors", "length=1"), "length = 1.0", "[0.001, 0.28)")
    refused(command("ema", "checkpoint=run/model.safetensors", "step=3"), "step = 3 has no snapshot: there are 2, 4")
    here = f"out={tmp_path / 'run' / 'model.safetensors'}"
    refused(command("ema", "checkpoint=run/model.safetensors", here), "it must be another .safetensors file")
    refused(command("ema", "checkpoint=run/model.safetensors", "out=x.pt"), "out = x.pt", ".safetensors")
    refused(command("ema", "checkpoint=none.safetensors"), "there is no checkpoint none.safetensors")


def test_only_training_takes_several_processes(command, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(command("sample"), "sample.py is one process: start it without torchrun")


def test_two_processes_are_one_run(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", ROOT / "train.py"]
    environment = os.environ | ALONE | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*launch, *TINY, "device=cpu"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("training sde=vp") == done.stdout.count("checkpoint ") == 1
    assert "on cpu, 2 processes, in outputs/" in done.stdout
    assert done.stderr.count("6/6") == 1
    (folder,) = (tmp_path / "outputs" / "train").iterdir()
    assert len((folder / "loss.csv").read_text().splitlines()) == 7
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}


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
        (["ema=0.999"], ["ema=0.999 does not exist", "decay"]),
        (["precision=fp16"], ["Training.precision = 'fp16'", "bf16"]),
        (["batch=8", "accumulate=9"], ["batch = 8 is too small", "accumulate = 9"]),
        (["data=points", "dequantize=true"], ["dequantize=true needs data of equally spaced levels"]),
        (["data=folder"], ["data=folder needs a folder", "data.path="]),
        (["data=archive", "data.path=x.zip"], ["data.path = x.zip: there is no such file"]),
        (["data=array", "data.path=x.csv"], ["data.path = x.csv", ".npy"]),
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
    refused((result[0], "", result[2].splitlines()[-1]), "stopped at step", "try a lower lr", status=1)


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
                assert len([line for line in out.splitlines() if line.split()[:1] == [option]]) >= 1
                assert " ".join(registry.summary(group, option).split()) in " ".join(out.split())
    assert "loss/weighting" in command("train", "--help")[1]
    assert "digits" in command("train", "--help")[1]
    assert "solver/predictor" in command("sample", "--help")[1]


@pytest.mark.parametrize("name", ["train", "sample", "evaluate", "calibrate"])
def test_help_fits_a_terminal(command, name):
    _, out, _ = command(name, "--help")
    assert max(map(len, out.splitlines())) <= 110
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_help_says_of_each_solver_what_is_so(command):
    """Order, NFE and kind, read without importing it, are those of the solver."""
    from scoresde import registry
    from scoresde.sampling import evaluations, times

    process, grid = registry.build("sde", "vp"), registry.build("grid", "log_snr")
    _, out, _ = command("sample", "--help")
    kinds = {
        "deterministic": "ODE",
        "deterministic or stochastic": "ODE or SDE",
        "stochastic": "SDE",
        "adaptive": "adaptive",
        "parallel in time": "parallel",
    }
    said, kind = {}, None
    for line in out.partition("\nsolver/")[0].splitlines():
        if line.startswith("  ") and line[2] != " ":
            kind = kinds.get(re.split("[,:]", line.strip())[0])
        elif line[:4].isspace() and line[4:5].strip():
            said[line.split()[0]] = (line[24:30].strip(), line[30:42].strip(), kind)
    assert set(said) == set(registry.names("solver"))
    for name, (order, nfe, kind) in said.items():
        solver = registry.build("solver", name)
        weak, strong = solver.weak_order, solver.order
        declared = evaluations(solver, times(process, solver, 20, grid))
        orders = [] if solver.adaptive else dict.fromkeys(str(p) for p in (strong, weak) if p)
        assert order == ("/".join(orders) or "–"), name
        if declared is None:
            assert nfe == "as needed"
            assert kind == ("adaptive" if solver.adaptive else "parallel")
        else:
            each, rest = re.fullmatch(r"(\d+)/step(?: ([+−] \d+))?", nfe).groups()
            more = int((rest or "0").replace("−", "-").replace(" ", ""))
            assert declared == 20 * int(each) + more, name
            assert kind == ("ODE" if weak is None else "SDE" if strong is None else "ODE or SDE"), name


@pytest.mark.parametrize("field", ["base", "predictor", "corrector"])
def test_what_is_offered_within_a_solver_is_taken(command, own, field):
    """By --help, by the list in an error, and by the command line: the same, and no more than is not refused."""
    from scoresde import registry
    from scoresde.errors import InputError

    holder = "picard" if field == "base" else "predictor_corrector"
    fit = []
    for name in registry.names("solver"):
        try:
            registry.build("solver", {"name": holder, field: name})
        except InputError:
            continue
        fit += [name] if name != holder else []
    _, out, _ = command("sample", "--help")
    assert out.partition(f"solver/{field} [")[2].partition("\n")[2].partition("\n\n")[0].split() == (
        ", ".join(fit).split()
    )
    _, _, err = command("sample", own, f"solver={holder}", f"solver/{field}=zzz")
    assert err.strip().strip(")").endswith(f"there are: {', '.join(fit)}")


def test_help_leaves_open_what_a_user_s_solver_computes(command, tmp_path, monkeypatch):
    """The source says nothing of the numbers: none are shown."""
    from scoresde import registry

    (tmp_path / "theirs" / "solver").mkdir(parents=True)
    (tmp_path / "theirs" / "__init__.py").touch()
    for name, order in (("plain", "order = 7"), ("hidden", "order = property(lambda self: 3)")):
        (tmp_path / "theirs" / "solver" / f"{name}.py").write_text(
            f'"""A solver of ours."""\nfrom scoresde.solver.base import StepSolver\n__all__ = ["Ours"]\n'
            f"class Ours(StepSolver):\n    {order}\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_packages", ["scoresde", "theirs"])
    _, out, _ = command("sample", "--help")
    registry._folder.cache_clear()
    (others,) = re.findall(r"\n  others\n((?:    .*\n)+)", out)
    assert others.split() == ["hidden", "A", "solver", "of", "ours."]
    assert re.search(r"\n    plain +7 +1/step \+ 1 +A solver of ours\.", out.partition("  others")[0])


def test_help_does_not_wait_for_torch():
    for name in ("train", "sample", "calibrate", "convert"):
        code = f"import sys; sys.argv = ['{name}.py', '--help']; from scoresde.cli.{name} import main; main(); "
        code += "assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def test_cfg_job_prints_the_whole_configuration(command):
    status, out, err = command("train", "sde=ve", "--cfg", "job")
    assert status == 0, err
    config = yaml.safe_load(out)
    assert config["sde"] == {"name": "ve", "sigma_min": 0.01, "sigma_max": 50.0, "t_min": 1e-5, "t_max": 1.0}
    assert config["loss"]["weighting"]["name"] == "std2"


@pytest.mark.parametrize("script", ["train", "sample", "evaluate", "calibrate", "convert", "ema"])
def test_the_scripts_run(script):
    done = subprocess.run(
        [sys.executable, f"{script}.py", "--help"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert f"scoresde-{script}" in done.stdout


@pytest.fixture
def own(checkpoint, tmp_path):
    """The checkpoint, in this test's folder."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.safetensors").write_bytes(Path(checkpoint.removeprefix("checkpoint=")).read_bytes())
    return "checkpoint=own/model.safetensors"


FEW = ["paths=50", "batch=32", "device=cpu", "hydra.run.dir=fitted"]


def test_calibrate_and_sample(command, own, tmp_path):
    """What calibrate.py leaves beside a checkpoint sample.py finds, and says which there are where it does not."""
    from scoresde.store import read

    calibrated = ["solver=calibrated", "n=4", "device=cpu", "hydra.run.dir=drawn"]
    refused(
        command("sample", own, *calibrated), "there is none for any: make it with python calibrate.py checkpoint=own"
    )
    refused(
        command("sample", own, *calibrated, "steps=4"), "has no calibration for steps = 4", "model.safetensors steps=4"
    )

    status, out, err = command("calibrate", own, "steps=4", *FEW)
    assert status == 0, err
    assert "path i has label i mod 10" in out
    for what in ("calibrated", "default solver", "accurate paths"):
        (row,) = (line for line in out.splitlines() if line.startswith(f"  {what} "))
        assert all(float(number) >= 0 for number in row.removeprefix(f"  {what}").split())
    about = read(tmp_path / "own" / "model.calibrated-4.safetensors")[1]["about"]
    assert ("it helps" in out) == about["helps"]
    assert ("it does not help" in out) != about["helps"]
    _, _, following = out.partition("next           python ")
    assert following.split() == ["sample.py", "solver=calibrated", "steps=4", own]
    assert yaml.safe_load((tmp_path / "fitted" / "calibrate.config.yaml").read_text())["paths"] == 50
    assert {p.name for p in (tmp_path / "own").iterdir()} == {"model.safetensors", "model.calibrated-4.safetensors"}

    for steps in (["steps=4"], []):  # the only one there
        status, out, err = command("sample", own, *calibrated, *steps)
        assert status == 0, err
        assert "solver=calibrated steps=4, on cpu: 4 network evaluations a sample" in out
        assert "NFE            4 network" in out
    kept = yaml.safe_load((tmp_path / "drawn" / "sample.config.yaml").read_text())
    assert kept["solver"] == {"name": "calibrated", "file": "own/model.calibrated-4.safetensors"}

    refused(command("sample", own, *calibrated, "steps=5"), "for steps = 5, there are those for steps = 4: make it")
    refused(command("sample", own, *calibrated, "denoise=false"), "leave steps, grid and denoise out")
    status, out, err = command("calibrate", own, "steps=3", "label=2", *FEW)
    assert status == 0, err
    assert "path i" not in out
    refused(command("sample", own, *calibrated), "there are those for steps = 3, 4: make it")
    for label, noted in (("label=2", False), ("label=null", True)):
        status, out, err = command("sample", own, *calibrated, "steps=3", label)
        assert status == 0, err
        assert ("was made for label 2: on others it is less accurate" in out) == noted


def test_a_calibration_of_another_version_is_refused(command, own, tmp_path):
    from scoresde import checkpoint

    status, _, err = command("calibrate", own, "steps=2", *FEW)
    assert status == 0, err
    path = tmp_path / "own" / "model.safetensors"
    model = checkpoint.load(path)
    next(model.parameters()).data.add_(1e-3)
    checkpoint.save(path, model)
    calibrated = ["sample", own, "solver=calibrated", "n=4", "device=cpu", "hydra.run.dir=drawn"]
    refused(command(*calibrated), "model.calibrated-2.safetensors was made for another version", "steps=2")
    status, _, err = command(*calibrated, "solver.file=own/model.calibrated-2.safetensors")  # it was asked for by name
    assert status == 0, err
    (tmp_path / "own" / "model.calibrated-2.safetensors").write_bytes(b"x")
    refused(command(*calibrated), "model.calibrated-2.safetensors is not a whole safetensors file")


def test_a_calibration_that_does_not_help_says_so(command, own, tmp_path, monkeypatch):
    from scoresde import calibration

    def useless(reverse, normal, path, targets, *_):
        return targets[0].new_ones(len(path) - 1, 1, len(normal.basis) + 1), targets[-1] + 100

    monkeypatch.setattr(calibration, "_fit", useless)
    status, out, err = command("calibrate", own, "steps=2", *FEW)
    assert status == 0, err
    assert "it does not help: the default solver is no farther off, and it is what the file holds" in out
    assert "it helps" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["checkpoint=nowhere.safetensors"], ["there is no checkpoint nowhere.safetensors"]),
        (["steps=1"], ["steps = 1", "from 2 to 40"]),
        (["paths=-3"], ["paths = -3", "from 50"]),
        (["label=10"], ["label = 10, but the model has labels 0 to 9"]),
        (["rank=x"], ["rank"]),
        (["solver=heun"], ["solver"]),
        (["device=abacus"], ["abacus", "device=auto"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bad_calibration_keys_are_one_line(command, own, tmp_path, arguments, words):
    refused(command("calibrate", own, "paths=50", *arguments), *words)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["model.safetensors"]
