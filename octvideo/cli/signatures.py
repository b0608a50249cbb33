"""What a class may be given, read out of its source: names, types, defaults and help, without importing it.

Importing VideoClassifier or Lightning's Trainer takes seconds and brings torch; neither a mistyped option nor `--help`
should wait for that.
"""

import ast
from functools import reduce
from importlib.util import find_spec
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple

from docstring_parser import parse

_PLAIN = {"int": int, "float": float, "str": str, "bool": bool, "None": None}


class Parameter(NamedTuple):
    """One of what a class may be given.

    Attributes:
        name: as a keyword.
        kind: its type, Any where that is not made of plain ones.
        default: its value, None where that is not a plain one either.
        text: the sentence of the docstring.
        annotation: its type as it is written.
    """

    name: str
    kind: Any
    default: Any
    text: str
    annotation: str


def parameters(file: str, name: str) -> list[Parameter]:
    """Those of a class: its constructor's, or a dataclass's fields.

    Args:
        file: relative to where packages lie: "octvideo/classifier.py".
        name: the class.
    """
    tree = ast.parse(_path(file).read_bytes())
    (owner,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    made = [node for node in owner.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    documented: list[ast.ClassDef | ast.FunctionDef] = [owner, *made]
    docstrings = [ast.get_docstring(node) or "" for node in documented]
    texts = {given.arg_name: given.description or "" for text in docstrings for given in parse(text).params}
    fields = _arguments(made[0].args) if made else _fields(owner)
    return [
        Parameter(
            name, _kind(kind), _value(default), " ".join(texts.get(name, "").split()), ast.unparse(kind)
        )
        for name, kind, default in fields
    ]


def _path(file: str) -> Path:
    package, _, rest = file.partition("/")
    spec = find_spec(package)  # of the package alone: of a module below, it would import what is above
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], rest)


Field = tuple[str, ast.expr, ast.expr | None]


def _arguments(of: ast.arguments) -> list[Field]:
    names = [*of.args[1:], *of.kwonlyargs]
    defaults = [*of.defaults[-len(of.args[1:]) :], *of.kw_defaults] if of.args[1:] else of.kw_defaults
    return [(a.arg, a.annotation, d) for a, d in zip(names, defaults, strict=True) if a.annotation]


def _fields(of: ast.ClassDef) -> list[Field]:
    nodes = [node for node in of.body if isinstance(node, ast.AnnAssign)]
    return [
        (node.target.id, node.annotation, node.value) for node in nodes if isinstance(node.target, ast.Name)
    ]


def _value(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


def _kind(node: ast.expr) -> Any:
    """A type of plain ones; Any where one of them is not plain."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name) if name in _PLAIN:
            return _PLAIN[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _either(_kind(left), _kind(right))
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _either(_kind(inner), None)
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=inner)):
            return reduce(_either, map(_kind, inner))
        case ast.Subscript(value=ast.Name(id="list"), slice=inner) if _kind(inner) is not Any:
            return list[_kind(inner)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=inner)):
            kinds = tuple(map(_kind, inner))
            return tuple if Any in kinds else tuple[kinds]  # type: ignore[valid-type]
    return Any


def _either(left: Any, right: Any) -> Any:
    return Any if Any in (left, right) else or_(left, right)
