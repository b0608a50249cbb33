"""What a step has at hand, and the process that runs one: `python -m benchmarks.gpu.lab STEP --out FOLDER`."""

import argparse
import importlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import octvideo
from benchmarks.gpu.plan import STEPS
from benchmarks.gpu.results import Results


class Lab:
    """A step's sizes, device, and pen.

    Attributes:
        out: the folder of all results.
        part: which part of the step is run.
    """

    def __init__(self, step: str, out: Path, *, rehearse: bool) -> None:
        self.step, self.out, self.rehearse, self.part = step, out, rehearse, ""
        self.results = Results(out, rehearsal=rehearse, **stamp(rehearse))

    @property
    def device(self) -> str:
        return "cpu" if self.rehearse else "cuda"

    def pick(self, full: Any, tiny: Any) -> Any:
        """The first on a GPU, the second in a rehearsal."""
        return tiny if self.rehearse else full

    def note(self, what: str, **values: Any) -> None:
        """Write down what was found, at once."""
        self.results.append(step=self.step, part=self.part, what=what, **values)

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    @cached_property
    def scratch(self) -> Path:
        """A folder for files that nobody needs afterwards."""
        return Path(tempfile.mkdtemp(prefix="octvideo-gpu-"))


Part = Callable[[Lab], None]


def stamp(rehearse: bool) -> dict[str, Any]:
    """What every line says about where it was found."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": "cpu" if rehearse else torch.cuda.get_device_name(),
        "versions": {
            "octvideo": octvideo.__version__,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        },
    }


def run_parts(lab: Lab, parts: Mapping[str, Part], *, again: bool) -> bool:
    """Run the parts that the results lack; one that fails is written down and stops no other. Whether all went well."""
    well = True
    for name, part in parts.items():
        if lab.results.is_done(lab.step, name) and not again:
            continue
        lab.part = name
        start = time.perf_counter()
        try:
            part(lab)
        except Exception as error:
            traceback.print_exc()
            text = (str(error).strip().splitlines() or [""])[0]
            ended = {"state": "failed", "error": f"{type(error).__name__}: {text}"[:300]}
            well = False
        else:
            ended = {"state": "done"}
        seconds = round(time.perf_counter() - start, 2)
        lab.results.append(step=lab.step, part=name, seconds=seconds, **ended)
    return well


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.lab", description=__doc__)
    parser.add_argument("step")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    if not options.rehearse and not torch.cuda.is_available():
        print("torch finds no CUDA GPU; --rehearse runs everything on the CPU", file=sys.stderr)
        return 2
    step = next(step for step in STEPS if step.name == options.step)
    torch.backends.cudnn.benchmark = True  # the best way for all that is compared
    if options.rehearse:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    module = importlib.import_module(f"benchmarks.gpu.{step.module or step.name}")
    parts = module.PARTS[step.argument] if step.argument else module.PARTS
    lab = Lab(step.name, options.out, rehearse=options.rehearse)
    return 0 if run_parts(lab, parts, again=options.again or step.name == "environment") else 1


if __name__ == "__main__":
    sys.exit(main())
