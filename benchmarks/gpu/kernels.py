"""octvideo's Triton kernels beside torch's: right, then layer by layer with their tiles, then whole networks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

import octvideo
from benchmarks.gpu.correctness import tests
from benchmarks.gpu.lab import Lab
from benchmarks.gpu.speed import batch, call, ours, parts
from octvideo.engines.triton import tiles
from octvideo.layers import Octave, OctaveConv3d
from octvideo.layers.frozen import FrozenConv
from octvideo.models import optimize
from octvideo.models.graphs import record
from octvideo.timing import Timing, interleave, ratio

ENGINES = ("torch", "triton")
# Channels in and out, kernel in time, side of the map: what most of I3D's time goes into.
LAYERS = {
    "64 to 256": (64, 256, 1, 56),
    "256 to 64, three frames": (256, 64, 3, 56),
    "512 to 128": (512, 128, 1, 28),
    "256 to 1024": (256, 1024, 1, 14),
}


def layers(lab: Lab) -> None:
    """Each engine's dense layer and octave layer at alpha .25, with a residual and ReLUs, 32 clips, bfloat16."""
    for name, sizes in list(LAYERS.items())[: lab.pick(None, 1)]:
        runs = {
            f"{kind}, {engine}": _layer(lab, *sizes, alpha, engine)
            for kind, alpha in (("dense", 0.0), ("alpha 0.25", 0.25))
            for engine in ENGINES
        }
        with torch.no_grad():
            timings = interleave(runs, rounds=lab.pick(15, 2), warmup=2, device=lab.device)
        best = min((timings[f"dense, {engine}"] for engine in ENGINES), key=lambda timing: timing.median)
        for what, timing in timings.items():
            lab.note(f"{name}, {what}", ms=1e3 * timing.median, to_best_dense=str(ratio(timing, best)))
    lab.note("tiles", **tiles.known())


def _layer(
    lab: Lab, channels: int, out: int, frames: int, side: int, alpha: float, engine: str
) -> Callable[[], object]:
    channels, out, side = lab.pick((channels, out, side), (16, 16, 4))
    low_in, low_out = int(alpha * channels), int(alpha * out)
    options = {"kernel_size": (frames, 1, 1), "padding": (frames // 2, 0, 0)}
    conv = (
        OctaveConv3d(channels, out, **options, alpha_in=alpha, alpha_out=alpha)
        if alpha
        else nn.Conv3d(channels, out, **options)
    )
    frozen = FrozenConv(conv.to(lab.device, torch.bfloat16))
    frozen.relu = frozen.outputs

    def map(channels: int, side: int) -> torch.Tensor:
        x = torch.randn(lab.pick(32, 1), channels, lab.pick(8, 2), side, side, device=lab.device)
        return x.to(torch.bfloat16, memory_format=torch.channels_last_3d)

    x = Octave(map(channels - low_in, side), map(low_in, side // 2) if alpha else None)
    residuals = map(out - low_out, side), map(low_out, side // 2) if alpha else None

    def run() -> object:
        with octvideo.engine(engine):
            return frozen(*x, *residuals)

    return run


def networks(lab: Lab, *, clips: int, graphs: bool) -> None:
    """Dense and octave I3D by each engine, with the first tile of the list: the others take minutes to compile."""
    x = batch(lab, clips).to(torch.bfloat16)
    runs: dict[str, Callable[[], object]] = {}
    tiles.searches = False
    for candidate in ours(lab):
        for engine in ENGINES:
            network = optimize(candidate.network).to(torch.bfloat16)

            @torch.no_grad()
            def run(network: nn.Module = network, engine: str = engine) -> object:
                with octvideo.engine(engine):
                    return network(x)

            run()
            runs[f"{candidate.name}, {engine}"] = record(run) if graphs and not lab.rehearse else run
    _note_to_best_dense(lab, interleave(runs, rounds=lab.pick(11, 2), warmup=2, device=lab.device))


def trainings(lab: Lab, *, clips: int) -> None:
    """Steps in bfloat16's autocast of dense and octave I3D by each engine, with the first tile of each list.

    An engine's own fusions are in both: norms with the addition and the ReLU behind them, by `for_training`.
    """
    x = batch(lab, clips)
    runs: dict[str, Callable[[], object]] = {}
    tiles.searches = False
    for candidate in ours(lab):
        for engine in ENGINES:
            with octvideo.engine(engine):
                step = call(candidate, x, "training", "eager")

            def run(step: Callable[[], object] = step, engine: str = engine) -> object:
                with octvideo.engine(engine):
                    return step()

            run()
            runs[f"{candidate.name}, {engine}"] = run
    _note_to_best_dense(lab, interleave(runs, rounds=lab.pick(9, 2), warmup=1, device=lab.device))


def _note_to_best_dense(lab: Lab, timings: dict[str, Timing]) -> None:
    best = min(
        (timings[name] for name in timings if name.startswith("dense")), key=lambda timing: timing.median
    )
    for name, timing in timings.items():
        lab.note(name, ms=1e3 * timing.median, to_best_dense=str(ratio(timing, best)))


PARTS = {"right": partial(tests, file="engines")} | parts(
    {
        "networks, 32 clips": partial(networks, clips=32, graphs=False),
        "networks, 1 clip, graphs": partial(networks, clips=1, graphs=True),
        "training, 32 clips": partial(trainings, clips=32),
        "layers": layers,
    }
)
