"""What can decode here, and why not: used when a video is opened on a GPU, and by `octvideo doctor`.

Nothing here needs a video file or touches a GPU's memory.
"""

import ctypes
from functools import cache

import torch

from octvideo.errors import InputError


@cache
def cpu_failure(decoder: str) -> str | None:
    """Why a decoder ("decord", "torchcodec", "pyav") does not work on the CPU here, or None if it does."""
    try:
        if decoder == "decord":
            import decord  # noqa: F401
        elif decoder == "torchcodec":
            import torchcodec.decoders  # noqa: F401
        elif decoder == "pyav":
            import av  # noqa: F401
        else:
            raise InputError(f"decoder is {decoder!r}, allowed are decord, torchcodec, pyav")
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except (ImportError, OSError, RuntimeError) as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = "; it needs FFmpeg's shared libraries, 4 to 9" if decoder == "torchcodec" else ""
        return f"can't be loaded ({line}){hint}"
    return None


@cache
def cuda_failure(decoder: str) -> str | None:
    """Why a decoder does not work on a CUDA GPU here, or None if it should."""
    failure = cpu_failure(decoder)
    if failure is not None:
        return failure
    if decoder == "pyav":
        return "decodes on the CPU only"
    if decoder == "decord":
        import decord

        if decord.get_global_func("device_api.gpu", allow_missing=True) is None:
            return "this build has no CUDA (the wheel of the package index has none)"
    if not torch.cuda.is_available():
        return "torch finds no CUDA GPU"
    if decoder == "torchcodec":
        try:
            ctypes.CDLL("libnvcuvid.so.1")
        except OSError:
            return "the driver's NVDEC library, libnvcuvid.so.1, is not there"
    return None
