"""Public docstrings name every argument, and say so where something is raised."""

import inspect
from importlib import import_module

import pytest

# The modules that docs/api shows.
MODULES = ["layers", "models", "data", "viz", "classifier"]
MODULES += [f"evaluation.{name}" for name in ("scores", "metrics", "compare", "plots")]


def public(module: str) -> list[str]:
    """What a module exports, or else what it defines without an underscore."""
    there = import_module(f"octvideo.{module}")
    defined = [
        name
        for name, thing in vars(there).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == there.__name__
    ]
    return list(getattr(there, "__all__", defined))


PUBLIC = [(module, name) for module in MODULES for name in public(module)]


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=str)
def test_docstring_is_whole(module: str, name: str) -> None:
    thing = getattr(import_module(f"octvideo.{module}"), name)
    if not inspect.isclass(thing) and not inspect.isfunction(thing):
        return  # a table or a constant
    text = inspect.getdoc(thing) or ""
    assert text, f"{name} has no docstring"
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    if text.startswith("The image sibling of"):
        return
    parameters = [p for p in inspect.signature(thing).parameters if p not in ("args", "kwargs")]
    assert not [parameter for parameter in parameters if parameter not in text]
    if inspect.isfunction(thing) and "    raise " in inspect.getsource(thing):
        assert "Raises:" in text
