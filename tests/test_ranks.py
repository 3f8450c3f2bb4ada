"""Several processes train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scoresde.store import read
from scoresde.training import CHECKPOINT

ROOT = Path(__file__).parent.parent
# on a machine without a network, too
ALONE = {"OMP_NUM_THREADS": "1"} | ({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {})
SCRIPT = """
import json, os, sys
import torch
from scoresde.data.base import Samples
from scoresde.registry import build
from scoresde.score import Denoiser
from scoresde.training import Training, fit

how, folder, double = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3] == "double"
torch.set_num_threads(1)
torch.manual_seed(int(os.environ.get("RANK", "0")))  # what a process draws by itself must not show
x = torch.randn(101, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
torch.set_default_dtype(torch.float64 if double else torch.float32)
torch.manual_seed(0)
net = build("model", {"name": "mlp", "width": 32, "depth": 2}, shape=(2,), classes=3)
net.unused = torch.nn.Parameter(torch.zeros(3))  # as of EDM2's head
model = Denoiser(net, build("sde", "vp"), build("param", "eps"))
data = Samples(x.to(torch.get_default_dtype()), torch.arange(101) % 3, spacing=0.1)
run = fit(model, data, build("loss", "dsm"), Training(**how), folder, resume=len(sys.argv) > 4)
losses = [[now.loss, now.gradient] for now in run]
with open(f"{folder}/{os.environ.get('RANK', '0')}.json", "w") as file:
    json.dump(losses, file)
"""
HOW = {"steps": 100, "batch": 15, "warmup": 4, "save_every": 50, "lr": 1e-3, "labels": True}


def train(folder, ranks, how=HOW, precision="single", *resume):
    """The losses and gradient norms that each process saw."""
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
    command = [sys.executable, *launch, folder / "script.py", json.dumps(how), folder, precision, *resume]
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env=environment | ALONE)
    assert done.returncode == 0, done.stderr
    return [torch.tensor(json.loads((folder / f"{rank}.json").read_text())).double() for rank in range(ranks)]


@pytest.mark.parametrize(("precision", "within"), [("single", 1e-5), ("double", 1e-12)])
def test_two_processes_train_as_one(tmp_path, precision, within):
    """With a batch that the processes share unevenly, and data that the batch does not divide."""
    (alone,) = train(tmp_path / "one", 1, HOW, precision)
    first, second = train(tmp_path / "two", 2, HOW, precision)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, alone, rtol=within, atol=0)
    one, two = (read(tmp_path / name / CHECKPOINT)[0] for name in ("one", "two"))
    torch.testing.assert_close(one, two, rtol=10 * within, atol=10 * within)


def test_a_batch_in_parts_is_the_batch(tmp_path):
    how = HOW | {"steps": 30, "flip": True, "dequantize": True}
    (whole,) = train(tmp_path / "whole", 1, how, "double")
    (parts,) = train(tmp_path / "parts", 1, how | {"accumulate": 4}, "double")
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
    both, _ = train(tmp_path / "both", 2, how | {"accumulate": 3}, "double")
    torch.testing.assert_close(both, whole, rtol=1e-12, atol=0)


def test_two_processes_resume_what_one_began(tmp_path):
    (alone,) = train(tmp_path / "one", 1)
    train(tmp_path / "two", 1, HOW | {"steps": 50})
    resumed, _ = train(tmp_path / "two", 2, HOW, "single", "resume")
    torch.testing.assert_close(resumed, alone[50:], rtol=1e-5, atol=0)
