"""What can decode on this machine, and why not: facts behind `octvideo doctor`."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import torch

from octvideo.data.decode import TABLE, cpu_failure, cuda_failure


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        what: "decord on the CPU", "torchcodec on CUDA", …
        works: whether it works here.
        detail: its version, or why it does not work.
    """

    what: str
    works: bool
    detail: str


def report() -> list[Finding]:
    """Which decoders work here, on the CPU and on CUDA, and what `auto` takes."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    findings = [
        Finding("Python", True, platform.python_version()),
        Finding("torch", True, torch.__version__),
        Finding("CUDA GPU", bool(gpus), ", ".join(gpus) or "torch finds none"),
    ]
    for device, failure in (("the CPU", cpu_failure), ("CUDA", cuda_failure)):
        for decoder in TABLE:
            reason = failure(decoder)
            findings.append(Finding(f"{decoder} on {device}", reason is None, reason or _version(decoder)))
    on_cpu = (
        "decord; PyAV for H.264 and where decord is not exact" if cpu_failure("decord") is None else "PyAV"
    )
    on_cuda = next((name for name in ("decord", "torchcodec") if cuda_failure(name) is None), None)
    findings.append(Finding("auto on the CPU", True, on_cpu))
    findings.append(Finding("auto on CUDA", on_cuda is not None, on_cuda or "neither decord nor torchcodec"))
    return findings


def _version(decoder: str) -> str:
    try:
        return version(TABLE[decoder].package)
    except PackageNotFoundError:  # built and put on the path by hand
        return "version unknown"
