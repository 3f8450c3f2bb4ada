"""One visible training loop."""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from scoresde.checkpoint import describe_model, save
from scoresde.data.base import Samples, Source
from scoresde.ema import EMA
from scoresde.errors import Diverged, InputError, check, typed
from scoresde.loss.base import Loss
from scoresde.noise import Noise
from scoresde.score import Denoiser
from scoresde.store import read, write
from scoresde.tensor import expand

__all__ = ["CHECKPOINT", "RESUME", "Progress", "Training", "fit"]

CHECKPOINT = "model.safetensors"
"""The averaged model's file in a run's folder: all that sampling needs."""
RESUME = "resume.safetensors"
"""The file beside it from which training goes on: raw weights and the optimizer's moments."""
_STREAMS = 2**61  # where the streams of training begin: far from those of samples of the same seed
_VARIATIONS = 3 * 2**60  # and those of what is done to the data


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Args:
        steps: optimizer steps in all.
        batch: samples a step.
        lr: Adam's learning rate, > 0.
        warmup: steps over which the learning rate rises linearly from 0.
        clip: largest norm of the gradient, > 0.
        ema: decay of the averaged weights, in [0, 1).
        labels: whether to condition on the data's class labels.
        flip: whether each image is mirrored left to right with chance 1/2: the last axis is turned round.
        dequantize: whether uniform noise fills the space between neighbouring levels, as likelihoods of pixels need.
        seed: of weights, noise and order.
        save_every: steps between checkpoints.

    Raises:
        InputError: for a value out of range.

    Source: the defaults are those of Song et al. 2021, appendix H.1, but for the shorter run.
    """

    steps: int = 20_000
    batch: int = 128
    lr: float = 2e-4
    warmup: int = 1_000
    clip: float = 1.0
    ema: float = 0.999
    labels: bool = False
    flip: bool = False
    dequantize: bool = False
    seed: int = 0
    save_every: int = 1_000

    def __post_init__(self) -> None:
        """Refuse what cannot train."""
        typed(self)
        for field in ("steps", "batch", "save_every"):
            check(self, field, getattr(self, field) >= 1, "a whole number >= 1")
        for field in ("lr", "clip"):
            check(self, field, 0 < getattr(self, field) <= 1e30, "a number in (0, 1e30]")
        check(self, "warmup", self.warmup >= 0, "a whole number >= 0")
        check(self, "ema", 0 <= self.ema < 1, "a number in [0, 1)")
        check(self, "seed", 0 <= self.seed < 2**63, "a whole number in [0, 2**63)")


class Progress(NamedTuple):
    """What a training step says: how many are done, the loss, the norm of its gradient, the averaged model."""

    step: int
    loss: float
    gradient: float
    lr: float
    average: Denoiser


def fit(
    model: Denoiser, data: Source, loss: Loss, how: Training, folder: str | Path, *, resume: bool = False
) -> Iterator[Progress]:
    """Train, one step at each turn of the caller's loop.

    What happens at a step is a function of (seed, step) alone: a run that is resumed is the run that was not stopped.

    Args:
        model: what is trained, in place, where it lies.
        data: all of the data, `Samples` or a source that is read while the step before is computed; with ``how.labels``
            its labels are passed as ``label``.
        loss: the objective.
        how: the run's settings.
        folder: where `CHECKPOINT` and `RESUME` are written, every ``how.save_every`` steps and at the end.
        resume: whether to go on from the folder's `RESUME`.

    Yields:
        `Progress` after each step; when it comes with ``step`` a multiple of ``save_every``, the files are written.

    Raises:
        InputError: before the first step, for data or a checkpoint that do not fit.
        Diverged: at the step whose loss or gradient is not finite, before it touches the weights.
    """
    folder = Path(folder)
    device = next(model.parameters()).device
    if how.batch > len(data):
        raise InputError(f"batch = {how.batch} is larger than the data, {len(data)} samples: take a smaller batch")
    if how.labels and data.take(torch.arange(1)).label is None:
        raise InputError("labels=true needs data with labels, and these have none: try labels=false")
    if how.dequantize and data.spacing == 0:
        raise InputError("dequantize=true needs data of equally spaced levels, and these are a continuum: leave it out")

    state = _State(model, how)
    if resume:
        state.restore(folder / RESUME)
        if how.steps <= state.step:
            raise InputError(
                f"the run in {folder} has {state.step} steps already: give more, as steps={2 * state.step}"
            )
    return _run(state, data.to(device) if isinstance(data, Samples) else data, loss, how, folder)


def _run(state: "_State", data: Source, loss: Loss, how: Training, folder: Path) -> Iterator[Progress]:
    model, optimizer, saved = state.model, state.optimizer, state.step
    weights = list(model.parameters())
    model.train()
    for step, batch in _batches(data, how, state.step):
        x, label = batch.x.to(weights[0].device), batch.label
        cond = {"label": label.to(x.device)} if how.labels and label is not None else None
        noise = Noise(how.seed, tuple(x.shape), device=x.device, first=_STREAMS + step * how.batch)
        x = _varied(x, how, step, data.spacing)
        lr = how.lr * min(1.0, (step + 1) / max(1, how.warmup))
        for group in optimizer.param_groups:
            group["lr"] = lr

        optimizer.zero_grad(set_to_none=True)
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            _seed((how.seed * 1_000_003 + step) % 2**63, x.device)
            value = loss(model, x, noise, cond).mean()
        value.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(weights, how.clip)
        value_now, norm_now = torch.stack([value.detach(), norm.to(value)]).tolist()
        if not (math.isfinite(value_now) and math.isfinite(norm_now)):
            last = (
                f"the last good checkpoint is {folder / CHECKPOINT} of step {saved}" if saved else "none is saved yet"
            )
            numbers = f"loss = {value_now}, gradient norm = {norm_now}"
            raise Diverged(f"training stopped at step {step + 1}, {numbers}: {last}; try a lower lr")
        optimizer.step()
        state.average.update(step)

        state.step = step + 1
        if state.step % how.save_every == 0 or state.step == how.steps:
            state.save(folder)
            saved = state.step
        yield Progress(state.step, value_now, norm_now, lr, state.average.model)


def _batches(data: Source, how: Training, first: int) -> Iterator[tuple[int, Samples]]:
    """Steps from the first on with their batches; what is not in memory is loaded two steps ahead."""
    steps = range(first, how.steps)
    if isinstance(data, Samples):
        yield from ((step, data.take(_rows(len(data), how, step))) for step in steps)
        return
    with ThreadPoolExecutor(1, "load") as ahead:
        waiting = deque(ahead.submit(data.take, _rows(len(data), how, step)) for step in steps[:2])
        for step in steps:
            batch = waiting.popleft().result()
            if step + 2 < how.steps:
                waiting.append(ahead.submit(data.take, _rows(len(data), how, step + 2)))
            yield step, batch


def _varied(x: Tensor, how: Training, step: int, spacing: float) -> Tensor:
    """A batch mirrored and dequantized as training says, by numbers of (seed, step, sample)."""
    noise = Noise(how.seed, tuple(x.shape), device=x.device, first=_VARIATIONS + step * how.batch)
    if how.flip:
        x = torch.where(expand(noise.uniform(()), x) < 0.5, x.flip(-1), x)
    if how.dequantize:
        x = x + spacing * (noise.uniform() - 0.5).to(x.dtype)
    return x


def _seed(seed: int, device: torch.device) -> None:
    """Of dropout, which draws from torch's global generators. `torch.manual_seed` formats a traceback at each call."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _rows(count: int, how: Training, step: int) -> Tensor:
    """The batch's rows: each pass over the data takes every sample once, in an order of (seed, pass)."""
    first = step * how.batch
    passes = range(first // count, (first + how.batch - 1) // count + 1)
    start = first - passes[0] * count
    orders = torch.cat([_order(count, (how.seed * 1_000_003 + number) % 2**63) for number in passes])
    return orders[start : start + how.batch]


@lru_cache(maxsize=2)  # a pass is many steps
def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


class _State:
    """What a run consists of: raw weights, their average, the optimizer's moments, the steps done."""

    def __init__(self, model: Denoiser, how: Training) -> None:
        self.model = model
        self.average = EMA(model, how.ema)
        # fused: one pass over the weights, where the default takes a dozen
        self.optimizer = torch.optim.Adam(model.parameters(), lr=how.lr, fused=_fuses(model))
        self.step = 0

    def save(self, folder: Path) -> None:
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"model.{k}": v for k, v in self.model.net.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.model.net.state_dict().items()}
        tensors |= {f"adam.{i}.{k}": v for i, moment in moments.items() for k, v in moment.items()}
        write(folder / RESUME, tensors, {"step": self.step, "trained": describe_model(self.model)})
        save(folder / CHECKPOINT, self.average.model, {"step": self.step})

    def restore(self, path: Path) -> None:
        tensors, card = read(path)
        if not isinstance(card.get("trained"), dict) or not isinstance(card.get("step"), int):
            raise InputError(f"{path} holds no training state: resume from the {RESUME} that training wrote")
        asked = describe_model(self.model)
        for group, trained in card["trained"].items():
            if trained != asked.get(group):
                raise InputError(
                    f"cannot resume {path}: it was trained with {group} = {trained}, not {asked.get(group)}"
                )
        moments: dict[int, dict[str, Tensor]] = {}
        try:
            for name, tensor in tensors.items():
                if name.startswith("adam."):
                    _, index, key = name.split(".")
                    moments.setdefault(int(index), {})[key] = tensor
            for prefix, net in (("model.", self.model.net), ("average.", self.average.model.net)):
                net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
            self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        except (ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"{path} does not hold a whole training state: {error}") from None
        self.step = card["step"]


def _fuses(model: Denoiser) -> bool:
    """Whether Adam's fused kernel runs where the model lies."""
    return all(weight.device.type in ("cpu", "cuda") and weight.is_floating_point() for weight in model.parameters())
