"""How a network is scored: validation, test and prediction, as a LightningModule.

Validation is a test with one view, in which all videos of a batch pass the network together. Batches of a loader of
one's own are clips, `(B, 3, T, H, W)`, or several of each video, `(B, V, 3, T, H, W)`.

B videos, V views a video, T frames, C classes.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn import functional as F

from octvideo.evaluation.scores import (
    ScoreCollector,
    VideoScores,
    accuracy_at,
    check_finite,
    mean_average_precision,
    mean_over_views,
)


class Views(Protocol):
    """One video's views, before they are cut out of its frames; the data module gives them."""

    @property
    def num_views(self) -> int: ...

    def cut(self) -> Tensor:
        """All of them, `(V, 3, T, H, W)`."""

    def batches(self, size: int, /) -> Iterator[Tensor]:
        """So many at a time."""


class ScoredModule(LightningModule):
    """What of VideoClassifier concerns scores.

    Attributes:
        num_classes: of the logits, set by the subclass.
        multi_label: whether a video may be of several classes, set by the subclass.
        view_batch_size: views of one video that pass through the network together, set by the subclass.
        alpha: of the network, set by the subclass.
        alphas: of several networks that `forward` takes by their alpha, set by the subclass; empty where it has one.
        cascade: below which confidence at the last of `alphas` a video is scored again at `alpha`, set by the subclass;
            None scores at `alpha` alone.
        test_result: of the last test.
        predict_result: of the last prediction.
        test_data_seconds: of the last test, waiting for videos.
    """

    num_classes: int
    multi_label: bool
    view_batch_size: int
    alpha: float = 0.0
    alphas: tuple[float, ...] = ()
    cascade: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.test_result: VideoScores | None = None
        self.predict_result: VideoScores | None = None
        self.test_data_seconds = 0.0
        self._batch_end_seconds = 0.0

    def start_scoring(self) -> None:
        """Forgets the scores collected so far."""
        self._collector = ScoreCollector(self.num_classes)
        # Of a validation at several alphas, those beside `alpha`.
        self._at_others = {at: ScoreCollector(self.num_classes) for at in self.alphas if at != self.alpha}
        self._num_unnumbered = 0  # videos of the evaluation that came without a number

    def add_scores(self, scores: Iterable[tuple[int, Any, np.ndarray, int, bool]]) -> None:
        """Counts in videos that were scored before: `(video, label, probabilities, views, again)` each."""
        for video, label, probabilities, num_views, again in scores:
            self._collector.add(video, label, torch.from_numpy(probabilities), num_views, again=again)

    def view_probabilities(self, views: Views) -> Tensor:
        """Class probabilities of one video, `float64 (C,)`.

        `view_batch_size` views at a time are cut and scored; the result does not depend on how videos were batched.
        """
        return self._look(partial(views.batches, self.view_batch_size))[0]

    def _look(self, clips: Callable[[], Iterable[Tensor]]) -> tuple[Tensor, bool]:
        """Class probabilities of the clips of one video, and whether a cascade had to score them again."""
        if self.cascade is not None:
            first = mean_over_views(torch.cat([self(clip, self.alphas[-1]) for clip in clips()]))
            if not first.max() < self.cascade:  # what is no number goes on to where it is refused
                return first, False
        logits = torch.cat([self(clip) for clip in clips()])
        return mean_over_views(logits, multi_label=self.multi_label), self.cascade is not None

    def _collect(
        self, video: int, label: Any, probabilities: Tensor, num_views: int, again: bool = False
    ) -> None:
        """Raises NonFiniteScoresError if a video's scores are no numbers."""
        path_of = getattr(getattr(self._trainer, "datamodule", None), "video_path", "video {}".format)
        check_finite(probabilities, path_of(video))
        self._collector.add(video, label, probabilities, num_views, again=again)

    def _numbers(self, batch: dict[str, Any]) -> list[int]:
        """Which videos a batch is of; those of a loader that does not say it are counted, over all processes."""
        if "video" in batch:
            return batch["video"].tolist()
        first, self._num_unnumbered = self._num_unnumbered, self._num_unnumbered + len(batch["label"])
        world_size, rank = self.trainer.world_size, self.trainer.global_rank
        return [count * world_size + rank for count in range(first, self._num_unnumbered)]

    # Validation

    def on_validation_epoch_start(self) -> None:
        self.start_scoring()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self._collector.add_errors(batch.get("errors", []))
        if "views" in batch:
            num_views = batch["views"][0].num_views
            clip = torch.cat([views.cut() for views in batch["views"]])
        elif "clip" in batch:
            clip, num_views = _by_view(batch["clip"])
        else:  # no video of this batch could be read
            return
        label = batch["label"]
        logits = self(clip).float()
        if (label >= 0).all():  # as it is, whatever the training adds to its loss
            of_views = label.repeat_interleave(num_views, dim=0)
            loss = (
                F.binary_cross_entropy_with_logits(logits, of_views.to(logits))
                if self.multi_label
                else F.cross_entropy(logits, of_views)
            )
            self.log("val/loss", loss, batch_size=len(label), sync_dist=True)
        videos, labels = self._numbers(batch), label.tolist()

        def of_videos(logits: Tensor) -> Iterator[tuple[int, Any, Tensor]]:
            scores = logits.sigmoid() if self.multi_label else logits.softmax(dim=-1)
            return zip(videos, labels, scores.unflatten(0, (-1, num_views)).mean(dim=1).cpu(), strict=True)

        for video, one_label, one in of_videos(logits):
            self._collect(video, one_label, one, num_views)
        for alpha, collector in self._at_others.items():
            for video, one_label, one in of_videos(self(clip, alpha).float()):
                collector.add(video, one_label, one, num_views)

    def on_validation_epoch_end(self) -> None:
        scores = self._collector.gather()
        if self.trainer.state.fn == "validate":  # a training goes on, and says it
            scores.check_any()
        if scores.errors:
            rank_zero_warn(
                f"{len(scores.errors)} of {scores.num_listed} validation videos are unreadable and in no number: "
                + "; ".join(text for _, text in scores.errors)
            )
        self._log_numbers("val", scores, prog_bar=True)
        name = "mean_average_precision" if self.multi_label else "top1"
        for alpha, collector in self._at_others.items():
            at_alpha = collector.gather()
            number = mean_average_precision(at_alpha) if self.multi_label else accuracy_at(at_alpha, 1)
            self.log(f"val/{name}_alpha_{alpha:g}", number)

    def _log_numbers(self, stage: str, scores: VideoScores, *, prog_bar: bool = False) -> None:
        if scores.multi_label:
            self.log(f"{stage}/mean_average_precision", mean_average_precision(scores), prog_bar=prog_bar)
        self.log(f"{stage}/top1", accuracy_at(scores, 1), prog_bar=prog_bar)
        self.log(f"{stage}/top5", accuracy_at(scores, 5))

    # Test and prediction

    def on_test_start(self) -> None:
        self.test_data_seconds = 0.0
        self._batch_end_seconds = time.perf_counter()

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.test_data_seconds += time.perf_counter() - self._batch_end_seconds

    def on_test_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._batch_end_seconds = time.perf_counter()

    def on_test_epoch_start(self) -> None:
        self.start_scoring()
        self.test_result = None

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """As `predict_step`."""
        return self._score(batch)

    def on_test_epoch_end(self) -> None:
        self.test_result = self._collector.gather()
        self._log_numbers("test", self.test_result)

    def on_predict_epoch_start(self) -> None:
        self.start_scoring()
        self.predict_result = None

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """The readable videos of a batch, `{"video": list[int], "label": list, "probabilities": float64 (B, C),
        "again": list[bool], "num_views": int}`, and under "errors" the others, `(video, text)`.
        """
        return self._score(batch)

    def on_predict_epoch_end(self) -> None:
        self.predict_result = self._collector.gather()

    def _score(self, batch: dict[str, Any]) -> dict[str, Any]:
        found, num_views = self._probabilities(batch)
        labels = batch["label"].tolist() if found else []
        videos = self._numbers(batch) if found else []
        for video, label, (probabilities, again) in zip(videos, labels, found, strict=True):
            self._collect(video, label, probabilities, num_views, again)
        self._collector.add_errors(batch.get("errors", []))
        empty = torch.zeros(0, self.num_classes, dtype=torch.float64)
        return {
            "video": videos,
            "label": labels,
            "probabilities": torch.stack([one for one, _ in found]) if found else empty,
            "again": [again for _, again in found],
            "num_views": num_views,
            "errors": list(batch.get("errors", [])),
        }

    def _probabilities(self, batch: dict[str, Any]) -> tuple[list[tuple[Tensor, bool]], int]:
        """Those of every readable video, with whether a cascade scored it again, and how many views each has."""
        if "views" in batch:
            looks = [self._look(partial(views.batches, self.view_batch_size)) for views in batch["views"]]
            return looks, batch["views"][0].num_views
        if "clip" not in batch:
            return [], 0
        clip, num_views = _by_view(batch["clip"])
        if self.cascade is not None:
            return [self._look(partial(iter, [one])) for one in clip.split(num_views)], num_views
        of_videos = self(clip).unflatten(0, (-1, num_views))
        return [(mean_over_views(one, multi_label=self.multi_label), False) for one in of_videos], num_views


def _by_view(clip: Tensor) -> tuple[Tensor, int]:
    """`(B, 3, T, H, W)` or `(B, V, 3, T, H, W)` to `(B * V, 3, T, H, W)` and V."""
    return (clip.flatten(0, 1), clip.shape[1]) if clip.ndim == 6 else (clip, 1)
