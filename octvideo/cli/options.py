"""The options that are octvideo's own, and what is wrong with the trainer's, before anything is built of them.

Lightning takes some of these without a word (nothing is trained, nothing is scored), or dies of them much later.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octvideo.cli.errors import UsageError
from octvideo.limits import Limits, check_numbers

_EXPORTED = ("exported", str | None, None, "a network that octvideo export wrote, instead of a checkpoint")

_ALPHAS = (
    (
        "budget_ms",
        float | None,
        None,
        "of a checkpoint of several alphas: the least one at which a clip takes no longer here, in milliseconds",
    ),
    (
        "cascade",
        float | None,
        None,
        "of a checkpoint of several alphas: the largest one first, and the least for what is less sure than this",
    ),
)

# What a command has beside the trainer's, the model's and the data's options: name, type, default, help.
OPTIONS: dict[str, tuple[tuple[str, Any, Any, str], ...]] = {
    "test": (_EXPORTED, *_ALPHAS),
    "predict": (
        _EXPORTED,
        *_ALPHAS,
        (
            "window_s",
            float | None,
            10.0,
            "long videos are scored in windows of so many seconds; null: as a whole",
        ),
        ("hop_s", float | None, None, "from one window's start to the next's, seconds; null: half a window"),
        ("save_video", bool, False, "also write every video with its top labels drawn on it, without sound"),
    ),
}

NUMBERS = ("window_s", "hop_s", "budget_ms", "cascade")  # of these, those with limits

_COUNT = Limits(1, whole=True, or_none=True)
_TRAINER: dict[str, Limits] = {
    "max_epochs": _COUNT,
    "max_steps": _COUNT,
    "accumulate_grad_batches": _COUNT,
    "check_val_every_n_epoch": _COUNT,
    "num_nodes": _COUNT,
    "log_every_n_steps": Limits(0, whole=True, or_none=True),
    "num_sanity_val_steps": Limits(-1, whole=True, or_none=True),
    "gradient_clip_val": Limits(0, or_none=True),
}
_UNLIMITED = -1  # which Lightning has for these two
_STAGES = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}


def check_trainer(command: str, trainer: Mapping[str, Any]) -> None:
    """Raises InputError for a setting of the trainer that no run can mean, UsageError for processes without a core."""
    unlimited = {name for name in ("max_epochs", "max_steps") if trainer.get(name) == _UNLIMITED}
    given = {name: trainer.get(name) for name in _TRAINER if name not in unlimited}
    check_numbers(given, prefix="trainer.", limits=_TRAINER)
    if not trainer.get("fast_dev_run"):
        name = f"limit_{_STAGES[command]}_batches"
        allowed = Limits(0, above=True, or_none=True)
        check_numbers({name: trainer.get(name)}, prefix="trainer.", limits={name: allowed})
    accelerator = trainer.get("accelerator") or "auto"
    if accelerator in ("gpu", "cuda") and surely_no_gpu():
        raise UsageError(
            f"trainer.accelerator is {accelerator}, and this machine has no GPU; allowed are auto and cpu"
        )
    if accelerator not in ("auto", "cpu"):
        return
    devices, cores = str(trainer.get("devices")), os.cpu_count() or 1
    if devices.isdigit() and not 1 <= int(devices) <= cores and _on_cpu(accelerator):
        raise UsageError(
            f"trainer.devices is {devices}, allowed are 1 to {cores} processes on this machine's CPU"
        )
    precision = trainer.get("precision")
    if precision == "bf16-mixed" and not multiplies_bfloat16() and _on_cpu(accelerator):
        raise UsageError(
            "trainer.precision is bf16-mixed, and this CPU has no instructions for bfloat16: a step would take many "
            "times as long; --trainer.precision 32-true"
        )


def _on_cpu(accelerator: str) -> bool:
    if accelerator == "cpu" or surely_no_gpu():
        return True
    import torch  # seconds; asked only where there is a driver, and something to say

    return not torch.cuda.is_available()


def surely_no_gpu() -> bool:
    """Whether there is no driver of a GPU here, which is known without torch; where there is one, torch has to say."""
    if not sys.platform.startswith("linux") or Path("/dev/kfd").exists():  # AMD's
        return False
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return False


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16; True where that cannot be seen.

    Args:
        cpuinfo: what Linux says of it: `flags` on x86, `Features` on ARM.
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        return True
    x86 = platform.machine() in ("x86_64", "AMD64", "i686")
    named = [
        line.partition(":")[2].split() for line in text.splitlines() if line.startswith(("flags", "Features"))
    ]
    wanted = {"avx512_bf16", "amx_bf16"} if x86 else {"bf16"}
    return not named or bool(wanted & set(named[0]))
