"""The tables of benchmarks/README.md, from what `octvideo bench model --out` wrote.

python -m benchmarks.model_table benchmarks/results/i3d_r50_cpu_inference.json ...
"""

import json
import sys
from pathlib import Path
from typing import Any

from octvideo.timing import Ratio


def table(report: dict[str, Any]) -> str:
    """Time ratios to the dense network, with quartiles: a line a setting, a column an alpha. Markdown."""
    rows = report["rows"]
    alphas = sorted({row["alpha"] for row in rows})
    flops = {row["alpha"]: row["flop_ratio"] for row in rows}
    lines = [
        "| | " + " | ".join("dense" if alpha == 0 else f"alpha {alpha:g}" for alpha in alphas) + " |",
        "|---" * (len(alphas) + 1) + "|",
        "| FLOPs | " + " | ".join(f"{flops[alpha]:.2f}" for alpha in alphas) + " |",
    ]
    for key in dict.fromkeys((r["task"], r["mode"], r["precision"], r["layer"]) for r in rows):
        own = {r["alpha"]: r for r in rows if (r["task"], r["mode"], r["precision"], r["layer"]) == key}
        name = ", ".join(key[:3]) + (", plain layer" if key[3] == "plain" else "")
        lines.append(
            f"| time: {name} | " + " | ".join(str(Ratio(**own[a]["time_ratio"])) for a in alphas) + " |"
        )
        if own[0.0]["memory_ratio"] is not None:
            cells = " | ".join(f"{own[alpha]['memory_ratio']:.2f}" for alpha in alphas)
            lines.append(f"| memory: {name} | {cells} |")
    return "\n".join(lines)


def profile_table(report: dict[str, Any]) -> str:
    """Where the time goes, in ms under the profiler: a line a setting and kind of operation. Markdown, or nothing."""
    rows = [row for row in report["rows"] if row.get("profile") and row["layer"] == "fast"]
    if not rows:
        return ""
    alphas = sorted({row["alpha"] for row in rows})
    lines = [
        "| ms | " + " | ".join("dense" if alpha == 0 else f"alpha {alpha:g}" for alpha in alphas) + " |",
        "|---" * (len(alphas) + 1) + "|",
    ]
    for key in dict.fromkeys((r["task"], r["mode"], r["precision"]) for r in rows):
        own = {r["alpha"]: r["profile"] for r in rows if (r["task"], r["mode"], r["precision"]) == key}
        for kind in own[0.0]:
            values = [1000 * own[alpha][kind] for alpha in alphas]
            if max(values) > 0:
                cells = " | ".join(f"{value:.0f}" for value in values)
                lines.append(f"| {', '.join(key)}: {kind} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    for path in sys.argv[1:]:
        report = json.loads(Path(path).read_text())
        size = "x".join(map(str, report["input"]))
        print(f"{report['model']}, {size}, {report['date']}, {report['device']}, {report['versions']}\n")
        print(table(report), end="\n\n")
        print(profile_table(report), end="\n\n")
