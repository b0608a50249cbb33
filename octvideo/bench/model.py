"""`octvideo bench model`: a network and its octave twins side by side."""

import copy
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn

from octvideo.bench.calls import DTYPES, inference, resident_bytes, training_bytes, training_step
from octvideo.bench.plain import plain
from octvideo.bench.profile import kinds_of_time
from octvideo.engines import engine
from octvideo.models import count_macs, create_model, for_training, get_spec
from octvideo.timing import Ratio, interleave, ratio


@dataclass(frozen=True)
class Row:
    """One alpha in one setting, beside the dense network in the same setting and the same rounds.

    Args:
        layer: ``fast``, or the engine that was asked for, or ``plain`` for the layer as it is usually written.
        first_seconds: of the first call, which compiles and lays out weights; no part of the other times.
        time_ratio, memory_ratio: to the fast dense network, of several engines by the first.
        profile: seconds by kind of operation, where asked for.
    """

    task: str
    mode: str
    precision: str
    layer: str
    alpha: float
    seconds: float
    clips_per_second: float
    first_seconds: float
    time_ratio: Ratio
    flop_ratio: float
    memory_ratio: float | None
    profile: dict[str, float] | None = None


@dataclass(frozen=True)
class Setting:
    """What is run.

    Args:
        name: a model of ``octvideo models``.
        alphas: octave ratios to set beside the dense network.
        batch_size: clips.
        num_frames, crop: of a clip, in frames and pixels; None takes the model's.
        device: ``cpu`` or ``cuda``.
        rounds: timed rounds of each.
        channel_multiple: what the numbers of low channels are rounded to (``octavize``).
        layer_alphas: octave ratios of layers that have one of their own in every twin (``octavize``).
    """

    name: str
    alphas: Sequence[float]
    batch_size: int
    num_frames: int | None
    crop: int | None
    device: str
    rounds: int
    channel_multiple: int = 1
    layer_alphas: Mapping[str, float] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        card = get_spec(self.name).card
        side = self.crop or card.crop
        return self.batch_size, 3, self.num_frames or card.num_frames, side, side


def networks(setting: Setting) -> dict[float, nn.Module]:
    """The dense network (alpha 0) and its twins, with the same weights and calibrated norms.

    Uncalibrated norms let a random network's activations shrink to denormal numbers, which CPUs are slow at.
    """
    torch.manual_seed(0)
    dense = create_model(setting.name)
    _calibrate(dense, setting)
    models: dict[float, nn.Module] = {0.0: dense}
    for alpha in setting.alphas:
        twin = create_model(
            setting.name,
            alpha=alpha,
            channel_multiple=setting.channel_multiple,
            layer_alphas=setting.layer_alphas,
        )
        twin.load_state_dict(dense.state_dict())
        _calibrate(twin, setting)
        models[alpha] = twin
    return {
        alpha: model.to(setting.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        for alpha, model in models.items()
    }


def _calibrate(model: nn.Module, setting: Setting) -> None:
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm3d)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        nn.init.ones_(norm.weight)  # pytorchvideo starts the last of each block at 0
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    side = min(setting.shape[-1], 112)
    with torch.no_grad():
        model(torch.randn(2, 3, setting.shape[2], side, side))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def measure(
    setting: Setting,
    *,
    task: str,
    mode: str,
    precision: str,
    models: dict[float, nn.Module],
    engines: Sequence[str] = (),
    with_plain: bool = False,
    with_profile: bool = False,
    advance: Callable[[], object] | None = None,
) -> list[Row]:
    """Time the dense network and its twins, all run the same way, round by round.

    ``engines`` are run side by side; without any the layers choose, as always. ``advance`` is called once for each
    candidate's first call, and once a run.
    """
    dtype = DTYPES[precision]
    x = torch.randn(setting.shape, device=setting.device).to(memory_format=torch.channels_last_3d)
    layers = engines or ("fast",)
    candidates = {(layer, alpha): model for layer in layers for alpha, model in models.items()}
    # CPUs have no bfloat16 kernel for 3D average pooling, which the plain layer needs.
    if with_plain and not (precision == "bf16" and setting.device == "cpu"):
        candidates |= {("plain", alpha): plain(model) for alpha, model in models.items()}
    runs: dict[str, Callable[[], object]] = {}
    first: dict[str, float] = {}
    memory: dict[str, float] = {}
    for (layer, alpha), model in candidates.items():
        name = f"{layer} {alpha}"
        start, resident = time.perf_counter(), resident_bytes(setting.device)
        with engine(layer) if layer in engines else nullcontext():
            if task == "inference":
                run = inference(model, x.to(dtype), mode, optimized=layer != "plain")
            else:
                student = copy.deepcopy(model).train()
                network = student if layer == "plain" else for_training(student)
                run = training_step(network, x, dtype, mode)
            run = _by(layer, run) if layer in engines else run
            runs[name] = run
            run()
        first[name] = time.perf_counter() - start
        if task == "training" and not mode.endswith("graphs"):  # whose memory the allocator does not count
            memory[name] = training_bytes(run, student.parameters(), setting.device, resident)
        if advance is not None:
            advance()
    timings = interleave(runs, rounds=setting.rounds, warmup=1, device=setting.device, advance=advance)
    macs = {alpha: count_macs(model, setting.shape) for alpha, model in models.items()}
    first_layer = layers[0]
    reference = timings[f"{first_layer} 0.0"]
    rows = []
    for layer, alpha in candidates:
        name = f"{layer} {alpha}"
        timing = timings[name]
        rows.append(
            Row(
                task=task,
                mode=mode,
                precision=precision,
                layer=layer,
                alpha=alpha,
                seconds=timing.median,
                clips_per_second=setting.batch_size / timing.median,
                first_seconds=first[name],
                time_ratio=ratio(timing, reference),
                flop_ratio=macs[alpha] / macs[0.0],
                memory_ratio=memory[name] / memory[f"{first_layer} 0.0"] if memory else None,
                profile=kinds_of_time(runs[name], setting.device) if with_profile else None,
            )
        )
    return rows


def _by(name: str, run: Callable[[], object]) -> Callable[[], object]:
    """The run, computed by an engine."""

    def by_engine() -> object:
        with engine(name):
            return run()

    return by_engine


def hush_torch() -> None:
    """torch's own notes on compiling are not this command's output."""
    warnings.filterwarnings("ignore", module="torch")
    logging.getLogger("torch").setLevel(logging.ERROR)
