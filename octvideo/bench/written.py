"""What `octvideo bench model` writes: the rows as JSON, and a picture of them."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import octvideo
from octvideo.bench.model import Row, Setting
from octvideo.files import replace_file, replacing


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
        "layer_alphas": dict(setting.layer_alphas),
        "rounds": setting.rounds,
        "rows": [asdict(row) for row in rows],
    }


def write(
    folder: Path, setting: Setting, rows: Sequence[Row], kinds: Sequence[str] | None = None
) -> list[Path]:
    """Write ``NAME_DEVICE_TASKS_MODES….json`` and ``.png`` (time ratio against FLOP ratio) into ``folder``.

    Args:
        kinds: tasks and modes of the name, where the rows are not all yet; None takes the rows'.
    """
    kinds = kinds or list(dict.fromkeys([*(row.task for row in rows), *(row.mode for row in rows)]))
    batch = [f"batch{setting.batch_size}"] if setting.batch_size > 1 else []
    multiple = [f"multiple{setting.channel_multiple}"] if setting.channel_multiple > 1 else []
    mixed = ["layer_alphas"] if setting.layer_alphas else []
    engines = [name for name in dict.fromkeys(row.layer for row in rows) if name not in ("fast", "plain")]
    parts = [setting.name, setting.device, *kinds, *engines, *batch, *multiple, *mixed]
    data = folder / f"{'_'.join(parts)}.json"
    replace_file(data, lambda out: out.write(json.dumps(report(setting, rows), indent=1) + "\n"))
    picture = data.with_suffix(".png")
    figure = plot(rows, f"{setting.name}, {'x'.join(map(str, setting.shape))}, {setting.device}")
    with replacing(picture) as temporary:
        figure.savefig(temporary, dpi=120)
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
