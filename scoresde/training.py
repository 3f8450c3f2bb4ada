"""One visible training loop."""

import math
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from scoresde.batches import Batches
from scoresde.checkpoint import describe_model, save
from scoresde.data.base import Source
from scoresde.diagnosis import finite, first_bad
from scoresde.ema.base import EMA, Averaging
from scoresde.ema.decay import Decay
from scoresde.ema.power import Power
from scoresde.errors import Diverged, InputError, check, typed
from scoresde.loss.base import Loss
from scoresde.noise import Noise
from scoresde.posthoc import SNAPSHOTS
from scoresde.score import Cond, Denoiser
from scoresde.store import read, write

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["CHECKPOINT", "RESUME", "Progress", "Training", "fit"]

CHECKPOINT = "model.safetensors"
"""The averaged model's file in a run's folder: all that sampling needs."""
RESUME = "resume.safetensors"
"""The file beside it from which training goes on: raw weights and the optimizer's moments."""
_STREAMS = 2**61  # where the streams of training begin: far from those of samples of the same seed


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Args:
        steps: optimizer steps in all.
        batch: samples a step, of all processes together.
        accumulate: parts in which each process computes its share of a batch, one after the other, to save memory; all
            but dropout's draws, and a coupling of noise, which is within a part, stays as it is.
        precision: of the network's products: float32, or bf16 by autocast; weights and losses stay as they are.
        compile: whether torch.compile makes the network's code; it takes a minute or more.
        lr: Adam's learning rate, > 0.
        warmup: steps over which the learning rate rises linearly from 0.
        clip: largest norm of the gradient, > 0.
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
    accumulate: int = 1
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    lr: float = 2e-4
    warmup: int = 1_000
    clip: float = 1.0
    labels: bool = False
    flip: bool = False
    dequantize: bool = False
    seed: int = 0
    save_every: int = 1_000

    def __post_init__(self) -> None:
        """Refuse what cannot train."""
        typed(self)
        for field in ("steps", "batch", "accumulate", "save_every"):
            check(self, field, getattr(self, field) >= 1, "a whole number >= 1")
        for field in ("lr", "clip"):
            check(self, field, 0 < getattr(self, field) <= 1e30, "a number in (0, 1e30]")
        check(self, "warmup", self.warmup >= 0, "a whole number >= 0")
        check(self, "seed", 0 <= self.seed < 2**63, "a whole number in [0, 2**63)")


class Progress(NamedTuple):
    """What a training step says: how many are done, the loss, the norm of its gradient, the averaged model."""

    step: int
    loss: float
    gradient: float
    lr: float
    average: Denoiser


def fit(
    model: Denoiser,
    data: Source,
    loss: Loss,
    how: Training,
    folder: str | Path,
    *,
    ema: Averaging | None = None,
    resume: bool = False,
) -> Iterator[Progress]:
    """Train, one step at each turn of the caller's loop.

    What happens at a step is a function of (seed, step) alone: a run that is resumed is the run that was not stopped.

    Args:
        model: what is trained, in place, where it lies.
        data: all of the data, `Samples` or a source that is read while the step before is computed; with ``how.labels``
            its labels are passed as ``label``.
        loss: the objective.
        how: the run's settings.
        folder: where `CHECKPOINT` and `RESUME` are written, every ``how.save_every`` steps and at the end; of several
            processes, which torchrun starts, the first one's counts and the first one writes.
        ema: how the weights are averaged, `Decay` by default.
        resume: whether to go on from the folder's `RESUME`.

    Yields:
        `Progress` after each step; when it comes with ``step`` a multiple of ``save_every``, the files are written.

    Raises:
        InputError: before the first step, for data or a checkpoint that do not fit.
        Diverged: at the step whose loss or gradient is not finite, before it touches the weights.
    """
    if how.labels and data.take(torch.arange(1)).label is None:
        raise InputError("labels=true needs data with labels, and these have none: try labels=false")
    batches = Batches(data, how.batch, how.seed, how.flip, how.dequantize)
    engine, folder = _engine(next(model.parameters()).device, Path(folder))
    if how.batch < how.accumulate * engine.num_processes:
        raise InputError(
            f"batch = {how.batch} is too small for {engine.num_processes} processes with accumulate = {how.accumulate} "
            "parts each: take a larger batch"
        )
    state = _State(model, how, ema or Decay())
    if resume:
        state.restore(folder / RESUME)
        if how.steps <= state.step:
            raise InputError(
                f"the run in {folder} has {state.step} steps already: give more, as steps={2 * state.step}"
            )
    return _run(state, batches, loss, how, folder, engine)


def _run(
    state: "_State", batches: Batches, loss: Loss, how: Training, folder: Path, engine: "Accelerator"
) -> Iterator[Progress]:
    model, optimizer, saved = state.model, state.optimizer, state.step
    weights = list(model.parameters())
    device, average = weights[0].device, finite(state.average.weights)
    alone = _Objective(model, loss, how)
    if engine.num_processes > 1:
        engine.ddp_handler.find_unused_parameters = _leaves_unused(alone, batches.data)
    objective = engine.prepare_model(alone, device_placement=False)
    if state.step == 0 and engine.is_main_process:
        for file in (folder / SNAPSHOTS).glob("step_*.safetensors"):  # another run's, whose checkpoint goes too
            file.unlink()
    mine = _share(range(how.batch), engine.process_index, engine.num_processes)
    model.train()
    for step, batch in batches.read(range(state.step, how.steps), mine, device):
        everything = Noise(how.seed, (how.batch, *model.shape), device=device, first=_STREAMS + step * how.batch)
        lr = how.lr * min(1.0, (step + 1) / max(1, how.warmup))
        for group in optimizer.param_groups:
            group["lr"] = lr

        optimizer.zero_grad(set_to_none=True)
        value = torch.zeros((), device=device)
        parts: list[_Given] = []
        for number in range(how.accumulate):
            part = _share(mine, number, how.accumulate)
            here = slice(part.start - mine.start, part.stop - mine.start)
            x, label = batch.x[here], None if batch.label is None else batch.label[here]
            cond = {"label": label} if how.labels and label is not None else None
            given = x, everything.rows(part), cond, (how.seed * 1_000_003 + step + (part.start << 40)) % 2**63
            parts.append(given)
            last = number == how.accumulate - 1
            with nullcontext() if last else engine.no_sync(objective):
                # processes average their gradients: each has its share of the batch's mean, times their number
                share = objective(*given) * (engine.num_processes / how.batch)
                share.backward()
            value = value + share.detach()
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        # one wait for the device: the average of the step before is looked at with this one's loss
        numbers = torch.stack([engine.reduce(value, "mean"), norm.to(value), average.to(value)]).tolist()
        if not math.isfinite(sum(numbers)):
            raise state.diverged(numbers, parts, alone, folder, saved)
        torch.nn.utils.clip_grads_with_norm_(weights, how.clip, norm)
        optimizer.step()
        state.average.update(step, how.batch)
        average = finite(state.average.weights)

        state.step = step + 1
        if state.step % how.save_every == 0 or state.step == how.steps:
            if not average.isfinite():
                raise state.diverged(numbers, parts, alone, folder, saved)
            if engine.is_main_process:
                state.save(folder)
            engine.wait_for_everyone()
            saved = state.step
        yield Progress(state.step, numbers[0], numbers[1], lr, state.average.model)


_Given = tuple[Tensor, Noise, Cond | None, int]
"""Data, noise, conditions and dropout's seed of a part of a batch."""


class _Objective(nn.Module):
    """The sum of a part's losses: the module that Accelerate wraps, so that a loss sees the model itself."""

    def __init__(self, model: Denoiser, loss: Loss, how: Training) -> None:
        super().__init__()
        self.model, self.loss, self.how = model, loss, how

    def forward(self, x: Tensor, noise: Noise, cond: Cond | None, dropout: int) -> Tensor:
        with torch.random.fork_rng([x.device] if x.is_cuda else []):
            _seed(dropout, x.device)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.how.precision == "bf16"):
                return self.loss(self.model, x, copy(noise), cond).sum()


def _engine(device: torch.device, folder: Path) -> "tuple[Accelerator, Path]":
    """Accelerate, which joins the processes that torchrun started, and the folder of the first of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")  # in a notebook, of a bar that nobody asked for
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list

    handlers = [DistributedDataParallelKwargs()]
    engine = Accelerator(cpu=device.type == "cpu", device_placement=False, kwargs_handlers=handlers)
    return engine, Path(broadcast_object_list([str(folder)])[0])


def _leaves_unused(objective: _Objective, data: Source) -> bool:
    """Whether the loss uses not all weights, as of EDM2's head of the uncertainty: processes must know at the start."""
    weights = list(objective.parameters())
    first = data.take(torch.arange(1)).to(weights[0].device)
    cond = {"label": first.label} if objective.how.labels and first.label is not None else None
    objective(first.x, Noise(0, tuple(first.x.shape), device=first.x.device), cond, 0).backward()
    found = any(weight.grad is None for weight in weights)
    for weight in weights:
        weight.grad = None
    return found


def _share(whole: range, number: int, count: int) -> range:
    """One of so many parts of a range, whose lengths differ by one at most."""
    return whole[len(whole) * number // count : len(whole) * (number + 1) // count]


def _seed(seed: int, device: torch.device) -> None:
    """Of dropout, which draws from torch's global generators. `torch.manual_seed` formats a traceback at each call."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class _State:
    """What a run consists of: raw weights, their average, the optimizer's moments, the steps done."""

    def __init__(self, model: Denoiser, how: Training, ema: Averaging) -> None:
        self.model, self.ema = model, ema
        self.average = EMA(model, ema)
        if how.compile:
            model.net.compile()
        # fused: one pass over the weights, where the default takes a dozen
        self.optimizer = torch.optim.Adam(model.parameters(), lr=how.lr, fused=_fuses(model))
        self.step = 0

    def save(self, folder: Path) -> None:
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"model.{k}": v for k, v in self.model.net.state_dict().items()}
        averages = {f"{i}.{k}": v for i, m in enumerate(self.average.models) for k, v in m.net.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in averages.items()}
        tensors |= {f"adam.{i}.{k}": v for i, moment in moments.items() for k, v in moment.items()}
        if isinstance(self.ema, Power):  # first: a run that goes on from this step has it
            file = folder / SNAPSHOTS / f"step_{self.step:09}.safetensors"
            write(file, averages, {"exponents": self.ema.exponents()})
        write(folder / RESUME, tensors, {"step": self.step, "trained": describe_model(self.model)})
        save(folder / CHECKPOINT, self.average.model, {"step": self.step})

    def diverged(
        self, numbers: list[float], parts: list[_Given], objective: _Objective, folder: Path, saved: int
    ) -> Diverged:
        """What is told of a step whose numbers are not finite."""
        raw = dict(self.model.named_parameters())
        averaged = {
            f"{name} ({i})" if i else name: weight
            for i, each in enumerate(self.average.models)
            for name, weight in each.named_parameters()
        }
        moments = {
            f"{kind} of {name}": moment
            for name, weight in raw.items()
            for kind, moment in self.optimizer.state.get(weight, {}).items()
        }
        kept: dict[str, dict[str, Tensor | None]] = {
            "data": {"": torch.cat([x for x, *_ in parts])},
            "optimizer's": moments,  # what is wrong there is in the weights by now
            "weight": {**raw},
            "averaged weight": {**averaged},
        }
        loss, gradient, _ = numbers
        if math.isfinite(loss):
            kept["gradient of"] = {name: weight.grad for name, weight in raw.items()}
        culprit = first_bad(kept, self.model.net, [partial(objective, *given) for given in parts])
        last = f"the last good checkpoint is {folder / CHECKPOINT} of step {saved}" if saved else "none is saved yet"
        return Diverged(
            f"training stopped at step {self.step + 1}, {culprit} is not finite "
            f"(loss {loss:.4g}, gradient norm {gradient:.4g}): "
            f"{last}; try a lower lr"
        )

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
            averages = [(f"average.{i}.", each.net) for i, each in enumerate(self.average.models)]
            for prefix, net in (("model.", self.model.net), *averages):
                net.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
            self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        except (ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"{path} does not hold a whole training state: {error}") from None
        self.step = card["step"]


def _fuses(model: Denoiser) -> bool:
    """Whether Adam's fused kernel runs where the model lies."""
    return all(weight.device.type in ("cpu", "cuda") and weight.is_floating_point() for weight in model.parameters())
