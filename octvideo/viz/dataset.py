"""A data set seen before training on it: classes, lengths, rates, sizes, and files that cannot be read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from octvideo.data import VideoDecodeError
from octvideo.data.decode import VideoScan, scan_video
from octvideo.viz._figure import BLUE, new_figure, plain


@dataclass(frozen=True)
class Survey:
    """What a full decode of a set of videos found.

    Attributes:
        scans: of the videos that decode, by path.
        broken: what is wrong with the others, by path.
    """

    scans: dict[str, VideoScan] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def survey(paths: Sequence[str]) -> Survey:
    """Decodes every video once, from front to back.

    Args:
        paths: of video files; one that cannot be read is reported, not raised.
    """
    found = Survey()
    for path in paths:
        try:
            found.scans[path] = scan_video(path)
        except VideoDecodeError as error:
            found.broken[path] = error.reason
    return found


def plot_class_counts(labels: Sequence[int], class_names: Sequence[str] | None = None) -> Figure:
    """Videos a class, most first.

    Args:
        labels: one a video.
        class_names: by label; None numbers them. Classes without videos are shown too if they have a name.
    """
    counts = Counter(labels)
    classes = sorted(set(counts) | set(range(len(class_names or ()))), key=lambda c: (-counts[c], c))
    names = [class_names[c] if class_names else f"class {c}" for c in classes]
    figure = new_figure(7, 1 + 0.22 * min(len(classes), 60))
    axes = figure.subplots()
    axes.barh(range(len(classes)), [counts[c] for c in classes], color=BLUE)
    if len(classes) <= 60:
        axes.set_yticks(range(len(classes)), names, fontsize=8)
    axes.invert_yaxis()
    plain(axes, "videos", "class", f"{len(labels)} videos in {len(classes)} classes")
    return figure


def plot_overview(found: Survey) -> Figure:
    """Durations (seconds), frame rates and frame sizes (pixels) of the videos that decode.

    Args:
        found: what `survey` gave.
    """
    scans = list(found.scans.values())
    figure = new_figure(10, 3)
    durations, rates, sizes = figure.subplots(1, 3)
    durations.hist([scan.seconds for scan in scans], bins=20, color=BLUE)
    plain(durations, "seconds", "videos", f"{len(scans)} decode, {len(found.broken)} do not")
    by_rate = Counter(round(scan.fps, 2) for scan in scans)
    names = [f"{rate:g}" for rate in sorted(by_rate)]
    rates.bar(names, [by_rate[rate] for rate in sorted(by_rate)], color=BLUE)
    plain(rates, "frames a second", "videos")
    sizes.plot([s.width for s in scans], [s.height for s in scans], "o", color=BLUE, alpha=0.4)
    plain(sizes, "width, pixels", "height, pixels")
    return figure
