"""What benchmarks.evidence found: numbers in JSON, a page of the documentation, a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.figure import Figure

from octvideo.viz._figure import BLUE, GREY, ORANGE, new_figure, plain

RESULTS, PAGE, PICTURE = "benchmarks/results/evidence.json", "docs/evidence.md", "docs/images/evidence.png"
GREEN, PURPLE = "#2f855a", "#6b46c1"
ADAPTED = "benchmarks/results/adapted.json"  # of benchmarks.adapted


def write_report(checkout: Path, report: dict[str, Any]) -> None:
    """Writes the three files; `report` has `runs`, the settings and the machine."""
    files = [checkout / name for name in (RESULTS, PAGE, PICTURE)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    adapted = checkout / ADAPTED
    if adapted.is_file():
        rows = [row for row in json.loads(adapted.read_text()) if row["of"] == "demo"]
        report = {**report, "adapted": rows}
    files[0].write_text(json.dumps(report, indent=1) + "\n")
    files[1].write_text(page(report))
    plot_evidence(report).savefig(files[2])


def select(report: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """The runs with these values."""
    return [run for run in report["runs"] if all(run[key] == value for key, value in wanted.items())]


def spread(values: Iterable[float]) -> str:
    """Mean and sample standard deviation of accuracies, in percent; says so where there is one alone."""
    values = [100 * value for value in values]
    if not values:
        return "-"
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f} (one seed)"


def scratch_table(report: dict[str, Any]) -> list[str]:
    full = select(report, kind="scratch", epochs=report["epochs"])
    seconds = {run["seed"]: run["fit_cpu_seconds"] for run in full if run["alpha"] == 0}
    lines = [
        "| network | alpha | top-1, % | each seed | GFLOPs a view | of dense | training, CPU min | of dense |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for alpha in sorted({run["alpha"] for run in full}):
        runs = [run for run in full if run["alpha"] == alpha]
        dense = next(run["gflops"] for run in full if run["alpha"] == 0)
        each = ", ".join(f"{100 * run['top1']:.1f}" for run in runs)
        minutes = mean(run["fit_cpu_seconds"] for run in runs) / 60
        ratio = mean(run["fit_cpu_seconds"] / seconds[run["seed"]] for run in runs)
        cells = [
            "Oct-I3D" if alpha else "I3D",
            f"{alpha:g}",
            spread(run["top1"] for run in runs),
            each,
            f"{runs[0]['gflops']:.3f}",
            f"{runs[0]['gflops'] / dense:.2f}",
            f"{minutes:.1f}",
            f"{ratio:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def tuning_table(report: dict[str, Any]) -> list[str]:
    lines = ["| alpha | epochs of the octave network | from the dense checkpoint | from scratch |"]
    lines.append("|---|---|---|---|")
    for alpha in sorted({run["alpha"] for run in select(report, kind="twin")}):
        twin = spread(run["top1"] for run in select(report, kind="twin", alpha=alpha))
        lines.append(f"| {alpha:g} | 0: the dense weights, run as octave | {twin} | |")
    for epochs in sorted({run["epochs"] for run in select(report, kind="tuned")}):
        tuned = select(report, kind="tuned", epochs=epochs)
        alpha = tuned[0]["alpha"]
        scratch = select(report, kind="scratch", epochs=epochs, alpha=alpha)
        cells = (spread(run["top1"] for run in runs) for runs in (tuned, scratch))
        lines.append(f"| {alpha:g} | {epochs} | {' | '.join(cells)} |")
    return lines


def ways(report: dict[str, Any], alpha: float) -> dict[str, list[dict[str, Any]]]:
    """The runs of an alpha, by how its weights came to be."""
    return {
        "trained apart": select(report, kind="scratch", epochs=report["epochs"], alpha=alpha),
        "apart, rate x 3": select(report, kind="thrice", alpha=alpha),
        "one checkpoint": select(report, kind="every", alpha=alpha),
        "adapted": [row for row in report.get("adapted", ()) if row["alpha"] == alpha],
    }


def cascade_milliseconds(report: dict[str, Any], run: dict[str, Any]) -> float:
    """Of a clip, on average: all of them at the first alpha, and a share dense too."""
    taken = report["milliseconds"]
    return taken[f"{run['first_alpha']:g}"] + run["share_again"] * taken["0"]


def every_table(report: dict[str, Any]) -> list[str]:
    taken = report["milliseconds"]
    lines = [
        "| alpha | trained apart | apart, rate x 3 | one checkpoint | less than the better, each seed | adapted "
        "| ms a clip | of dense |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for alpha in sorted({run["alpha"] for run in select(report, kind="every")}):
        apart, fast, one, adapted = ways(report, alpha).values()
        best: dict[int, float] = {}
        for run in (*apart, *fast):
            best[run["seed"]] = max(run["top1"], best.get(run["seed"], 0.0))
        less = [best[run["seed"]] - run["top1"] for run in one if run["seed"] in best]
        cells = [
            f"{alpha:g}",
            spread(run["top1"] for run in apart),
            spread(run["top1"] for run in fast),
            spread(run["top1"] for run in one),
            ", ".join(f"{100 * points:.1f}" for points in less) or "-",
            spread(run["top1"] for run in adapted),
            f"{taken[f'{alpha:g}']:.1f}",
            f"{taken[f'{alpha:g}'] / taken['0']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    cascades = select(report, kind="cascade")
    if cascades:
        milliseconds = mean(cascade_milliseconds(report, run) for run in cascades)
        again = ", ".join(f"{100 * run['share_again']:.0f} %" for run in cascades)
        dense = {run["seed"]: run["top1"] for run in select(report, kind="every", alpha=0)}
        less = [dense[run["seed"]] - run["top1"] for run in cascades if run["seed"] in dense]
        cells = [
            f"{cascades[0]['first_alpha']:g}, and 0 below {cascades[0]['confidence']:g} (of {again})",
            "-",
            "-",
            spread(run["top1"] for run in cascades),
            f"(than alpha 0) {', '.join(f'{100 * points:.1f}' for points in less)}",
            "-",
            f"{milliseconds:.1f}",
            f"{milliseconds / taken['0']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def every_section(report: dict[str, Any]) -> list[str]:
    """One checkpoint at every alpha; nothing before its runs are done."""
    trained = select(report, kind="every", epochs=report["epochs"])
    if not trained:
        return []
    of_seed = [
        sum(
            run["fit_cpu_seconds"]
            for run in select(report, kind="scratch", epochs=report["epochs"], seed=seed)
        )
        for seed in (run["seed"] for run in trained)
    ]
    minutes, apart = (mean(values) / 60 for values in ([run["fit_cpu_seconds"] for run in trained], of_seed))
    return [
        "",
        "## One checkpoint at every alpha",
        "",
        "`octvideo fit --model.alphas`: the same weights at every alpha, each with its own norm statistics; top-1 in",
        f"%, seeds: {len(trained)}. Its training took {minutes:.1f} CPU minutes, the four networks apart {apart:.1f}.",
        "The losses of its three alphas add up, which is much like a learning rate that is three times as large:",
        "so the networks are trained apart with that one, too, whose seeds lie far apart.",
        "Time is processor time of one clip alone through networks made ready for inference",
        "(`octvideo.models.optimize`), the median of rounds in which each runs once; of the last row, that of the",
        "first alpha and, for the share that is scored again, of the dense one.",
        "",
        *every_table(report),
    ]


def unfinished(report: dict[str, Any]) -> list[str]:
    """A warning in place of the runs that are missing."""
    done, planned = len(report["runs"]), report["planned"]
    if done == planned:
        return []
    return [
        "",
        f"**{done} of {planned} runs are done.** Rows without ± hold one seed: of such differences, those of a few "
        "percent mean",
        "nothing. The command goes on with the rest.",
    ]


def page(report: dict[str, Any]) -> str:
    """The page, in Markdown."""
    full = select(report, kind="scratch", epochs=report["epochs"])
    tests = f"{full[0]['videos_scored']} test videos" if full else "the test videos"
    seeds = len({run["seed"] for run in full})
    command = "python -m benchmarks.evidence"
    if (report["epochs"], report["seeds"]) != (14, 3):
        command += f" --epochs {report['epochs']} --seeds {report['seeds']}"
    return "\n".join(
        [
            "# Evidence: dense against octave on the demo data",
            "",
            "```bash",
            command,
            "```",
            "",
            f"Everything on this page is written by that command. Seeds: {seeds}; the recipe of",
            f"`configs/demo.yaml` over {report['epochs']} epochs (the demo has 14), the same for all;",
            "no validation chooses a checkpoint, the last one is",
            f"tested, on {tests} of photographs that training never showed, 5 views each. ± is the sample "
            "standard deviation",
            "over the seeds. Chance is 12.5 %.",
            *unfinished(report),
            "",
            "## From scratch",
            "",
            *scratch_table(report),
            "",
            f"(`i3d_tiny`, 8 frames of 64 x 64; {report['machine']}. Time is processor time of training,",
            "decoding included, since the machine had other work; ratios are within a seed.)",
            "",
            "## From a dense checkpoint",
            "",
            "The same weights, run with an octave ratio: top-1 in %, before and after fine-tuning with a fifth of the",
            "learning rate, beside as many epochs of the same network from random weights.",
            "",
            *tuning_table(report),
            *every_section(report),
            "",
            "![Accuracy against cost, over epochs of fine-tuning, and against time](images/evidence.png)",
            "",
            "What this does not show: the demo's videos are rendered, small and of eight classes. Kinetics has "
            "not been trained",
            "here; what the paper reports on it is in [Costs](costs.md). On maps of 16 x 16 pixels and less, which",
            "this network has, octave layers take longer than dense ones: times of networks of full size are in",
            "`benchmarks/README.md`.",
            "",
        ]
    )


def plot_evidence(report: dict[str, Any]) -> Figure:
    """Accuracy against multiply-adds, epochs of fine-tuning, and time; a dot a seed, a line through the means."""
    every = bool(select(report, kind="every"))
    figure = new_figure(15 if every else 10, 3.8)
    cost, tuning, *against_time = figure.subplots(1, 3 if every else 2)
    full = select(report, kind="scratch", epochs=report["epochs"])
    _dots(cost, [(run["gflops"], run["top1"]) for run in full], GREY, "from scratch")
    for alpha, gflops in sorted({(run["alpha"], run["gflops"]) for run in full}):
        top = max(run["top1"] for run in full if run["alpha"] == alpha)
        name = f"alpha {alpha:g}" if alpha else "dense"
        cost.annotate(name, (gflops, 100 * top), xytext=(0, 6), textcoords="offset points", ha="center")
    cost.margins(x=0.12, y=0.25)
    plain(cost, "GFLOPs a view", "top-1, %", f"{report['epochs']} epochs from scratch")

    tuned = select(report, kind="tuned")
    alpha = tuned[0]["alpha"] if tuned else 0.25
    adapted = select(report, kind="twin", alpha=alpha) + tuned
    lengths = {run["epochs"] for run in adapted}
    scratch = [run for run in select(report, kind="scratch", alpha=alpha) if run["epochs"] in lengths]
    for runs, colour, name in (
        (adapted, BLUE, "from the dense checkpoint"),
        (scratch, ORANGE, "from scratch"),
    ):
        _dots(tuning, [(run["epochs"], run["top1"]) for run in runs], colour, name)
    tuning.axhline(12.5, color=GREY, linestyle=":", label="chance")
    plain(tuning, "epochs", "top-1, %", f"alpha {alpha:g}")
    tuning.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.1))
    for axes in against_time:
        _plot_time(axes, report)
    return figure


def _plot_time(axes: Any, report: dict[str, Any]) -> None:
    """Accuracy against milliseconds a clip: trained apart, one checkpoint, its cascade, adapted."""
    points: dict[str, list[tuple[float, float]]] = {}
    for alpha, taken in report["milliseconds"].items():
        for way, runs in ways(report, float(alpha)).items():
            points.setdefault(way, []).extend((taken, run["top1"]) for run in runs)
    # How many videos are scored again differs a little from seed to seed: one place for all.
    cascades = select(report, kind="cascade")
    taken = [cascade_milliseconds(report, run) for run in cascades]
    points["its cascade"] = [(mean(taken), run["top1"]) for run in cascades]
    for (way, found), colour in zip(points.items(), (GREY, PURPLE, BLUE, ORANGE, GREEN), strict=True):
        if found:
            _dots(axes, found, colour, way)
    plain(axes, "ms a clip", "top-1, %", "one checkpoint at every alpha")
    axes.legend(frameon=False)


def _dots(axes: Any, points: list[tuple[float, float]], colour: str, name: str) -> None:
    """Points and a line through the means at each x; y from a share to percent."""
    places = sorted({x for x, _ in points})
    means = [100 * mean(y for at, y in points if at == x) for x in places]
    axes.plot(places, means, color=colour, label=name)
    axes.plot(
        [x for x, _ in points], [100 * y for _, y in points], "o", color=colour, alpha=0.6, markersize=4
    )
