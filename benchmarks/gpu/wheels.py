"""Collects what a GPU machine lacks: `make gpu-wheels`, or `python -m benchmarks.gpu.wheels`.

The machine has Python 3.12, torch, torchvision, lightning, torchmetrics, timm, matplotlib, rich and what these need,
and no network. decord is left out: its wheel does not decode on GPUs, and PyAV reads what it reads.
"""

import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
KIT = CHECKOUT / ".gpu"
MAX_MB = 64  # what travels to such a machine, in MiB: the checkout and the kit
PYTHON, PLATFORMS = (
    "3.12",
    [f"manylinux_2_{number}_x86_64" for number in (17, 27, 28)] + ["manylinux2014_x86_64"],
)
WHEELS = (
    "av",
    "torchcodec",
    "jsonargparse",
    "docstring_parser",
    "typeshed_client",
    "parameterized",
    "yacs",
    "termcolor",
)
SOURCES = ("pytorchvideo", "fvcore", "iopath")  # have no wheels, and no compiled code either
CLIPS = ("arm_wrestling.mp4", "h265_video.mp4", "video_90.mov", "bt709_full_range.mp4")
COMMAND = 'timeout 590 python3 -m benchmarks.gpu --kit .gpu --out "$OUT"'


def main() -> int:
    shutil.rmtree(KIT / "wheels", ignore_errors=True)
    for name in WHEELS:
        platforms = [option for platform in PLATFORMS for option in ("--platform", platform)]
        _pip("download", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platforms,
             "--dest", str(KIT / "wheels"), name)  # fmt: skip
    for name in SOURCES:
        _pip("wheel", "--wheel-dir", str(KIT / "wheels"), name)
    clips = CHECKOUT.parent / "shared" / "clips"
    (KIT / "clips").mkdir(exist_ok=True)
    for name in CLIPS:
        if (clips / name).exists():
            shutil.copyfile(clips / name, KIT / "clips" / name)
    tree, kit = size_mb(travelling_files()), size_mb([file for file in KIT.rglob("*") if file.is_file()])
    print(f"{KIT}: {kit:.1f} MiB, the checkout: {tree:.1f} MiB, both: {tree + kit:.1f} of {MAX_MB} MiB")
    if tree + kit > MAX_MB:
        print(f"more than the {MAX_MB} MiB that travel", file=sys.stderr)
        return 1
    print(
        f"On the machine, in the checkout with .gpu beside it, $OUT being the folder that comes home:\n    {COMMAND}"
    )
    return 0


def travelling_files() -> list[Path]:
    """The checkout's files, those that git ignores apart."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True).stdout
    return [CHECKOUT / name for name in listed.decode().split("\0") if name and (CHECKOUT / name).is_file()]


def size_mb(files: list[Path]) -> float:
    return sum(file.stat().st_size for file in files) / 2**20


def _pip(command: str, *arguments: str) -> None:
    versions = ["--constraint", str(CHECKOUT / "constraints.txt")]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([sys.executable, "-m", "pip", command, *quiet, *versions, *arguments], check=True)


if __name__ == "__main__":
    sys.exit(main())
