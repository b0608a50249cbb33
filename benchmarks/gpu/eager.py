"""Networks as Python runs them: octvideo's dense and octave I3D, pytorchvideo's own, the octave layer as usual."""

from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.lab import Lab
from benchmarks.gpu.speed import batch, call, compare, others, ours, parts
from octvideo.bench.profile import kinds_of_time


def sides(lab: Lab, *, task: str, clips: int) -> None:
    compare(lab, [*ours(lab), *others(lab)], task=task, mode="eager", clips=clips, rounds=lab.pick(9, 2))


def where_time_goes(lab: Lab, *, task: str) -> None:
    """Milliseconds by kind of operation, and the kernels of a call."""
    x = batch(lab, 32)
    for candidate in ours(lab):
        run = call(candidate, x, task, "eager")
        run()
        kinds = {kind: 1e3 * seconds for kind, seconds in kinds_of_time(run, lab.device).items()}
        lab.note(candidate.name, ms=kinds, kernels=num_kernels(lab, run))


def num_kernels(lab: Lab, run: object) -> int:
    """Kernels of a call; on the CPU, torch's operations."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA][: lab.pick(2, 1)]) as profiler:
        run()  # type: ignore[operator]
        lab.wait()
    wanted = torch.autograd.DeviceType.CPU if lab.rehearse else torch.autograd.DeviceType.CUDA
    return sum(event.device_type == wanted for event in profiler.events())


PARTS = parts(
    {
        f"{task}, {clips} clips": partial(sides, task=task, clips=clips)
        for clips in (32, 8)
        for task in ("inference", "training")
    }
    | {f"profile of {task}": partial(where_time_goes, task=task) for task in ("inference", "training")}
)
