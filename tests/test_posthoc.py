import shutil

import pytest
import torch

from scoresde.checkpoint import load
from scoresde.data.base import Samples
from scoresde.ema.power import Power
from scoresde.errors import InputError
from scoresde.posthoc import reconstruct, shares
from scoresde.registry import build
from scoresde.score import Denoiser
from scoresde.store import write
from scoresde.training import CHECKPOINT, Training, fit

HOW = Training(steps=240, batch=16, warmup=1, lr=3e-3, save_every=20)
DATA = Samples(torch.randn(100, 2, generator=torch.Generator().manual_seed(0)))


def train(folder, ema, how=HOW, resume=False):
    torch.manual_seed(0)
    net = build("model", {"name": "mlp", "width": 16, "depth": 1}, shape=(2,), classes=0)
    model = Denoiser(net, build("sde", "vp"), build("param", "eps"))
    for _ in fit(model, DATA, build("loss", "dsm"), how, folder, ema=ema, resume=resume):
        pass
    return folder / CHECKPOINT


def weights(model):
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("power"), Power())


@pytest.mark.parametrize("length", [0.04, 0.07, 0.15])
def test_any_length_is_had_afterwards(run, tmp_path, length):
    """It is what training would have averaged, had it been told: to a fraction of what lengths differ by."""
    model, step, off = reconstruct(run, length)
    assert step == 240
    assert off < 0.06
    told = weights(load(train(tmp_path, Power(length=length, other=0.2))))
    other = weights(load(run))
    assert (weights(model) - told).norm() < 0.1 * (other - told).norm()


def test_lengths_that_were_kept_come_back(run):
    model, _, off = reconstruct(run, 0.1)
    assert off < 1e-6
    torch.testing.assert_close(weights(model), weights(load(run)), rtol=1e-5, atol=1e-6)


def test_an_average_may_end_earlier(run, tmp_path):
    model, step, _ = reconstruct(run, 0.1, step=120)
    assert step == 120
    early = load(train(tmp_path, Power(), Training(**{**vars(HOW), "steps": 120})))
    torch.testing.assert_close(weights(model), weights(early), rtol=1e-4, atol=1e-5)


def test_a_resumed_run_has_the_same_snapshots(run, tmp_path):
    train(tmp_path, Power(), Training(**{**vars(HOW), "steps": 100}))
    again = train(tmp_path, Power(), resume=True)
    assert sorted(p.name for p in again.parent.glob("snapshots/*")) == sorted(
        p.name for p in run.parent.glob("snapshots/*")
    )
    for file in run.parent.glob("snapshots/*"):
        assert (tmp_path / "snapshots" / file.name).read_bytes() == file.read_bytes()


def test_shares_are_those_of_the_densities():
    """The sum of densities is nearest to the wanted one: moving any share makes it worse."""
    tau = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000

    def density(t, gamma):
        return torch.where(tau <= t, (gamma + 1) * tau**gamma / t ** (gamma + 1), 0.0)

    kept = [(k / 6, gamma) for k in range(1, 7) for gamma in (6.94, 16.97)]
    wanted = density(1.0, 11.0)
    share, off = shares(kept, (1.0, 11.0))
    rows = torch.stack([density(*each) for each in kept])
    error = wanted - torch.from_numpy(share) @ rows
    assert (error.square().mean() / wanted.square().mean()).sqrt().item() == pytest.approx(off, rel=1e-3)
    best = torch.linalg.lstsq(rows.T, wanted).solution
    least = (wanted - best @ rows).square().mean()
    assert error.square().mean() < 1.05 * least  # its shares need not be 1 together
    assert share.sum() == pytest.approx(1)


def test_what_cannot_be_averaged_is_said(run, tmp_path):
    with pytest.raises(InputError, match=r"length = 0\.5"):
        reconstruct(run, 0.5)
    with pytest.raises(InputError, match=r"step = 7 has no snapshot: there are 20, 40"):
        reconstruct(run, 0.1, step=7)
    plain = train(tmp_path, build("ema", "decay"), Training(**{**vars(HOW), "steps": 20}))
    with pytest.raises(InputError, match="train with ema=power"):
        reconstruct(plain, 0.1)


def test_another_run_in_the_folder_leaves_nothing_behind(run, tmp_path):
    short = Training(**{**vars(HOW), "steps": 60})
    train(tmp_path, Power(), short)
    train(tmp_path, Power(), Training(**{**vars(HOW), "steps": 40}))
    assert sorted(path.stem for path in tmp_path.glob("snapshots/*")) == ["step_000000020", "step_000000040"]
    _, step, _ = reconstruct(tmp_path / CHECKPOINT, 0.1)
    assert step == 40


def test_what_is_no_snapshot_is_said(run, tmp_path):
    shutil.copytree(run.parent, tmp_path / "run")
    checkpoint, folder = tmp_path / "run" / CHECKPOINT, tmp_path / "run" / "snapshots"
    shutil.copy(checkpoint, folder / "step_best.safetensors")  # passed over
    reconstruct(checkpoint, 0.1)
    shutil.copy(checkpoint, folder / "step_5.safetensors")
    with pytest.raises(InputError, match=r"step_5\.safetensors is no snapshot that ema=power kept"):
        reconstruct(checkpoint, 0.1)
    torch.manual_seed(0)
    (folder / "step_5.safetensors").unlink()
    other = Denoiser(
        build("model", {"name": "mlp", "width": 8, "depth": 1}, shape=(2,), classes=0),
        build("sde", "vp"),
        build("param", "eps"),
    )
    tensors = {f"{i}.{k}": v.clone() for i in (0, 1) for k, v in other.net.state_dict().items()}
    write(folder / "step_000000020.safetensors", tensors, {"exponents": [6.9, 17.0]})
    with pytest.raises(InputError, match="is a snapshot of another network"):
        reconstruct(checkpoint, 0.1)
