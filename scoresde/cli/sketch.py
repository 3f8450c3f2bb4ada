"""A component at its defaults, as its source says: neither it nor anything heavy is imported."""

import ast
import sys
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any

from scoresde import registry

__all__ = ["Sketch"]

_LIGHT = sys.stdlib_module_names | {"numpy"}


class Sketch:
    """Stands in for an instance: its attributes are what the class bodies of its lineage say.

    Defaults of fields and class attributes are evaluated, properties and methods run with the sketch as ``self``. They
    may use literals of their module, the standard library and numpy; what needs more cannot be read.

    Args:
        group, name: of the component.
    """

    def __init__(self, group: str, name: str) -> None:
        source = registry.source(group, name)
        (cls,) = _names(source)["__all__"]
        self._lineage = list(_lineage(source, cls))

    def __getattr__(self, name: str) -> Any:
        for cls, source in self._lineage:
            for node in cls.body:
                match node:
                    case ast.FunctionDef() if node.name == name:
                        return self._method(node, source)
                    case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                        return self._value(value, source)
                    case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if found == name:
                        return self._value(value, source)
        raise AttributeError(name)

    def is_a(self, base: str) -> bool:
        """Whether a class of that name is in the lineage."""
        return base in [cls.name for cls, _ in self._lineage]

    def _value(self, node: ast.expr, source: ast.Module) -> Any:
        """A class attribute's value, or a field's default."""
        value = eval(compile(ast.Expression(node), "<sketch>", "eval"), _names(source))
        return value.fget(self) if isinstance(value, property) and value.fget else value

    def _method(self, node: ast.FunctionDef, source: ast.Module) -> Any:
        """A property's value, or a method to call."""
        plain, names = deepcopy(node), _names(source)
        plain.decorator_list, plain.returns = [], None
        for argument in plain.args.args:
            argument.annotation = None  # of classes that are not imported
        exec(compile(ast.Module([plain], []), "<sketch>", "exec"), names)
        function = partial(names[node.name], self)
        return function() if "property" in map(ast.unparse, node.decorator_list) else function


def _lineage(source: ast.Module, name: str) -> Iterator[tuple[ast.ClassDef, ast.Module]]:
    """A class and its bases, as far as they are ours or a published package's."""
    for node in source.body:
        match node:
            case ast.ClassDef() if node.name == name:
                yield node, source
                for base in node.bases:
                    yield from _lineage(source, ast.unparse(base))
            case ast.ImportFrom(module=str(module)) if name in [alias.name for alias in node.names]:
                package, _, inside = module.partition(".")
                if package in registry._packages:
                    file = registry._folder(package) / f"{inside.replace('.', '/')}.py"
                    yield from _lineage(ast.parse(file.read_text(encoding="utf-8")), name)


def _names(source: ast.Module) -> dict[str, Any]:
    """What a module's code may refer to: light imports and literals."""
    names: dict[str, Any] = {"nested": Sketch}
    for node in source.body:
        match node:
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in _LIGHT:
                exec(compile(ast.Module([node], []), "<sketch>", "exec"), names)
            case ast.Import() if all(alias.name.partition(".")[0] in _LIGHT for alias in node.names):
                exec(compile(ast.Module([node], []), "<sketch>", "exec"), names)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                with suppress(ValueError):
                    names[name] = ast.literal_eval(value)
    return names
