"""The steps of a run on a GPU, in order of value, and how they share its time."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.results import Results

CHECKOUT = Path(__file__).parents[2]
SECONDS = 570  # of a whole run; such machines end a command after ten minutes
_LAST_SECONDS = 8.0  # for the table, and for what comes home


@dataclass(frozen=True)
class Step:
    """A step is a module of this package, run in a process of its own.

    Args:
        name: as `--only` takes it; the module's is the same, with underscores.
        seconds: its time. It gets more where those before it left some, and less where the run's end is near.
        argument: what the module is told, for one that serves two steps.
    """

    name: str
    seconds: float
    module: str = ""
    argument: str = ""

    def command(self, out: Path, rehearse: bool, again: bool) -> list[str]:
        options = [*(["--rehearse"] if rehearse else []), *(["--again"] if again else [])]
        return [sys.executable, "-m", "benchmarks.gpu.lab", self.name, "--out", str(out), *options]


STEPS = (
    Step("environment", 25),
    Step("ceilings", 25),
    Step("correctness", 75),
    Step("eager", 75),
    Step("kernels", 70),
    Step("compiled inference", 100, "compiled", "inference"),
    Step("compiled training", 95, "compiled", "training"),
    Step("decoding", 30),
    Step("fit", 50),
    Step("caches", 15),
)


class UnknownStepError(ValueError):
    """A name of no step; the text, one line, has those that there are."""


def choose(names: Sequence[str] | None, steps: Sequence[Step] = STEPS) -> list[Step]:
    """The steps of these names, in the plan's order; all of them for None. The environment is always looked at.

    Raises:
        UnknownStepError: there is no such step.
    """
    allowed = [step.name for step in steps]
    for name in names or ():
        if name not in allowed:
            raise UnknownStepError(f"--only is {name!r}, allowed: {', '.join(map(repr, allowed))}")
    return [step for step in steps if not names or step.name in {*names, "environment"}]


def run(
    steps: Sequence[Step],
    results: Results,
    *,
    deadline: float,
    command: Callable[[Step], list[str]],
    environment: Mapping[str, str],
    again: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Run each step that the results lack. One that fails or is cut stops nothing; what it had found stays.

    Args:
        deadline: of `time.monotonic`; steps are shortened so that the last ends before it.
        command: what runs a step.
        environment: of the steps' processes.
        again: also run what is there already.
    """
    log = results.file.with_name("log.txt")
    for number, step in enumerate(steps):
        if results.is_done(step.name) and not again and step.name != "environment":
            say(f"{step.name}: done before")
            continue
        left = deadline - time.monotonic() - _LAST_SECONDS
        later = sum(other.seconds for other in steps[number + 1 :])
        limit = max(min(step.seconds, left), left - later)
        if limit < 1:
            results.append(step=step.name, state="skipped", error="no time was left")
            say(f"{step.name}: no time left")
            continue
        start = time.monotonic()
        code = _call(command(step), limit, log, environment)
        seconds = round(time.monotonic() - start, 1)
        state = {0: "done", None: "cut"}.get(code, "failed")
        why = {"cut": f"at its limit of {limit:.0f} s", "failed": f"exit code {code}; log.txt has its words"}
        results.append(
            step=step.name, state=state, seconds=seconds, **({} if code == 0 else {"error": why[state]})
        )
        say(f"{step.name}: {state}, {seconds} s of {limit:.0f}")


def _call(command: list[str], seconds: float, log: Path, environment: Mapping[str, str]) -> int | None:
    """The exit code; None where it was stopped, with every process that it had started."""
    with log.open("a") as file:
        file.write(f"\n== {' '.join(command)}\n")
        file.flush()
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=dict(environment), stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:  # also where this process is told to end
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(
                subprocess.TimeoutExpired
            ):  # one that the driver holds is not waited for
                process.wait(timeout=2)
