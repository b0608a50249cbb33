"""Engines: interchangeable ways to compute sums of convolutions, and the one function that chooses among them.

| engine | what it is | where it runs |
|---|---|---|
| ``native`` | octvideo's own kernels in C++ | CPUs, plain eager mode, float32 in training |
| ``onednn`` | torch's CPU kernels, weights laid out once | CPUs, inference |
| ``triton`` | octvideo's own kernels in Triton, an octave layer in one launch | CUDA, where it is asked for |
| ``torch`` | torch's operations | everywhere: any device, size and type, traced, compiled, exported |
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from octvideo.engines.geometry import Geometry
from octvideo.engines.interface import Engine, Request, is_traced
from octvideo.engines.native.engine import ENGINE as NATIVE
from octvideo.engines.norm import Norm
from octvideo.engines.onednn import ENGINE as ONEDNN
from octvideo.engines.reference import ENGINE as TORCH
from octvideo.engines.triton.engine import ENGINE as TRITON
from octvideo.errors import InputError

# The first that can do what is asked for is taken, of those that need not be asked for by name.
ENGINES = {e.name: e for e in (NATIVE, ONEDNN, TRITON, TORCH)}
_BY_DEFAULT = tuple(e for e in ENGINES.values() if not e.is_asked_for)

_forced: ContextVar[str | None] = ContextVar("octvideo_engine", default=None)


def choose(request: Request) -> Engine:
    """The engine for a layer's convolutions; ``octvideo.engine`` and OCTVIDEO_ENGINE narrow the choice.

    Where the engine that was asked for cannot do a layer, ``torch`` does it: no other one may take its place.
    """
    name = forced()
    candidates = _BY_DEFAULT if name is None else (ENGINES[name], TORCH)
    return next(e for e in candidates if e.unavailable_reason(request) is None)


def choose_norm(x: Tensor, weight: Tensor) -> Norm | None:
    """What normalises a map in training, if an engine has kernels of its own for it; ``None``: torch.

    Args:
        x: the map.
        weight: of the norm.
    """
    if is_traced():
        return None
    request = Request(x, weight, [], [], trains=True)
    return next((e.norm for e in _with_norms() if e.unavailable_reason(request) is None), None)


def has_norms() -> bool:
    """Whether an engine that may be taken has kernels for norms in training, and for what is behind them."""
    return any(True for _ in _with_norms())


def _with_norms() -> Iterator[Engine]:
    name = forced()
    candidates = _BY_DEFAULT if name is None else (ENGINES[name],)
    return (e for e in candidates if e.norm is not None)


def choose_to_trace(request: Request) -> Engine:
    """The engine whose operations a tracer writes down: ``torch``, or one that was asked for and has an operator."""
    name = _forced_while_traced()
    engine = TORCH if name is None else ENGINES[name]
    can = engine.has_operator and engine.unavailable_reason(request) is None
    return engine if can else TORCH


def reasons(
    dtype: torch.dtype, device: str | torch.device = "cpu", *, trains: bool = False
) -> dict[str, str | None]:
    """Why each engine cannot do an everyday layer here, a 3x3 convolution of 64 channels; None where it can."""
    x = torch.zeros(1, 64, 1, 32, 32, dtype=dtype, device=device).to(memory_format=torch.channels_last_3d)
    weight = torch.zeros(64, 64, 1, 3, 3, dtype=dtype, device=device)
    geometry = Geometry((1, 1, 1), (0, 1, 1), (1, 1, 1))
    request = Request(x, weight, [64], [geometry], trains)
    return {name: e.unavailable_reason(request) for name, e in ENGINES.items()}


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Within it, layers compute by this engine, and by ``torch`` where it cannot: ``with octvideo.engine("torch"):``.

    Args:
        name: ``native``, ``onednn``, ``triton`` or ``torch``.

    Raises:
        InputError: there is no such engine.
    """
    token = _forced.set(_checked("engine", name))
    try:
        yield
    finally:
        _forced.reset(token)


def forced() -> str | None:
    """The engine that was asked for, if one was: by ``engine``, or by the variable OCTVIDEO_ENGINE.

    Raises:
        InputError: the variable names no engine.
    """
    name = _forced.get()
    if name is None and (name := os.environ.get("OCTVIDEO_ENGINE") or None) is not None:
        _checked("OCTVIDEO_ENGINE", name)
    return name


@torch.compiler.assume_constant_result
def _forced_while_traced() -> str | None:
    return forced()


def _checked(parameter: str, name: str) -> str:
    if name not in ENGINES:
        raise InputError(f"{parameter} is {name!r}; it must be one of {', '.join(ENGINES)}")
    return name
