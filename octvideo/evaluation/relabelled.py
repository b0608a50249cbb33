"""Labels in another order than the network's classes, told by what the network makes of their videos."""

from dataclasses import dataclass

import numpy as np

from octvideo.evaluation.scores import VideoScores
from octvideo.text import shown

_AT_MOST, _AT_LEAST = 0.05, 0.5  # top-1 as labelled, and with the labels read as other classes


@dataclass(frozen=True)
class Relabelled:
    """Labels that seem to mean other classes.

    Attributes:
        classes: by label, the class that its videos are scored as; labels without videos are left out.
        top1: share of the videos that are right as they are labelled.
        would_be: share that would be right if the labels meant these classes, of videos that they were not found by.
    """

    classes: dict[int, int]
    top1: float
    would_be: float

    def sentence(self, names: tuple[str, ...] | None) -> str:
        """One line for the person who asked."""
        steps = {found - label for label, found in self.classes.items()}
        if len(steps) == 1:
            likely = f"every label n is scored as class n {next(iter(steps)):+d}"
        else:
            first = list(self.classes.items())[:3]
            likely = ", ".join(
                f"{_name(label, names)} is scored as {_name(found, names)}" for label, found in first
            )
        return (
            f"the labels seem to be of another class list: {self.top1:.1%} are right, {self.would_be:.1%} would be if "
            f"they meant other classes; {likely}"
        )


def relabelled(scores: VideoScores) -> Relabelled | None:
    """The one-to-one reading of the labels that makes most of them right; None where they are not so wrong, or several.

    It is found by every other video of a label and counted on the rest, so that a few videos of many classes, which
    some reading always fits, say nothing.

    Args:
        scores: of a test, N videos of C classes.
    """
    if scores.multi_label:
        return None
    known = scores.labels >= 0
    labels, found = scores.labels[known], scores.probabilities[known].argmax(1)
    top1 = float((labels == found).mean()) if len(labels) else 1.0
    if top1 >= _AT_MOST:
        return None
    number = np.zeros(len(labels), dtype=int)  # of a video among its label's
    for label in np.unique(labels):
        number[labels == label] = np.arange((labels == label).sum())
    kept = number % 2 == 1
    classes = _assign(labels[~kept], found[~kept])
    if not kept.any():
        return None
    would_be = float(
        np.mean([classes.get(int(a)) == b for a, b in zip(labels[kept], found[kept], strict=True)])
    )
    return Relabelled(classes, top1, would_be) if would_be > _AT_LEAST else None


def _assign(labels: np.ndarray, found: np.ndarray) -> dict[int, int]:
    """A class for each label, none twice: pairs with the most videos first."""
    pairs, counts = np.unique(np.stack([labels, found]), axis=1, return_counts=True)
    classes: dict[int, int] = {}
    for label, one in pairs.T[np.argsort(-counts, kind="stable")].tolist():
        if label not in classes and one not in classes.values():
            classes[label] = one
    return dict(sorted(classes.items()))


def _name(number: int, names: tuple[str, ...] | None) -> str:
    return f"{number} ({shown(names[number])})" if names else str(number)
