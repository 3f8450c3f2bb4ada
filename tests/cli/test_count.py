"""Network evaluations of each sample."""

import torch

from scoresde.cli.count import Count


def test_a_row_that_waits_is_not_counted():
    count, x, t = Count(5, each=True), torch.zeros(3, 2), torch.ones(3)
    for rows in (x, x[:2]):
        count.begin()
        count(None, (rows, torch.tensor(1.0)))
        count(None, (rows + 1, t[: len(rows)]))
    count(None, (torch.tensor([[1.0, 1.0], [1.0, 2.0]]), torch.ones(2)))
    assert str(count) == "2 to 3, on average 2.2,"


def test_a_new_time_is_a_new_question():
    count, x = Count(2, each=True), torch.zeros(2, 2)
    count.begin()
    for t in (1.0, 0.5, 0.5):
        count(None, (x, torch.tensor(t)))
    assert str(count) == "2"


def test_several_times_at_once_are_counted_as_a_whole():
    count = Count(2, each=True)
    count.begin()
    for rows in (2, 8, 8):
        count(None, (torch.randn(rows, 2), torch.ones(rows)))
    assert str(count) == "9"
