"""What the commands share: composition by Hydra, and errors in one line."""

import dataclasses
import hashlib
import importlib
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from scoresde import registry
from scoresde.cli.help import show_help
from scoresde.errors import Assumed, Diverged, InputError, nearest
from scoresde.files import whole

__all__ = ["command", "newest", "one_line", "pick_device", "pick_labels", "rank", "record", "schema", "version"]


def command(name: str, groups: Sequence[str], settings: Sequence[str], job: str) -> None:
    """Run a command: compose its configuration, refuse what is wrong with it, hand the rest to its job.

    Args:
        name: of ``conf/<name>.yaml``.
        groups: the component groups that it composes.
        settings: the dataclasses of its other keys, as ``"module:class"``: imported only when the job runs.
        job: ``"module:function"``, which takes the configuration as plain values and the run's folder.

    Exits with status 2 and one line for bad input, 1 for a run that failed; SCORESDE_DEBUG=1 shows the traceback.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        if hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # --help | head ends quietly
        show_help(name, groups, settings, job)
        return
    # flags first: the argument parser takes overrides only in one piece
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda a: not a.startswith("-") and ("=" in a or a.startswith("~")))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print
    with one_line(name):
        if name != "train" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError(f"{name}.py is one process: start it without torchrun")
        _run(name, groups, settings, job)


def rank() -> int:
    """The number of this process among those that torchrun started; 0, the first, alone writes and speaks."""
    return int(os.environ.get("RANK", "0"))


def newest(name: str, otherwise: str) -> Path:
    """The file of that name under ``outputs/`` that was written last.

    Raises:
        InputError: when there is none, saying what to do otherwise.
    """
    found = sorted(Path("outputs").rglob(name), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"there is no {name} under outputs/: {otherwise}")
    return found[-1]


def pick_device(device: str) -> str:
    """``auto`` is a GPU where there is one: of several processes on a machine, each takes its own.

    Raises:
        InputError: for a device that torch does not have.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device = {device!r} is not to be had here ({reason}): try device=auto") from None
    return device


def pick_labels(label: int | None, classes: int, numbers: Iterable[int]) -> list[int]:
    """The class of each sample: the one that is asked for, or that of its number, where classes take turns.

    Raises:
        InputError: for a class that the model does not have.
    """
    if label is not None and not 0 <= label < classes:
        has = f"labels 0 to {classes - 1}" if classes else "no labels: train with labels=true"
        raise InputError(f"label = {label}, but the model has {has}")
    return [i % max(classes, 1) if label is None else label for i in numbers]


def record(folder: Path, config: Mapping[str, Any]) -> None:
    """Keep the resolved configuration, and the overrides that made it, in a run's folder: train.config.yaml, …"""
    from hydra.core.hydra_config import HydraConfig

    command = HydraConfig.get().job.config_name
    overrides = list(HydraConfig.get().overrides.task)
    for name, content in (("config", dict(config)), ("overrides", overrides)):
        with whole(folder / f"{command}.{name}.yaml") as draft:
            draft.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def schema(name: str, groups: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Tell Hydra a command's keys and their types, arguments as for `command`, and return their names."""
    from hydra.core.config_store import ConfigStore

    fields: list[Any] = [
        (f.name, registry.configurable(f.type), dataclasses.field(default=f.default))  # a new one: it takes the type
        for place in settings
        for f in dataclasses.fields(_resolve(place))
    ]
    fields += [(group, Any, None) for group in groups]
    ConfigStore.instance().store(name=f"schema_{name}", node=dataclasses.make_dataclass(name, fields))
    return [field[0] for field in fields]


def version(checkpoint: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and digests of its files."""
    if checkpoint.is_dir():
        inner = sorted(file for file in checkpoint.rglob("*") if file.is_file())
        lines = "".join(f"{version(file)}  {file.relative_to(checkpoint).as_posix()}\n" for file in inner)
        return hashlib.sha256(lines.encode()).hexdigest()
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(name: str, groups: Sequence[str], settings: Sequence[str], job: str) -> None:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    known = schema(name, groups, settings)
    registry.publish()

    def task(config: Any) -> None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        with one_line(name, folder):  # here too: Hydra would add lines of its own to what a job raises
            for key in config:
                if key not in known:
                    raise InputError(f"there is no key {key}: {nearest(str(key), known)}")
            _resolve(job)(OmegaConf.to_container(config, resolve=True), folder)

    hydra.main(version_base=None, config_path="pkg://scoresde.conf", config_name=name)(task)()


@contextmanager
def one_line(name: str, folder: Path | None = None) -> Iterator[None]:
    """Turn what a user can mend into one line and an exit status; an empty folder of the run goes with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", Assumed)
            warnings.showwarning = _note
            yield
    except (Exception, KeyboardInterrupt) as error:
        if folder is not None and rank() == 0 and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        line = None if os.environ.get("SCORESDE_DEBUG") else _say(error, name)
        if line is None:
            raise
        print(f"error{f' in process {rank()}' if rank() else ''}: {line}", file=sys.stderr)
        raise SystemExit(_status(error)) from None


def _note(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    """What was assumed, in one line; other warnings as Python shows them."""
    if issubclass(category, Assumed):
        print(f"note: {message}", file=sys.stderr)
    else:
        _SHOW(message, category, *place, **more)


_SHOW = warnings.showwarning


def _resolve(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _status(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 1 if isinstance(error, Diverged | OSError) and not _is_hydra(error) else 2


def _is_hydra(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in ("hydra", "omegaconf")


def _say(error: BaseException, name: str) -> str | None:
    """An error as one line; None for one that is our own fault."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    if _is_hydra(error):
        return _say_hydra(error, name)
    if "Config group override must be" in str(error):  # a number where a component's name belongs
        for key, _, value in (argument.partition("=") for argument in sys.argv[1:]):
            if key in registry.groups() and value not in registry.names(key):
                return f"{key}={value} does not exist: {nearest(value, registry.names(key))}"
    return " ".join(str(error).split()) if isinstance(error, InputError | Diverged | OSError) else None


def _say_hydra(error: BaseException, name: str) -> str:
    """What Hydra refused, with the nearest that it would take."""
    missing = getattr(error, "missing_cfg_file", None)
    if isinstance(missing, str):
        group, _, option = missing.rpartition("/")
        return f"{group}={option} does not exist: {nearest(option, getattr(error, 'options', None) or [])}"
    text = " ".join(str(error).split())
    cause = " ".join(str(error.__cause__).split()) if error.__cause__ else ""
    if found := re.search(r"Could not override '([^']+)'", text):
        key = found.group(1)
        parent, _, field = key.rpartition(".")
        keys = _keys(name, key, parent)
        if not keys and parent in registry.groups():
            return (
                f"{key} needs a {parent} to be a field of: choose {parent}= one of {', '.join(registry.names(parent))}"
            )
        return f"there is no {key}: {nearest(field, keys)}"
    if found := re.search(r"Error merging override (\S+)", text):
        return f"{found.group(1)}: {cause.partition(' full_key')[0] or text}"
    return text


def _keys(name: str, key: str, parent: str) -> list[str]:
    """The keys that stand where ``key`` was looked for."""
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    # the choices of components alone: another field may be misspelt too
    given = [a for a in sys.argv[1:] if "=" in a and not a.startswith("-") and "." not in a.partition("=")[0]]
    given = [a for a in given if a.partition("=")[0].lstrip("+~") != key]
    try:
        with initialize_config_module("scoresde.conf", version_base=None):
            config = compose(name, overrides=given)
        there = OmegaConf.select(config, parent) if parent else config
        return [str(k) for k in there] if there is not None else []
    except (HydraException, OmegaConfBaseException):
        return []
