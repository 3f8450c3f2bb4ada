"""One sample's result never depends on its batch neighbours: bitwise, where ``batch`` fixes what the network sees."""

import dataclasses

import pytest
import torch

from scoresde import registry, sample
from scoresde.sampling import trajectory
from scoresde.score import Denoiser, ScoreModel

from .exact import at_eta, solvers

BATCH = 4
VP = registry.build("sde", "vp")


def denoiser(name, shape, **fields):
    torch.manual_seed(0)
    net = registry.build("model", {"name": name, **fields}, shape=shape, classes=0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return Denoiser(net, VP, registry.build("param", "v"), (-1.0, 1.0)).eval()


# five features: kernels of matrix products round the last rows of a batch otherwise than the first
POINTS = denoiser("mlp", (5,), width=16, depth=1)
IMAGES = denoiser("ncsnpp", (1, 8, 8), channels=32, multipliers=(1, 2), blocks=1, attention=(4,))


class Spoilt(ScoreModel):
    """What a model says, but not a number for samples with the condition ``spoil``."""

    def __init__(self, model):
        super().__init__()
        self.model, self.sde, self.shape, self.range = model, model.sde, model.shape, model.range

    def forward(self, x, t, cond=None):
        said = self.model(x, t)
        spoil = cond["spoil"].reshape(-1, *[1] * (x.ndim - 1))
        return dataclasses.replace(said, x0=torch.where(spoil, torch.nan, said.x0))


def holds(model, solver, batch, n=7, **arguments):
    """Alone, further on, among others, named, beside what is not a number: always the same bits."""

    def drawn(*args, **kwargs):
        return sample(*args, **{"solver": solver, "steps": 4, "batch": batch} | arguments | kwargs)

    seed = 6
    whole = drawn(model, n, seed=seed)
    assert whole.isfinite().all()
    assert torch.equal(drawn(model, n - 2, seed=seed), whole[: n - 2])
    for i in (0, batch - 1, n - 1):
        *_, (_, late) = trajectory(model, 1, solver=solver, steps=4, seed=seed, first=i, batch=batch)
        assert torch.equal(late[0], whole[i])
    named = drawn(model, seed=[40, 7, seed, 6 + batch, 7])
    assert torch.equal(named[2], whole[0])
    assert torch.equal(named[1], named[4])
    for i, each in enumerate((40, 7)):
        assert torch.equal(drawn(model, 1, seed=each)[0], named[i])
    bad = torch.arange(n) % 3 == 1
    mixed = drawn(Spoilt(model), n, seed=seed, cond={"spoil": bad})
    assert mixed[bad].isnan().all()
    assert torch.equal(mixed[~bad], whole[~bad])


@pytest.mark.parametrize("case", at_eta(solvers(), (0.0, 1.0)), ids=str)
def test_a_sample_does_not_depend_on_its_neighbours(case):
    loose = {f.name: 0.05 for f in dataclasses.fields(case.solver) if f.name in ("rtol", "atol", "tol")}
    holds(POINTS, dataclasses.replace(case.solver, **loose), BATCH)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8])
def test_whatever_the_batch(batch):
    holds(POINTS, registry.build("solver", "heun"), batch, n=batch + 3) if batch > 1 else None
    for image in (registry.build("solver", "ddim"), registry.build("solver", {"name": "heun", "eta": 1.0})):
        x = sample(IMAGES, batch + 2, solver=image, steps=2, seed=1, batch=batch)
        for i in range(batch + 2):
            *_, (_, one) = trajectory(IMAGES, 1, solver=image, steps=2, seed=1, first=i, batch=batch)
            assert torch.equal(one[0], x[i])


@pytest.mark.parametrize("name", ["ddim", "heun", "ancestral"])
def test_a_convolutional_network_s_samples_do_not_depend_on_their_neighbours(name):
    holds(IMAGES, registry.build("solver", name), 4)


def test_conditions_stay_with_their_samples():
    torch.manual_seed(0)
    net = registry.build("model", {"name": "mlp", "width": 16, "depth": 1}, shape=(5,), classes=3)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model, label = Denoiser(net, VP, registry.build("param", "v")), torch.tensor([0, 1, 2, 2, 1, 0, 1])
    loose = sample(model, 7, steps=3, seed=2, cond={"label": label})
    for batch in (1, 3, 4, 16):
        fixed = sample(model, 7, steps=3, seed=2, cond={"label": label}, batch=batch)
        torch.testing.assert_close(fixed, loose, rtol=1e-4, atol=1e-4)


def test_the_network_always_sees_the_whole_batch():
    seen = []
    hook = POINTS.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    sample(POINTS, 6, steps=2, batch=4, solver=registry.build("solver", "ddim"))
    hook.remove()
    assert seen == [4] * 4


def test_a_trajectory_in_parts_is_the_trajectory():
    pairs = list(trajectory(POINTS, 6, steps=3, seed=1, batch=4))
    for (t, x), (s, y) in zip(pairs, trajectory(POINTS, 6, steps=3, seed=1), strict=True):
        assert t == s
        assert x.shape == (6, 5)
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)
    assert torch.equal(pairs[-1][1], sample(POINTS, 6, steps=3, seed=1, batch=4))
