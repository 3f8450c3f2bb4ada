from dataclasses import replace

import pytest
import torch

from scoresde.batches import Batches
from scoresde.checkpoint import load
from scoresde.data.base import Samples, Source
from scoresde.ema.decay import Decay
from scoresde.errors import Diverged, InputError
from scoresde.registry import build
from scoresde.score import Denoiser
from scoresde.store import read
from scoresde.training import CHECKPOINT, RESUME, Training, fit

HOW = Training(steps=12, batch=16, warmup=4, save_every=6, lr=1e-3)


def model(dropout: float = 0.1, classes: int = 0) -> Denoiser:
    torch.manual_seed(0)
    net = build("model", {"name": "mlp", "width": 32, "depth": 2, "dropout": dropout}, shape=(2,), classes=classes)
    return Denoiser(net, build("sde", "vp"), build("param", "eps"))


DATA = Samples(torch.randn(100, 2, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 3)


def rows(count, step, how=HOW):
    return Batches(Samples(torch.zeros(count, 1)), how.batch, how.seed).rows(step)


def weights(m: Denoiser) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in m.parameters()])


def test_a_resumed_run_is_the_run_that_was_not_stopped(tmp_path):
    loss = build("loss", "dsm")
    whole = model()
    straight = [p.loss for p in fit(whole, DATA, loss, HOW, tmp_path / "a")]
    for progress in fit(model(), DATA, loss, HOW, tmp_path / "b"):
        if progress.step == 8:  # killed, two steps after the last save
            break
    torch.manual_seed(99)
    again = model()
    resumed = [p.loss for p in fit(again, DATA, loss, HOW, tmp_path / "b", resume=True)]
    assert resumed == straight[6:]
    assert torch.equal(weights(again), weights(whole))
    assert torch.equal(weights(load(tmp_path / "a" / CHECKPOINT)), weights(load(tmp_path / "b" / CHECKPOINT)))


def test_training_learns_a_gaussian(tmp_path):
    """E[ε | x] for data N(0, 0.5² I) is known; a trained network comes near it."""
    data = Samples(0.5 * torch.randn(50_000, 2, generator=torch.Generator().manual_seed(1)), None)
    how = Training(steps=400, batch=256, warmup=20, lr=3e-3)
    m = model(dropout=0.0)
    *_, last = fit(m, data, build("loss", "dsm"), how, tmp_path, ema=Decay(0.98))
    t = torch.tensor(0.3, dtype=torch.float64)
    alpha, var = m.sde.alpha(t), m.sde.var(t)
    x = torch.randn(500, 2) * (alpha**2 * 0.25 + var).sqrt()
    exact = var.sqrt() / (alpha**2 * 0.25 + var) * x
    with torch.no_grad():
        error = (last.average(x, t).eps - exact).square().mean().sqrt()
    assert error < 0.05  # of the noise's deviation, 1; the untrained network's is above 0.7


def test_a_loss_that_is_not_finite_stops_within_one_step(tmp_path):
    dsm = build("loss", "dsm")
    calls = 0

    def loss(m, x0, noise, cond=None):
        nonlocal calls
        calls += 1
        return dsm(m, x0, noise, cond) * (float("nan") if calls == 9 else 1.0)

    m = model()
    run = fit(m, DATA, loss, HOW, tmp_path)
    assert [next(run).step for _ in range(8)][-1] == 8
    good = weights(m).clone()
    with pytest.raises(
        Diverged, match=r"stopped at step 9, the loss is not finite \(loss nan.*model\.safetensors of step 6"
    ) as caught:
        next(run)
    assert "\n" not in str(caught.value)
    assert torch.equal(weights(m), good)  # the step that failed changed nothing
    assert read(tmp_path / RESUME)[1]["step"] == 6


def spoil(x):
    with torch.no_grad():
        x.view(-1)[0] = float("inf")


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("data", "the data is not finite"),
        ("noise", "what the network is given, the noised data, is not finite"),
        ("output", r"the output of blocks\.0 is not finite"),
        ("loss", "the loss is not finite"),
        ("gradient", r"the gradient of net\.head\.weight is not finite"),
        ("weight", r"the weight net\.head\.bias is not finite"),
        ("optimizer", r"the optimizer's exp_avg of net\.head\.bias is not finite"),
        ("average", r"the averaged weight net\.head\.bias is not finite"),
    ],
)
@pytest.mark.parametrize(("at", "parts"), [(5, 1), (6, 1), (5, 4)], ids=["between saves", "at a save", "in parts"])
def test_what_is_not_finite_is_named_within_a_step_and_never_saved(tmp_path, monkeypatch, what, says, at, parts):
    """Put in before step ``at``, saves at 3, 6, 9: it is told then, or, if that step brings it about, a step later."""
    data, m, dsm = Samples(DATA.x.clone()), model(dropout=0.0), build("loss", "dsm")
    on = False

    def loss(model, x0, noise, cond=None):
        if on and what == "noise":
            monkeypatch.setattr(type(noise), "normal", lambda self: torch.full(self.shape, float("nan")))
        return dsm(model, x0, noise, cond) * (float("inf") if on and what == "loss" else 1.0)

    m.net.blocks[0].register_forward_hook(lambda _, __, out: out * float("nan") if on and what == "output" else None)
    last = m.net.head
    last.weight.register_hook(lambda g: g * float("inf") if on and what == "gradient" else None)
    run = fit(m, data, loss, replace(HOW, save_every=3, accumulate=parts), tmp_path)
    for _ in range(at - 1):
        average = next(run).average
    on = True
    if what == "data":
        spoil(data.x)
        spoil(data.x[rows(100, at - 1)[0]])
    elif what == "weight":
        spoil(last.bias)
    elif what == "average":
        spoil(average.net.head.bias)
    elif what == "optimizer":
        optimizer = run.gi_frame.f_locals["optimizer"]
        spoil(optimizer.state[last.bias]["exp_avg"])
    if what in ("optimizer", "average") and at != 6:
        next(run)
    with pytest.raises(Diverged, match=says) as caught:
        next(run)
    assert "the last good checkpoint is" in str(caught.value)
    assert "of step 3" in str(caught.value)
    for file in (CHECKPOINT, RESUME):
        tensors, card = read(tmp_path / file)
        assert (card if file == RESUME else card["about"])["step"] == 3
        assert all(x.isfinite().all() for x in tensors.values())


def test_each_pass_takes_every_sample_once():
    how = replace(HOW, batch=7)
    taken = torch.cat([rows(10, step, how) for step in range(10)])
    for p in range(7):
        assert sorted(taken[10 * p : 10 * p + 10].tolist()) == list(range(10))


class Slow(Source):
    """The same data, row by row, as from a disk."""

    def __init__(self, inside, broken=None):
        self.inside, self.broken, self.asked = inside, broken, []

    def __len__(self):
        return len(self.inside)

    def take(self, rows):
        self.asked.append(rows)
        if len(self.asked) == self.broken:
            raise InputError("x.png cannot be decoded")
        return self.inside.take(rows)


def test_where_data_lie_changes_nothing(tmp_path):
    how, loss = replace(HOW, labels=True), build("loss", "dsm")
    in_memory, read_late = model(classes=3), model(classes=3)
    source = Slow(DATA)
    straight = [p.loss for p in fit(in_memory, DATA, loss, how, tmp_path / "a")]
    assert [p.loss for p in fit(read_late, source, loss, how, tmp_path / "b")] == straight
    assert torch.equal(weights(read_late), weights(in_memory))
    assert len(source.asked) == 1 + how.steps  # and once, to see whether there are labels


def test_what_cannot_be_loaded_stops_at_its_step(tmp_path):
    run = fit(model(), Slow(DATA, broken=9), build("loss", "dsm"), HOW, tmp_path)
    assert [next(run).step for _ in range(8)][-1] == 8  # what was read before is used
    with pytest.raises(InputError, match=r"x\.png"):
        next(run)


class Seen:
    """A loss that keeps what it is shown."""

    def __init__(self):
        self.x = []

    def __call__(self, m, x0, noise, cond=None):
        self.x.append(x0)
        return build("loss", "dsm")(m, x0, noise, cond)


def test_half_of_the_images_are_mirrored(tmp_path):
    data, seen = Samples(torch.arange(200.0).reshape(100, 2), None), Seen()
    how = replace(HOW, flip=True, steps=60)
    for _ in fit(model(), data, seen, how, tmp_path):
        pass
    x = torch.cat(seen.x)
    mirrored = (x[:, 0] > x[:, 1]).float()
    assert mirrored.mean().item() == pytest.approx(0.5, abs=4 * 0.5 / len(x) ** 0.5)
    assert torch.equal(x.amin(1) + 1, x.amax(1))
    first, again = seen.x[0], Seen()
    next(fit(model(), data, again, how, tmp_path / "again"))
    assert torch.equal(again.x[0], first)


def test_noise_fills_the_space_between_levels(tmp_path):
    levels = torch.randint(0, 17, (100, 2), generator=torch.Generator().manual_seed(0)) / 8 - 1
    seen = Seen()
    for _ in fit(model(), Samples(levels, spacing=1 / 8), seen, replace(HOW, dequantize=True, steps=60), tmp_path):
        pass
    x = torch.cat(seen.x)
    off = x - torch.cat([levels[rows(100, step)] for step in range(60)])
    assert off.abs().max() <= 1 / 16
    counts = torch.histc(off, bins=10, min=-1 / 16, max=1 / 16)
    share = off.numel() / 10
    assert ((counts - share).square() / share).sum() < 35  # χ² of 9 degrees, 6e-5
    with pytest.raises(InputError, match="dequantize=true needs data of equally spaced levels"):
        fit(model(), DATA, seen, replace(HOW, dequantize=True), tmp_path)


def test_resume_refuses_another_model(tmp_path):
    for _ in fit(model(), DATA, build("loss", "dsm"), HOW, tmp_path):
        pass
    other = model()
    other.sde = build("sde", "ve")
    with pytest.raises(InputError, match="trained with sde"):
        fit(other, DATA, build("loss", "dsm"), HOW, tmp_path, resume=True)
    with pytest.raises(InputError, match="there is no checkpoint"):
        fit(model(), DATA, build("loss", "dsm"), HOW, tmp_path / "nowhere", resume=True)


def test_what_does_not_fit_is_refused(tmp_path):
    dsm = build("loss", "dsm")
    with pytest.raises(InputError, match=r"batch = 1000 .* 100 samples"):
        fit(model(), DATA, dsm, replace(HOW, batch=1000), tmp_path)
    with pytest.raises(InputError, match="labels=true needs data with labels"):
        fit(model(classes=3), Samples(DATA.x, None), dsm, replace(HOW, labels=True), tmp_path)
    for bad in ({"steps": 0}, {"lr": -1.0}, {"lr": float("nan")}, {"batch": 0}, {"warmup": -1}):
        with pytest.raises(InputError, match=next(iter(bad))):
            replace(HOW, **bad)


def test_labels_reach_the_network(tmp_path):
    m = model(classes=3)
    for _ in fit(m, DATA, build("loss", "dsm"), replace(HOW, labels=True), tmp_path):
        pass
    x, t = torch.zeros(3, 2), torch.tensor(0.5, dtype=torch.float64)
    out = load(tmp_path / CHECKPOINT)(x, t, {"label": torch.arange(3)}).x0
    assert not torch.equal(out[0], out[1])


def test_an_optimizer_step_is_adam_s(tmp_path):
    """The first two steps against the paper's formulas: the optimizer runs in one fused pass."""
    how = replace(HOW, steps=2, warmup=0, clip=1e30)
    m = model(dropout=0.0)
    slopes: list[torch.Tensor] = []
    for weight in m.parameters():
        weight.register_post_accumulate_grad_hook(lambda w: slopes.append(w.grad.double().clone()))
    names = [name for name, _ in m.named_parameters()]
    want = {name: weight.detach().double().clone() for name, weight in m.named_parameters()}
    order: list[str] = []
    by_tensor = {id(weight): name for name, weight in m.named_parameters()}
    for weight in m.parameters():
        weight.register_post_accumulate_grad_hook(lambda w: order.append(by_tensor[id(w)]))
    for _ in fit(m, DATA, build("loss", "dsm"), how, tmp_path):
        pass
    first, second = ({name: slopes[i] for i, name in enumerate(order) if (i < len(names)) == early} for early in (1, 0))
    for name, weight in m.named_parameters():
        mean = square = torch.zeros_like(want[name])
        for k, slope in enumerate((first[name], second[name]), start=1):
            mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
            scaled = (square / (1 - 0.999**k)).sqrt() + 1e-8
            want[name] = want[name] - how.lr * mean / (1 - 0.9**k) / scaled
        torch.testing.assert_close(weight.detach().double(), want[name], rtol=1e-5, atol=1e-7)
