"""Files are written whole or not at all, whenever the process dies."""

import os
import resource
import signal
import sys

import pytest
import torch

from scoresde.files import whole
from scoresde.store import read, write


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with whole(path) as draft:
        draft.write_text("one")
        assert not path.exists()
        assert draft.suffix == ".txt"
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_file_half_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half():
        with whole(path) as draft:
            draft.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def dies(job, before):
    """Whether a copy of this process dies in a job; ``before`` runs in the copy, and arranges for it."""
    child = os.fork()
    if child == 0:
        try:
            before()
            job()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def readable(path, tensors):
    """Which of two files it is."""
    found, card = read(path)
    assert torch.equal(found["x"], tensors[card["step"]])
    return card["step"]


@pytest.fixture
def checkpoint(tmp_path):
    tensors = {step: torch.full((50_000,), float(step)) for step in (1, 2)}
    path = tmp_path / "model.safetensors"
    write(path, {"x": tensors[1]}, {"step": 1})
    return path, tensors


def test_a_process_that_dies_at_any_call_leaves_a_whole_file(checkpoint):
    """At the n-th call out of Python, for every n: opening, writing, syncing, renaming are among them."""
    path, tensors = checkpoint
    seen, n = set(), 0

    def job():
        write(path, {"x": tensors[2]}, {"step": 2})

    def counting():
        calls = 0

        def at_call(frame, event, argument):
            nonlocal calls
            calls += event == "c_call"
            if calls == n:
                os._exit(9)

        sys.setprofile(at_call)

    while True:
        n += 1
        died = dies(job, counting)
        seen.add(readable(path, tensors))
        if not died:
            break
        write(path, {"x": tensors[1]}, {"step": 1})
    assert n > 20  # so many calls there were
    assert seen == {1, 2}


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 150_000])
def test_a_process_that_dies_within_a_write_leaves_the_old_file(checkpoint, size):
    """The system ends it by a signal when its file is longer than so many bytes."""
    path, tensors = checkpoint

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    assert dies(lambda: write(path, {"x": tensors[2]}, {"step": 2}), limited)
    assert readable(path, tensors) == 1


def test_names_reach_the_disk(tmp_path, monkeypatch):
    """The file is synced before it takes its name, and its folder after."""
    order = []
    sync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append(os.fstat(handle).st_ino), sync(handle)))
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, to: (order.append("rename"), replace(self, to)))
    with whole(tmp_path / "a.txt") as draft:
        draft.write_text("one")
    assert order == [(tmp_path / "a.txt").stat().st_ino, "rename", tmp_path.stat().st_ino]
