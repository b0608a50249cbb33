"""Timing side by side: every round runs each candidate once, so that a busy moment hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Seconds of one candidate's runs, in the order of the rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """A candidate's time over the reference's, round by round."""

    median: float
    low: float  # first quartile
    high: float  # third quartile

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def interleave(
    runs: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 1,
    device: str = "cpu",
    advance: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time each of ``runs`` once a round.

    Args:
        runs: what to time, by name.
        rounds: timed rounds.
        warmup: rounds before them that do not count.
        device: ``cuda`` waits for the GPU around every run.
        advance: called after every run, to move a progress bar.
        clock: gives seconds; `time.process_time` leaves out what other programs take of a busy machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(warmup + rounds):
        for name, run in runs.items():
            _wait(device)
            start = clock()
            run()
            _wait(device)
            if i >= warmup:
                seconds[name].append(clock() - start)
            if advance is not None:
                advance()
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def ratio(timing: Timing, reference: Timing) -> Ratio:
    """Median and quartiles of the ratios within each round."""
    ratios = [a / b for a, b in zip(timing.seconds, reference.seconds, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
