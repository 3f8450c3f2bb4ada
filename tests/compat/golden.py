"""Files of other projects built from their layout, and numbers that their code gives with the same weights.

``golden/*.json`` has for each case a configuration, the names and shapes of the tensors, and a sample of the output.
"""

import json
import math
import zlib
from pathlib import Path

import torch

FOLDER = Path(__file__).parent / "golden"


def cases(family: str) -> dict[str, dict]:
    return json.loads((FOLDER / f"{family}.json").read_text(encoding="utf-8"))


def noise(shape, seed: int) -> torch.Tensor:
    """Numbers in [-1, 1) that need no generator, the same on every machine."""
    place = torch.arange(math.prod(shape), dtype=torch.float64)
    return (2 * ((place * 12.9898 + seed % 1000).sin() * 43758.5453).remainder(1) - 1).float().reshape(tuple(shape))


def weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Weights under which every layer keeps about the size of what goes through it."""
    made = {}
    for name, shape in shapes.items():
        values = noise(shape, zlib.crc32(name.encode()))
        if name == "time_proj.weight":
            made[name] = 4 * values
        elif len(shape) > 1:
            made[name] = values * math.sqrt(3 / math.prod(shape[1:]))
        else:
            made[name] = 0.1 * values + (1.0 if name.endswith("weight") else 0.0)
    return made


def seen(output: torch.Tensor) -> list[float]:
    """Twelve of the output's numbers, and its norm."""
    flat = output.flatten().double()
    return [*flat[:: max(1, len(flat) // 11)][:12].tolist(), flat.norm().item()]


def close(output: torch.Tensor, golden: list[float]) -> bool:
    """Whether an output is the golden one to 1e-5 of its root mean square."""
    got, want = torch.tensor(seen(output)), torch.tensor(golden)
    size = golden[-1] / math.sqrt(output.numel())
    return bool(((got - want)[:-1].abs() < 1e-5 * size * 4).all()) and math.isclose(got[-1], want[-1], rel_tol=1e-5)
