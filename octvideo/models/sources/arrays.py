"""Pickle files of numpy arrays, read by an unpickler that knows arrays and dtypes and nothing else.

Not even numpy's own functions run: what a file calls by their names are stand-ins of this module, which take bytes and
a shape. So a file can hold no program, and no dtype that numpy would take for something that the bytes are not.
"""

import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from octvideo.text import shown

# What torch's own pickle files start with: a number, before the pickle that holds the tensors.
_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")


class ArraysError(pickle.UnpicklingError):
    """A file that holds something else than arrays of numbers; the text says what."""


def is_pickle(file: Path) -> bool:
    """Whether a file is a pickle that torch did not write, of protocol 2 or later."""
    with file.open("rb") as opened:
        start = opened.read(len(_TORCH))
    return start[:1] == b"\x80" and start != _TORCH


def read_arrays(file: Path) -> dict[str, Tensor]:
    """The arrays of a pickled dictionary of dictionaries, a name being the keys with dots between them.

    Texts, single numbers and lists beside the arrays are left out.

    Raises:
        ArraysError: it holds other objects, or is damaged.
        OSError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            # Python 2's texts, and its arrays' bytes, are read one character a byte.
            content = _Unpickler(opened, encoding="latin1").load()
    except (OSError, ArraysError):
        raise
    except Exception as error:  # whatever a damaged file makes of the instructions
        raise ArraysError("a damaged or truncated pickle file") from error
    if not isinstance(content, dict):
        raise ArraysError(f"holds a {type(content).__name__}, expected a dictionary of arrays")
    return {name: torch.from_numpy(array.value()) for name, array in _leaves(content, "", set())}


def _leaves(content: Mapping[Any, Any], prefix: str, seen: set[int]) -> Iterator[tuple[str, "_Array"]]:
    if id(content) in seen:
        raise ArraysError("a dictionary is in it twice")  # or in itself
    seen.add(id(content))
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.", seen)
        elif isinstance(value, _Array):
            yield f"{prefix}{key}", value


class _Dtype:
    """``numpy.dtype("f4", ...)``, whose byte order is told later."""

    def __init__(self, code: str, *flags: Any) -> None:
        if code not in _DTYPES:
            raise ArraysError(
                f"an array's dtype is {str(code)[:20]!r}; it must be one of {', '.join(_DTYPES)}"
            )
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "=", "|"):
            raise ArraysError("an array's byte order is none of <, >, = and |")
        self.order = state[1]


class _Array:
    """An array that is empty when it is made, and gets shape, dtype and bytes later."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype, self.is_fortran, self.content = _Dtype("f4"), False, b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        content = content.encode("latin1") if isinstance(content, str) else content
        if not (isinstance(dtype, _Dtype) and isinstance(content, bytes) and all(n >= 0 for n in shape)):
            raise ArraysError("an array without shape, dtype and bytes")
        if math.prod(shape) * int(dtype.code[1:]) != len(content):
            raise ArraysError(f"an array of shape {tuple(shape)} with {len(content)} bytes")
        self.shape, self.dtype, self.is_fortran, self.content = shape, dtype, bool(is_fortran), content

    def value(self) -> np.ndarray:
        """A copy, in the machine's byte order."""
        flat = np.frombuffer(self.content, self.dtype.order + self.dtype.code)
        return flat.reshape(self.shape, order="F" if self.is_fortran else "C").astype(
            self.dtype.code, order="C"
        )


class _Name:
    """What a file may call by a name of numpy's."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def __call__(self, *arguments: Any) -> Any:
        return self.make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise ArraysError("it would change what reads it")


_NDARRAY = _Name(_Array)


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> _Array:
    if kind is not _NDARRAY:
        raise ArraysError("an array of another class than numpy.ndarray")
    return _Array()


def _scalar(dtype: Any, content: Any) -> _Array:
    array = _Array()
    array.__setstate__((1, (), dtype, False, content))
    return array


_NAMES = {
    "numpy.ndarray": _NDARRAY,
    "numpy.dtype": _Name(_Dtype),
    **{
        f"numpy.{core}.multiarray.{name}": _Name(make)
        for core in ("core", "_core")
        for name, make in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _NAMES:
            raise ArraysError(
                "refused, it holds pickled Python objects, which loading would have to execute: "
                f"{shown(module)}.{shown(name)}"
            )
        return _NAMES[f"{module}.{name}"]
