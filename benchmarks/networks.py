"""The networks against the papers' own code: forward passes and training steps of equal architectures in one run.

    python benchmarks/networks.py --score-sde PATH --edm PATH                   the small size, on one thread
    python benchmarks/networks.py --score-sde PATH --edm PATH --size cifar10 --threads 2
    python benchmarks/networks.py --score-sde PATH --edm PATH --size cifar10 --batch 128 --device cuda

The paths are checkouts of yang-song/score_sde_pytorch and NVlabs/edm; diffusers takes part where it is installed. All
take turns, and the shortest of each counts: on the CPU in processor time at one thread, for which others on the machine
do not count, and on a clock at several threads, for which the machine must be quiet. A training step is
forward, backward, clipping, optimizer and average, each package's own.

"floor" is the time of this package's convolutions alone, replayed at their shapes: forward, and forward with backward.
"peak" is the largest of a matrix product's and a convolution's rate, measured between the turns; the share of it counts
the operations of the convolutions and matrix products. On a GPU everybody runs in bfloat16 by autocast, and this
package also with channels_last and torch.compile, whose graph breaks are counted.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from originals import Contestant, Size, diffusers, edm, ours, score_sde
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

SIZES = {
    "small": Size(16, 32, (1, 2, 2), 2, (8,), 128),
    "small-attention": Size(16, 32, (1, 2, 2), 2, (16,), 128),
    "cifar10": Size(32, 128, (1, 2, 2, 2), 4, (16,), 4),
}
Run = Callable[[], Any]


class _Recorder(TorchDispatchMode):
    """Keeps how every convolution was called: its output, or None, and its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default):
            fresh = tuple(_like(a) if isinstance(a, Tensor) else a for a in args)
            self.calls.append((func, fresh))
        return func(*args, **(kwargs or {}))


_shared: dict[Any, Tensor] = {}


def _like(x: Tensor) -> Tensor:
    """Random numbers of a tensor's shape and layout; one tensor serves all of a shape."""
    key = (tuple(x.shape), x.stride(), x.dtype, x.device)
    if key not in _shared:
        _shared[key] = torch.randn_like(x) if 0 not in x.stride() else torch.ones_like(x[:1]).expand(x.shape)
    return _shared[key]


def replay(calls: list[tuple[Any, tuple[Any, ...]]]) -> None:
    """Run recorded convolutions again."""
    for func, args in calls:
        func(*args)


class Clock:
    """The shortest times, by name."""

    def __init__(self, device: str, threads: int) -> None:
        self.cuda = device == "cuda"
        self.read = time.process_time if not self.cuda and threads == 1 else time.perf_counter
        self.least: dict[Any, float] = {}

    def __call__(self, name: Any, run: Run) -> None:
        """Time a run."""
        if self.cuda:
            torch.cuda.synchronize()
        begun = self.read()
        run()
        if self.cuda:
            torch.cuda.synchronize()
        self.least[name] = min(self.least.get(name, math.inf), self.read() - begun)


def peaks(size: Size, device: str, dtype: torch.dtype) -> dict[str, tuple[Run, float]]:
    """A large matrix product and a 3×3 convolution at the network's widest, with their operations."""
    n = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    width, side = (512, 32) if device == "cuda" else (256, 32)
    x = torch.randn(size.batch if device == "cuda" else 4, width, side, side, device=device, dtype=dtype)
    x = x.to(memory_format=torch.channels_last)
    weight = torch.randn(width, width, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    operations = 2.0 * x.numel() * width * 9
    return {"matrix product": (lambda: a @ b, 2.0 * n**3),
            "convolution": (lambda: torch.conv2d(x, weight, padding=1), operations)}  # fmt: skip


def entrants(chosen: argparse.Namespace, size: Size, kind: str) -> dict[str, Contestant]:
    """Everybody who is there."""
    made = {"scoresde": ours(size, kind, chosen.device)}
    if chosen.score_sde:
        made["score_sde_pytorch"] = score_sde(chosen.score_sde, size, kind, chosen.device)
    if chosen.edm:
        made["edm"] = edm(chosen.edm, size, kind, chosen.device)
    if kind == "ddpmpp":
        try:
            made["diffusers"] = diffusers(size, chosen.device)
        except ImportError:
            print("diffusers is not installed: it does not take part")
    if chosen.device == "cuda":
        fast = ours(size, kind, chosen.device)
        fast.net = fast.net.to(memory_format=torch.channels_last)
        made["scoresde compiled"] = fast
    return made


def graph_breaks(net: nn.Module, x: Tensor, noise: Tensor) -> int:
    """How often torch.compile leaves its graph in a forward pass."""
    explained = torch._dynamo.explain(net)(x, noise)
    torch._dynamo.reset()
    return explained.graph_break_count


def measure(chosen: argparse.Namespace, kind: str) -> None:
    """Take turns, and print."""
    size, device = SIZES[chosen.size], chosen.device
    size = Size(**{**vars(size), "batch": chosen.batch or size.batch})
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    x = torch.randn(size.batch, 3, size.resolution, size.resolution, device=device)
    level = 0.05 + 0.9 * torch.rand(size.batch, device=device)
    cast = partial(torch.autocast, "cuda", dtype=dtype, enabled=device == "cuda")
    racing = entrants(chosen, size, kind)
    mine = racing["scoresde"]

    def forward(who: Contestant, net: nn.Module, data: Tensor) -> Tensor:
        with torch.no_grad(), cast():
            return who.forward(net, data, level)

    def backward(who: Contestant, net: nn.Module, data: Tensor) -> None:
        who.net.zero_grad(set_to_none=True)
        with cast():
            loss = who.forward(net, data, level).float().square().mean()
        loss.backward()

    with _Recorder() as once, torch.no_grad(), cast():
        mine.forward(mine.net.eval(), x, level)
    with _Recorder() as both:
        backward(mine, mine.net.train(), x)
    with FlopCounterMode(display=False) as work:
        forward(mine, mine.net, x)
    with FlopCounterMode(display=False) as more:
        backward(mine, mine.net, x)
    operations = {"forward": work.get_total_flops(), "step": more.get_total_flops()}

    finish = {name: who.finish(who.net) for name, who in racing.items()}
    nets = {name: torch.compile(w.net) if "compiled" in name else w.net for name, w in racing.items()}
    images = {name: x.to(memory_format=torch.channels_last) if "compiled" in name else x for name in racing}
    fastest = peaks(size, device, dtype)
    clock = Clock(device, chosen.threads)
    for turn in range(chosen.repeats + 1):
        if turn == 1:
            clock.least.clear()  # the first turn warms up
        for name, (run, _) in fastest.items():
            clock(name, run)
        for name, who in racing.items():
            who.net.eval()
            clock((name, "forward"), lambda name=name, who=who: forward(who, nets[name], images[name]))
            who.net.train()

            def step(name: str = name, who: Contestant = who) -> None:
                backward(who, nets[name], images[name])
                finish[name]()

            clock((name, "step"), step)
        clock(("floor", "forward"), lambda: replay(once.calls))
        clock(("floor", "step"), lambda: replay(both.calls))

    least = clock.least
    rates = {name: count / least[name] for name, (_, count) in fastest.items()}
    peak = max(rates.values())
    said = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates.items())
    weights = sum(weight.numel() for weight in mine.net.parameters())
    print(f"\n{kind}, {chosen.size}: {weights:,} weights, batch {size.batch}, {device}; peak in Gop/s: {said}")
    print(f"{'':<20}{'forward':>9}{'ratio':>7}{'peak':>6}{'step':>10}{'ratio':>7}{'peak':>6}   ms; ratio to scoresde's")
    for name in [*racing, "floor"]:
        cells = ""
        for what in ("forward", "step"):
            spent = least[name, what]
            share = operations[what] / spent / peak
            cells += f"{spent * 1e3:>9.1f}{spent / least['scoresde', what]:>7.2f}{share:>6.0%} "
        print(f"{name:<20}{cells}", flush=True)
    print(f"graph breaks: {graph_breaks(mine.net, x, level)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--score-sde", type=Path, help="a checkout of yang-song/score_sde_pytorch")
    parser.add_argument("--edm", type=Path, help="a checkout of NVlabs/edm")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--network", choices=("ncsnpp", "ddpmpp"), action="append", help="default: both")
    parser.add_argument("--batch", type=int, help="default: that of the size")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    for kind in chosen.network or ("ncsnpp", "ddpmpp"):
        measure(chosen, kind)
    name = torch.cuda.get_device_name() if chosen.device == "cuda" else f"CPU, {chosen.threads} threads"
    print(f"\ntorch {torch.__version__}, {name}, the shortest of {chosen.repeats} turns")


if __name__ == "__main__":
    main()
