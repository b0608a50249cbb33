"""`octvideo bench model`: a network and its octave twins side by side."""

import copy
import json
import logging
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

import octvideo
from octvideo.bench.plain import plain
from octvideo.bench.profile import kinds_of_time
from octvideo.bench.timing import Ratio, interleave, ratio
from octvideo.models import count_macs, create_model, get_spec, optimize
from octvideo.models.optimize import Frozen

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
TASKS = ("inference", "training")
MODES = ("eager", "compiled")


@dataclass(frozen=True)
class Row:
    """One alpha in one setting, beside the dense network in the same setting and the same rounds.

    Args:
        layer: ``fast``, or ``plain`` for the layer as it is usually written.
        first_seconds: of the first call, which compiles and lays out weights; no part of the other times.
        time_ratio, memory_ratio: to the fast dense network.
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
    """

    name: str
    alphas: Sequence[float]
    batch_size: int
    num_frames: int | None
    crop: int | None
    device: str
    rounds: int
    channel_multiple: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        spec = get_spec(self.name)
        side = self.crop or spec.crop
        return self.batch_size, 3, self.num_frames or spec.num_frames, side, side


def networks(setting: Setting) -> dict[float, nn.Module]:
    """The dense network (alpha 0) and its twins, with the same weights and calibrated norms.

    Uncalibrated norms let a random network's activations shrink to denormal numbers, which CPUs are slow at.
    """
    torch.manual_seed(0)
    dense = create_model(setting.name)
    _calibrate(dense, setting)
    models: dict[float, nn.Module] = {0.0: dense}
    for alpha in setting.alphas:
        twin = create_model(setting.name, alpha=alpha, channel_multiple=setting.channel_multiple)
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
    with_plain: bool = False,
    with_profile: bool = False,
    advance: Callable[[], object] | None = None,
) -> list[Row]:
    """Time the dense network and its twins, all run the same way, round by round.

    ``advance`` is called once for each candidate's first call, and once a run.
    """
    dtype = PRECISIONS[precision]
    x = torch.randn(setting.shape, device=setting.device).to(memory_format=torch.channels_last_3d)
    candidates = {("fast", alpha): model for alpha, model in models.items()}
    # CPUs have no bfloat16 kernel for 3D average pooling, which the plain layer needs.
    if with_plain and not (precision == "bf16" and setting.device == "cpu"):
        candidates |= {("plain", alpha): plain(model) for alpha, model in models.items()}
    runs: dict[str, Callable[[], object]] = {}
    first: dict[str, float] = {}
    memory: dict[str, float] = {}
    for (layer, alpha), model in candidates.items():
        name = f"{layer} {alpha}"
        if task == "inference":
            run = _inference(model, x.to(dtype), mode == "compiled", layer == "fast")
        else:
            student = copy.deepcopy(model).train()
            run = _training(student, x, dtype, mode == "compiled", setting.device)
        runs[name] = run
        start = time.perf_counter()
        run()
        first[name] = time.perf_counter() - start
        if task == "training":
            memory[name] = _training_memory(run, student.parameters(), setting.device)
        if advance is not None:
            advance()
    timings = interleave(runs, rounds=setting.rounds, warmup=1, device=setting.device, advance=advance)
    macs = {alpha: count_macs(model, setting.shape) for alpha, model in models.items()}
    reference = timings["fast 0.0"]
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
                memory_ratio=memory[name] / memory["fast 0.0"] if memory else None,
                profile=kinds_of_time(runs[name], setting.device) if with_profile else None,
            )
        )
    return rows


def _inference(model: nn.Module, x: Tensor, compiled: bool, optimized: bool) -> Callable[[], object]:
    if optimized:
        network = optimize(model, compile=compiled).to(x.dtype)
    else:
        network = copy.deepcopy(model).to(x.dtype)
        network = Frozen(network) if compiled else network

    @torch.no_grad()
    def run() -> object:
        return network(x)

    return run


def _training(
    model: nn.Module, x: Tensor, dtype: torch.dtype, compiled: bool, device: str
) -> Callable[[], object]:
    """One step: forward, backward and SGD, in autocast for bfloat16."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
    forward = cast(nn.Module, torch.compile(model, dynamic=False)) if compiled else model

    def run() -> object:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            loss = nn.functional.cross_entropy(forward(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return run


def _training_memory(run: Callable[[], object], parameters: Iterable[Tensor], device: str) -> float:
    """Bytes of a training step: the GPU allocator's peak, or what autograd saves beside the weights on the CPU."""
    run()  # compile, and let the optimiser make its state
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        run()
        return float(torch.cuda.max_memory_allocated())
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    for parameter in parameters:
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    return float(sum(saved.values()))


def report(setting: Setting, rows: Sequence[Row]) -> dict[str, Any]:
    """Everything measured, with the machine and the versions, as plain values for JSON."""
    gpu = torch.cuda.get_device_name() if setting.device == "cuda" else None
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": gpu or f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {
            "octvideo": octvideo.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "model": setting.name,
        "input": list(setting.shape),
        "channel_multiple": setting.channel_multiple,
        "rounds": setting.rounds,
        "rows": [asdict(row) for row in rows],
    }


def write(folder: Path, setting: Setting, rows: Sequence[Row]) -> list[Path]:
    """Write ``NAME_DEVICE_TASKS_MODES….json`` and ``.png`` (time ratio against FLOP ratio) into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = dict.fromkeys([*(row.task for row in rows), *(row.mode for row in rows)])
    batch = [f"batch{setting.batch_size}"] if setting.batch_size > 1 else []
    multiple = [f"multiple{setting.channel_multiple}"] if setting.channel_multiple > 1 else []
    data = folder / f"{'_'.join([setting.name, setting.device, *kinds, *batch, *multiple])}.json"
    data.write_text(json.dumps(report(setting, rows), indent=1) + "\n")
    picture = data.with_suffix(".png")
    plot(rows, f"{setting.name}, {'x'.join(map(str, setting.shape))}, {setting.device}").savefig(
        picture, dpi=120
    )
    return [data, picture]


def plot(rows: Sequence[Row], title: str) -> Any:
    """A matplotlib figure: time ratio against FLOP ratio, and the line where they are equal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    settings = sorted({(row.task, row.mode, row.precision, row.layer) for row in rows})
    for key in settings:
        own = sorted(
            (r for r in rows if (r.task, r.mode, r.precision, r.layer) == key), key=lambda r: r.flop_ratio
        )
        middle = [r.time_ratio.median for r in own]
        spread = [
            [m - r.time_ratio.low for m, r in zip(middle, own, strict=True)],
            [r.time_ratio.high - m for m, r in zip(middle, own, strict=True)],
        ]
        axes.errorbar(
            [r.flop_ratio for r in own], middle, spread, marker="o", capsize=3, label=", ".join(key)
        )
    axes.axline((1, 1), slope=1, color="grey", linestyle="--", label="time follows FLOPs")
    axes.set(xlabel="FLOPs / dense FLOPs", ylabel="time / dense time", title=title)
    axes.legend()
    return figure


def hush_torch() -> None:
    """torch's own notes on compiling are not this command's output."""
    warnings.filterwarnings("ignore", module="torch")
    logging.getLogger("torch").setLevel(logging.ERROR)
