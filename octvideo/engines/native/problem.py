"""The structures that the kernels take, field by field those of problem.h."""

import ctypes

Three = ctypes.c_int64 * 3
_Two = ctypes.c_int64 * 2
_Pointers = ctypes.c_void_p * 2


class Convolution(ctypes.Structure):
    """For ``convolve_*``."""

    _fields_ = (
        ("x", _Pointers),
        ("w", _Pointers),
        ("channels", _Two),
        ("x_pixel", _Two),
        ("sources", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("bias", "other", "up", "out", "pooled")),
        *((f"{name}_pixel", ctypes.c_int64) for name in ("other", "up", "out", "pooled")),
        *((name, ctypes.c_int64) for name in ("batch", "frames", "height", "width", "out_channels")),
        *((f"in_{name}", ctypes.c_int64) for name in ("frames", "height", "width")),
        *((name, Three) for name in ("kernel", "padding", "stride")),
        *((name, ctypes.c_int64) for name in ("relu", "threads")),
    )


class WeightGradient(ctypes.Structure):
    """For ``weight_gradient``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "grad", "packed")),
        *((name, ctypes.c_int64) for name in ("x_pixel", "grad_pixel", "in_channels", "out_channels")),
        *((name, ctypes.c_int64) for name in ("batch", "frames", "height", "width")),
        *((f"in_{name}", ctypes.c_int64) for name in ("frames", "height", "width")),
        *((name, Three) for name in ("kernel", "padding", "stride")),
        ("threads", ctypes.c_int64),
    )


class Layout(ctypes.Structure):
    """For ``pack_*`` and ``unpack_float32``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "packed")),
        *((name, ctypes.c_int64) for name in ("out_channels", "in_channels", "out_stride", "in_stride")),
        *((name, Three) for name in ("kernel", "kernel_stride")),
        ("threads", ctypes.c_int64),
    )


def check_sizes(library: ctypes.CDLL) -> None:
    """Raise AssertionError where the library's structures are not those of this file."""
    for name, structure in (
        ("convolution", Convolution),
        ("weight_gradient", WeightGradient),
        ("layout", Layout),
    ):
        size = getattr(library, f"size_of_{name}")()
        if size != ctypes.sizeof(structure):
            raise AssertionError(
                f"problem.h has {size} bytes for {structure.__name__}, problem.py {ctypes.sizeof(structure)}"
            )
