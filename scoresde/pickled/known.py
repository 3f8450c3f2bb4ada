"""The names that a checkpoint may hold: nothing else is read, and these are read as words."""

import torch

__all__ = ["DTYPES", "KNOWN", "MODULES", "RECORDS", "STORAGES", "families"]

STORAGES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.storage.UntypedStorage": torch.uint8,
}
"""Storages of torch, and the type of their elements."""

DTYPES = {str(dtype): dtype for dtype in STORAGES.values()}

_BUILTINS = "dict list set frozenset tuple object int float str bool bytes bytearray"
_FUNCTIONS = [
    ("collections", "OrderedDict defaultdict Counter"),
    ("builtins", _BUILTINS),
    ("copyreg", "_reconstructor"),
    ("_codecs", "encode"),
    ("torch", "Size device Tensor"),
    ("torch._utils", "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch.storage", "_load_from_bytes"),
    ("torch.nn.parameter", "Parameter Buffer"),
    ("numpy", "dtype ndarray"),
    ("numpy.core.multiarray", "_reconstruct scalar"),
    ("numpy._core.multiarray", "_reconstruct scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("dnnlib.util", "EasyDict"),
    ("torch_utils.persistence", "_reconstruct_persistent_obj"),
]

MODULES = [
    ("torch.nn.modules.container", "ModuleDict ModuleList Sequential ParameterDict ParameterList"),
    ("torch.nn.modules.linear", "Linear Identity"),
    ("torch.nn.modules.conv", "Conv1d Conv2d"),
    ("torch.nn.modules.normalization", "GroupNorm LayerNorm"),
    ("torch.nn.modules.activation", "SiLU ReLU GELU"),
    ("torch.nn.modules.sparse", "Embedding"),
    ("torch.nn.modules.dropout", "Dropout"),
    ("torch.nn.parallel.data_parallel", "DataParallel"),
]
_OTHERS = [
    ("argparse", "Namespace"),
    ("ml_collections.config_dict.config_dict", "ConfigDict FrozenConfigDict"),
    ("pathlib", "PosixPath WindowsPath PurePosixPath"),
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
]


def _pairs(rows: list[tuple[str, str]]) -> set[tuple[str, ...]]:
    return {(module, name) for module, names in rows for name in names.split()}


_RECORDED = _pairs(MODULES) | _pairs(_OTHERS)
RECORDS = {f"{module}.{name}" for module, name in _RECORDED}
"""Classes of which a `Record` is made."""

_dotted = {tuple(name.rsplit(".", 1)) for name in [*DTYPES, *STORAGES]}
KNOWN: set[tuple[str, ...]] = _pairs(_FUNCTIONS) | _RECORDED | _dotted
"""(module, name) of everything that a pickle may name."""


def families() -> str:
    """What is known, for a message."""
    return (
        "tensors, numpy arrays, ordered dictionaries, EDM's persistent objects, argparse.Namespace, "
        "ml_collections.ConfigDict and torch.nn's " + ", ".join(sorted(name for _, name in _pairs(MODULES)))
    )
