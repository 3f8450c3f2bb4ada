"""Coefficients meet batches."""

import pytest
import torch

from scoresde.errors import InputError
from scoresde.tensor import expand, inner, time_like


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 3, 8, 8)])
def test_one_coefficient_per_sample_multiplies_its_sample(shape):
    x, c = torch.randn(shape), torch.arange(4.0)
    found = expand(c, x) * x
    for b in range(4):
        assert torch.equal(found[b], c[b] * x[b])


def test_a_scalar_leaves_the_precision_of_the_data():
    c = torch.tensor(0.5, dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert (expand(c, torch.ones(2, 3, dtype=dtype)) * torch.ones(2, 3, dtype=dtype)).dtype == dtype


def test_a_coefficient_per_sample_has_float32_at_the_least():
    c = torch.ones(2, dtype=torch.float64)
    assert expand(c, torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
    assert expand(c, torch.ones(2, 3)).dtype == torch.float32
    assert expand(c, torch.ones(2, 3, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(("c", "x"), [((3,), (4, 2)), ((4, 1), (4, 2)), ((2,), (4, 2)), ((1,), (4, 2)), ((1,), ())])
def test_a_misfit_is_refused(c, x):
    with pytest.raises(InputError, match=r"^a time of shape .* does not fit data of shape .*\)$"):
        expand(torch.ones(c), torch.ones(x))


def test_inner_products_are_of_each_sample():
    a, b = torch.randn(3, 2, 5), torch.randn(3, 2, 5)
    torch.testing.assert_close(inner(a, b), torch.einsum("bij,bij->b", a, b))


def test_a_time_for_each_sample():
    x = torch.zeros(3, 2)
    assert time_like(torch.tensor(0.25, dtype=torch.float64), x).tolist() == [0.25] * 3
    assert time_like(torch.tensor([0.25, 0.5, 1.0]), x).tolist() == [0.25, 0.5, 1.0]
    assert time_like(torch.tensor(0.25), x.bfloat16()).dtype == torch.float32
    assert time_like(torch.tensor(0.25), x.double()).dtype == torch.float64
