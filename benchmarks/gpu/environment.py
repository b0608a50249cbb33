"""What machine this is, and what of octvideo works on it. Always run, so that a results file says where it is from."""

import ctypes
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks.gpu.lab import Lab
from octvideo.data.doctor import report

PACKAGES = (
    "torch",
    "torchvision",
    "triton",
    "lightning",
    "numpy",
    "av",
    "torchcodec",
    "pytorchvideo",
    "timm",
)


def machine(lab: Lab) -> None:
    lab.note(
        "software",
        python=platform.python_version(),
        cudnn=torch.backends.cudnn.version(),
        **{name: _version(name) for name in PACKAGES},
    )
    if lab.device == "cuda":
        about = torch.cuda.get_device_properties(0)
        lab.note(
            "GPU",
            count=torch.cuda.device_count(),
            name=about.name,
            memory_gb=round(about.total_memory / 1e9, 1),
            processors=about.multi_processor_count,
            capability=f"{about.major}.{about.minor}",
            driver=_driver(),
        )


def doctor(lab: Lab) -> None:
    for finding in report():
        lab.note(finding.what, works=finding.works, detail=finding.detail)


def nvdec(lab: Lab) -> None:
    """Whether the driver's decoding library is there, and FFmpeg's for torchcodec."""
    try:
        ctypes.CDLL("libnvcuvid.so.1")
        lab.note("libnvcuvid.so.1", works=True)
    except OSError as error:
        lab.note("libnvcuvid.so.1", works=False, detail=str(error))
    try:
        from torchcodec.decoders import VideoDecoder

        lab.note("torchcodec", works=VideoDecoder is not None)
    except (ImportError, RuntimeError, OSError) as error:
        lab.note("torchcodec", works=False, detail=str(error).strip().splitlines()[0])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return "nvidia-smi does not answer"


PARTS = {"machine": machine, "doctor": doctor, "nvdec": nvdec}
