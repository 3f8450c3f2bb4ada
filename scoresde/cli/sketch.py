"""What a component's source says of it: neither it nor anything heavy is imported, and nothing is executed."""

import ast
from collections.abc import Iterator
from typing import Any

from scoresde import registry

__all__ = ["Computed", "Sketch"]


class Computed(Exception):
    """An attribute that is not written out in the source."""


class Sketch:
    """The class bodies of a component and its bases, as far as these are ours or a published package's.

    Args:
        group, name: of the component.
    """

    def __init__(self, group: str, name: str) -> None:
        source = registry.source(group, name)
        (cls,) = _value(_find(source.body, "__all__"), "__all__")
        self._lineage = list(_lineage(source, cls))

    def is_a(self, base: str) -> bool:
        """Whether a class of that name is in the lineage."""
        return base in [cls.name for cls in self._lineage]

    def home(self, attribute: str) -> str | None:
        """The first class of the lineage that says what an attribute is."""
        return next((cls.name for cls in self._lineage if _find(cls.body, attribute)), None)

    def read(self, attribute: str) -> Any:
        """The literal that a class attribute or a field's default is.

        Raises:
            Computed: for a property, a method and anything else.
        """
        found = (_find(cls.body, attribute) for cls in self._lineage)
        return _value(next((node for node in found if node), None), attribute)


def _find(body: list[ast.stmt], name: str) -> ast.stmt | None:
    """The statement that gives a name its value."""
    for node in body:
        match node:
            case ast.FunctionDef(name=found) | ast.Assign(targets=[ast.Name(id=found)]) if found == name:
                return node
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr()) if found == name:
                return node
    return None


def _value(node: ast.stmt | None, name: str) -> Any:
    match node:
        case ast.Assign(value=ast.expr() as value) | ast.AnnAssign(value=ast.expr() as value):
            try:
                return ast.literal_eval(value)
            except ValueError:
                pass
    raise Computed(name)


def _lineage(source: ast.Module, name: str) -> Iterator[ast.ClassDef]:
    for node in source.body:
        match node:
            case ast.ClassDef() if node.name == name:
                yield node
                for base in node.bases:
                    yield from _lineage(source, ast.unparse(base))
            case ast.ImportFrom(module=str(module)) if name in [alias.name for alias in node.names]:
                package, _, inside = module.partition(".")
                if package in registry._packages:
                    file = registry._folder(package) / f"{inside.replace('.', '/')}.py"
                    yield from _lineage(ast.parse(file.read_text(encoding="utf-8")), name)
