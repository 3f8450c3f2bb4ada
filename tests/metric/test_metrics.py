"""What every metric of the registry does, and what each figure is worth where it is known in closed form."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch

from scoresde import registry
from scoresde.data.base import Samples
from scoresde.data.digits import Digits
from scoresde.errors import InputError
from scoresde.metric.classifier import Classifier
from scoresde.metric.energy import Energy
from scoresde.metric.mmd import MMD
from scoresde.metric.nearest import Nearest
from scoresde.metric.sliced_wasserstein import SlicedWasserstein

METRICS = registry.names("metric")
DISTANCES = ["sliced_wasserstein", "energy", "mmd"]
FLOOR = " of two halves of the data"


def normal(n, *shape, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def labelled(n=400):
    """Two classes, far apart."""
    label = torch.arange(n) % 2
    return Samples(0.1 * normal(n, 2) + 2.0 * label[:, None], label)


def only(figures):
    """A figure and its floor."""
    (name,) = (name for name in figures if not name.endswith(FLOOR))
    return figures[name], figures[name + FLOOR]


@pytest.mark.parametrize("name", METRICS)
def test_figures_are_finite_deterministic_and_draw_nothing_global(name):
    metric, data = registry.build("metric", name), labelled()
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again = (metric(normal(50, 2, seed=1), data) for _ in range(2))
    assert first == again
    assert all(isinstance(value, float) and math.isfinite(value) for value in first.values())
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    assert registry.build("metric", registry.describe(metric)) == metric


@pytest.mark.parametrize("name", METRICS)
def test_figures_do_not_depend_on_the_order_of_the_samples(name):
    metric, data, samples = registry.build("metric", name), labelled(), normal(60, 2, seed=1)
    assert metric(samples, data) == pytest.approx(metric(samples.flip(0), data), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_images_are_vectors(name):
    metric, data = registry.build("metric", name), labelled()
    samples = normal(60, 2, seed=1)
    image = Samples(data.x.reshape(-1, 1, 2, 1), data.label)
    assert metric(samples.reshape(-1, 1, 2, 1), image) == metric(samples, data)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(9, 3), r"shape \(9, 3\) cannot be compared with data of shape \(400, 2\)"),
        (torch.full((9, 2), math.nan), "samples hold numbers that are not finite, in 9 of 9 rows"),
        (torch.zeros(1, 2), "too few"),
    ],
)
def test_samples_that_cannot_be_measured_are_refused(name, samples, message):
    with pytest.raises(InputError, match=message):
        registry.build("metric", name)(samples, labelled())


@pytest.mark.parametrize("name", DISTANCES)
def test_the_same_law_is_near_the_floor_and_another_far(name):
    metric, data = registry.build("metric", name), Samples(normal(2000, 2), None)
    same, floor = only(metric(normal(500, 2, seed=1), data))
    other, floor_again = only(metric(normal(500, 2, seed=1) + 1, data))
    assert floor == floor_again
    scale = abs(floor) + 2e-3
    assert abs(same) < 3 * scale
    assert other > 5 * scale


@pytest.mark.parametrize("name", DISTANCES)
def test_the_floor_does_not_follow_how_the_data_was_drawn(name):
    """Data of Noise(seed 0) halved with seed 0: the halves must be independent of the data's own streams."""
    data = registry.build("data", {"name": "points", "kind": "mixture", "n": 2000}).load()
    assert only(registry.build("metric", name)(data.x[:1000], data))[1] < 0.1


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 5), (4, 6), (7, 3), (1, 9)])
def test_sliced_wasserstein_on_a_line_is_the_optimal_assignment(n, m):
    """Each point repeated until both sets have lcm(n, m) points, and the best matching of those."""
    a, b = normal(n, 1, seed=1).double(), normal(m, 1, seed=2).double()
    size = math.lcm(n, m)
    cost = (a.repeat_interleave(size // n, 0) - b.repeat_interleave(size // m, 0).mT) ** 2
    i, j = scipy.optimize.linear_sum_assignment(cost.numpy())
    assert SlicedWasserstein(projections=3).distance(a, b) ** 2 == pytest.approx(cost[i, j].mean().item())


def test_sliced_wasserstein_of_a_shift():
    a, v = normal(100, 2).double(), torch.tensor([3.0, -1.0], dtype=torch.float64)
    metric = SlicedWasserstein(projections=4000)
    assert metric.distance(a, a) == 0
    assert metric.distance(a, a + v) == pytest.approx(math.sqrt(10 / 2), rel=0.03)
    assert metric.distance(a, a.repeat(3, 1)) == pytest.approx(0, abs=1e-12)


def test_sliced_wasserstein_of_two_gaussians():
    """Along θ: N(θ·m, 1) and N(0, 4), so W₂² = (θ·m)² + (2 − 1)²."""
    a, b = normal(20_000, 3).double() + torch.tensor([2.0, 0, 0]), 2 * normal(20_000, 3, seed=1).double()
    expected = math.sqrt(4 / 3 + 1)
    assert SlicedWasserstein(projections=256).distance(a, b) == pytest.approx(expected, rel=0.05)


def test_energy_against_scipy_on_a_line():
    a, b = normal(37, 1, seed=1).double(), 0.5 + 2 * normal(53, 1, seed=2).double()
    reference = scipy.stats.energy_distance(a[:, 0].numpy(), b[:, 0].numpy()) ** 2
    assert Energy().distance(a, b) == pytest.approx(reference)


def test_energy_against_all_pairs_and_of_equal_sets():
    a, b = normal(1500, 3, seed=1).double(), normal(40, 3, seed=2).double()
    mean = [(x[:, None] - y[None]).norm(dim=-1).mean().item() for x, y in ((a, b), (a, a), (b, b))]
    assert Energy().distance(a, b) == pytest.approx(2 * mean[0] - mean[1] - mean[2], abs=1e-6)
    assert Energy().distance(a, a.flip(0)) == pytest.approx(0, abs=1e-12)


def test_mmd_against_all_pairs():
    a, b = normal(12, 3, seed=1).double(), normal(9, 3, seed=2).double()

    def kernel(x, y):
        return math.exp(-((x - y) ** 2).sum().item() / (2 * 0.7**2))

    within = [sum(kernel(x, y) for x, y in itertools.permutations(s, 2)) / (len(s) * (len(s) - 1)) for s in (a, b)]
    across = sum(kernel(x, y) for x in a for y in b) / (12 * 9)
    assert MMD().squared(a, b, 0.7) == pytest.approx(sum(within) - 2 * across)


def test_mmd_of_two_gaussians():
    """E k over N(0, 2 I) and over N(m, 2 I): (1 + 2/h²)^(−D/2), times exp(−|m|²/(2(h² + 2)))."""
    a, b = (
        torch.as_tensor(scipy.stats.qmc.MultivariateNormalQMC(mean, seed=i).random(n))
        for i, (mean, n) in enumerate([([1, 1], 2048), ([0, 0], 1024)])
    )
    h = 1.5
    base = 1 / (1 + 2 / h**2)
    assert MMD().squared(a, b, h) == pytest.approx(2 * base * (1 - math.exp(-1 / (h**2 + 2))), rel=0.01)


def test_mmd_bandwidth_is_the_median_distance_of_the_data():
    x = normal(1001, 2).double()
    pairs = scipy.spatial.distance.pdist(x.numpy())
    assert MMD().median(x) == pytest.approx(np.median(pairs), rel=0.05)
    data = Samples(torch.zeros(10, 2), None)
    with pytest.raises(InputError, match="bandwidth"):
        MMD()(torch.ones(4, 2), data)
    assert MMD(bandwidth=1.0)(torch.ones(4, 2), data)


def test_a_copy_has_no_distance_to_its_nearest_neighbour():
    data = labelled()
    near, within = Nearest()(data.x[:50], data).values()
    assert near == 0
    distance = (data.x[:, None] - data.x[None]).double().norm(dim=-1).fill_diagonal_(math.inf)
    assert within == pytest.approx(distance.min(1).values.mean().item(), rel=1e-5)
    shifted, _ = Nearest()(torch.full((5, 2), 100.0), data).values()
    assert shifted == pytest.approx((100 - data.x).norm(dim=-1).min().item())


def test_nearest_neighbours_in_many_dimensions():
    x = Digits().load().x
    near, within = Nearest()(x[:300], Samples(x, None)).values()
    assert near == pytest.approx(0, abs=1e-9)
    assert 1.5 < within < 3


def test_the_classifier_knows_digits_from_noise():
    data = Digits().load()
    x, label = data.x, data.label
    assert label is not None
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    new, seen = order[:300], order[300:]
    metric, data = Classifier(epochs=30), Samples(x[seen], label[seen])
    real, noise = metric(x[new], data), metric(2 * torch.rand(300, 1, 8, 8) - 1, data)
    reference = "mean top probability of held-out data"
    assert real["accuracy on held-out data"] > 0.93
    assert real["mean top probability"] == pytest.approx(real[reference], abs=0.04)
    assert noise["mean top probability"] < real[reference] - 0.2
    assert real["class entropy"] == pytest.approx(math.log(10), abs=0.05)
    assert real["class entropy of the data"] == pytest.approx(math.log(10), abs=0.01)
    assert real["classes present"] == 10


def test_the_classifier_sees_a_missing_class():
    data = labelled()
    figures = Classifier(epochs=50)(data.x[data.label == 1], data)
    assert figures["classes present"] == 1
    assert figures["class entropy"] == 0
    assert figures["class entropy of the data"] == pytest.approx(math.log(2))


def test_the_classifier_needs_labels():
    with pytest.raises(InputError, match="needs labels, and this data has none"):
        Classifier()(torch.zeros(9, 2), Samples(torch.zeros(9, 2), None))


@pytest.mark.parametrize(
    ("metric", "bad"),
    [
        (SlicedWasserstein, {"projections": 0}),
        (SlicedWasserstein, {"seed": -1}),
        (Energy, {"seed": -1}),
        (MMD, {"seed": -1}),
        (MMD, {"bandwidth": 0.0}),
        (MMD, {"bandwidth": math.nan}),
        (Classifier, {"hidden": 0}),
        (Classifier, {"epochs": 0}),
        (Classifier, {"seed": 2**32}),
    ],
)
def test_bad_input_is_refused(metric, bad):
    (field,) = bad
    with pytest.raises(InputError, match=field):
        metric(**bad)
