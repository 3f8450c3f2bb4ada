"""Random numbers: the published Philox, streams that do not depend on their batch, the right laws."""

import math

import pytest
import torch
from scipy import stats

from scoresde.errors import InputError
from scoresde.noise import Noise, philox

FAMILY = 1e-6  # the chance that any test of a law here fails for no reason


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_random123(counter, key, answer):
    words = [torch.tensor(int(word, 16)) for word in counter.split()]
    found = philox(tuple(words), tuple(int(word, 16) for word in key.split()))
    assert " ".join(f"{word.item():08x}" for word in found) == answer


def test_philox_is_elementwise():
    block = torch.arange(5)
    zero = torch.zeros((), dtype=torch.int64)
    many = philox((block, zero, zero, zero), (1, 2))
    for i in range(5):
        one = philox((block[i], zero, zero, zero), (1, 2))
        assert [word[i].item() for word in many] == [word.item() for word in one]


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4), ()])
def test_a_sample_has_a_stream_of_its_own(shape):
    """Whatever batch it is in: bitwise."""
    whole = Noise(7, (10, *shape))
    part = Noise(7, (3, *shape), first=4)
    for draw in ("normal", "uniform", "normal"):
        assert torch.equal(getattr(whole, draw)()[4:7], getattr(part, draw)())


def test_streams_beyond_32_bits_are_others():
    near, far = Noise(0, (1, 4)), Noise(0, (1, 4), first=2**32)
    assert not torch.equal(near.uniform(), far.uniform())


def test_seeds_are_used_whole():
    first = [Noise(seed, (2, 4)).uniform() for seed in (0, 1, 2**32, 2**63, 2**64 - 1)]
    for i, a in enumerate(first):
        for b in first[:i]:
            assert not (a == b).any()


def test_a_draw_is_not_repeated_and_a_run_is():
    noise, again = Noise(1, (2, 3)), Noise(1, (2, 3))
    draws = [noise.normal() for _ in range(3)]
    assert not any((a == b).any() for a, b in [(draws[0], draws[1]), (draws[1], draws[2]), (draws[0], draws[2])])
    assert all(torch.equal(a, again.normal()) for a in draws)


def test_shape_precision_and_events():
    noise = Noise(0, (4, 3, 5), dtype=torch.float32)
    assert noise.normal().shape == (4, 3, 5)
    assert noise.normal().dtype == torch.float32
    assert noise.uniform().dtype == torch.float64
    assert noise.uniform(()).shape == (4,)
    assert noise.uniform((7,)).shape == (4, 7)
    assert Noise(0, (4,), dtype=torch.float64).normal().dtype == torch.float64


def test_uniform_is_strictly_inside():
    """Also for the words that are all zeros or all ones."""
    u = Noise(0, (1000, 1000)).uniform()
    assert u.min() > 0
    assert u.max() < 1
    for word in (0, 2**32 - 1):
        high = low = float(word)
        edge = ((high * 2**20 + low // 2**12) + 0.5) * 2**-52
        assert 0 < edge < 1
        assert math.isfinite(torch.special.ndtri(torch.tensor(edge, dtype=torch.float64)))


def test_normal_and_uniform_have_their_laws():
    """Within a sample, within a draw, and along the draws of one coordinate: Kolmogorov–Smirnov."""
    tests = []
    noise = Noise(3, (200, 200), dtype=torch.float64)
    draws = torch.stack([noise.normal() for _ in range(100)])
    for numbers in (draws[0].flatten(), draws[:, 0, 0], draws[:, 7].flatten(), draws[0, :, 3], draws[0, 11]):
        tests.append(stats.kstest(numbers.numpy(), "norm").pvalue)
    tests.append(stats.kstest(noise.uniform().flatten().numpy(), "uniform").pvalue)
    assert min(tests) > FAMILY / len(tests)


def test_draws_samples_coordinates_and_seeds_are_independent():
    """Correlations, of the numbers and of their squares, of 40,000 pairs each."""
    noise, other = Noise(3, (200, 200), dtype=torch.float64), Noise(4, (200, 200), dtype=torch.float64)
    a, b, c = noise.normal(), noise.normal(), other.normal()
    pairs = [(a, b), (a, c), (a, a.roll(1, 0)), (a, a.roll(1, 1)), (a, a.roll(2, 1)), (a, a.T)]
    z = [((f(x) * f(y)).mean() / f(x).square().mean()).item() * 200 for x, y in pairs for f in (_itself, _square)]
    z[-2:] = [v / math.sqrt(2) for v in z[-2:]]  # a with its transpose: each pair counts twice
    worst = max(map(abs, z))
    assert 2 * stats.norm.sf(worst) > FAMILY / len(z)


def _itself(x):
    return x


def _square(x):
    return x**2 - 1


def test_brownian_increments_have_the_variance_of_their_interval():
    noise = Noise(5, (400, 100), dtype=torch.float64)
    t, s = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.2, dtype=torch.float64)
    for increment in (noise.brownian(t, s), noise.brownian(s, t)):
        assert abs(increment.var() / 0.5 - 1) < 5 * math.sqrt(2 / 40_000)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", True, None])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(InputError, match=r"^seed = .* must be a whole number in \[0, 2\*\*64\)$"):
        Noise(seed, (1,))


def test_named_seeds_are_the_first_samples_of_their_seeds():
    """Bitwise, draw by draw, whatever 64 bits the seeds have."""
    seeds = (3, 17, 3, 2**32 + 5, 2**64 - 1)
    named = Noise(seeds, (5, 2, 3))
    alone = [Noise(seed, (1, 2, 3)) for seed in seeds]
    for draw in ("normal", "uniform", "normal"):
        assert torch.equal(getattr(named, draw)(), torch.cat([getattr(noise, draw)() for noise in alone]))
    later = Noise(range(4), (4, 3), first=2)
    assert torch.equal(later.normal(), torch.cat([Noise(seed, (1, 3), first=2).normal() for seed in range(4)]))


@pytest.mark.parametrize("seed", [7, (4, 9, 2**63, 0)])
def test_rows_are_the_streams_of_some_samples(seed):
    noise = Noise(seed, (4, 3))
    noise.normal()
    part = noise.rows([3, 0, 0])
    assert part.shape == (3, 3)
    for _ in range(2):
        assert torch.equal(part.normal(), noise.normal()[[3, 0, 0]])


@pytest.mark.parametrize("seed", [[0, -1], (1, 2.0), [True, 1], ["1", 2]])
def test_a_named_seed_that_is_none_is_refused(seed):
    with pytest.raises(InputError, match=r"^seed = .* must be a whole number in \[0, 2\*\*64\)$"):
        Noise(seed, (2,))


def test_as_many_seeds_as_samples():
    with pytest.raises(InputError, match=r"^seed names 3 seeds, but it must name one for each of 2 samples$"):
        Noise([1, 2, 3], (2,))
