"""KineticsDataModule: from manifests to normalised batches, for training, evaluation and prediction."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset, DistributedSampler, Sampler, SequentialSampler

from octvideo.card import RECIPE, Card
from octvideo.data.augment import Augmentation, batch_seed
from octvideo.data.dataset import (
    ClipSampler,
    ClipSpec,
    EvalDataset,
    EvalRows,
    TrainDataset,
    collate_eval,
    collate_train,
)
from octvideo.data.decode import DECODERS, VideoDecodeError
from octvideo.data.labels import class_counts, mirrored_classes
from octvideo.data.loaders import Collate, Loader, make_loader
from octvideo.data.manifest import MISSING, Manifest, find_videos, read_class_list, read_manifest
from octvideo.data.transforms import EvalTransform, TrainTransform
from octvideo.data.unreadable import Unreadable
from octvideo.data.windows import Window, WindowDataset
from octvideo.errors import InputError
from octvideo.limits import Limits, check_numbers

_BATCHES = Limits(0, 2**53, whole=True)  # of an epoch, that a checkpoint says were seen
# What has limits beside the recipe, which the card checks.
_LOADING = ("batch_size", "eval_batch_size", "num_workers", "seed", "seconds_a_video", "max_unreadable")
_STAGES = ("train", "val", "test", "predict")


class KineticsDataModule(LightningDataModule):
    """Videos listed in manifests, as clips.

    A clip is `num_frames` frames, evenly over `num_frames * frame_stride / fps` seconds, at whatever rate the file has.
    Training takes one random clip a video and epoch; validation one clip and one crop, both in the middle;
    test and predict `num_clips` clips spread evenly over the video times `num_crops` crops along its long side.

    Args:
        train_csv: manifest of the training videos, see `octvideo.data.manifest`.
        val_csv: manifest of the validation videos.
        test_csv: manifest of the test videos.
        predict_paths: video files, folders of them or manifests; labels are optional.
        root: folder that the manifests' paths are relative to; None is each manifest's own folder.
        class_list: file of the ordered class names, one a line; or kinetics400, kinetics600 or kinetics700.
        num_classes: labels must be below it; None is the length of the class list, or unchecked.
        multi_label: whether videos may be of several classes, joined in the manifests by `|`.
        missing: "error", or "skip" to leave out listed videos that are not there.
        allow_outside_root: whether a manifest's path may lead out of its root.
        num_frames: frames a clip.
        frame_stride: frames at `fps` from one frame of a clip to the next.
        fps: frames a second that `frame_stride` counts in.
        frame_times: "even", from a clip's first frame to its last; "steps" of `frame_stride / fps` seconds; or
            "segments", a frame of each of `num_frames` equal parts of the whole video, as for Something-Something.
        short_side: training: least and most pixels of the short side.
        crop: training: side of the random crop, pixels.
        flip: training: probability of a horizontal flip. A flipped clip of a class that is named after a side gets the
            class of the other side, and one without such a class is not flipped (`octvideo.data.labels`); 0 where left
            and right are different classes by other names.
        balance: training: how far rare classes are drawn more often, 0 (as listed) to 1 (all classes alike).
        augment: training: RandAugment, erasing, mixup and CutMix, on the device.
        test_short_side: elsewhere: pixels of the short side.
        test_crop: elsewhere: side of the crops, pixels.
        num_clips: test and predict: clips a video.
        num_crops: test and predict: crops a clip.
        mean: of red, green, blue, in 0 to 1.
        std: of red, green, blue, in 0 to 1.
        batch_size: training clips a process and step.
        eval_batch_size: videos, each with all its views, a process and step.
        num_workers: decoding processes a training process; None is one a CPU core, at most 8; 0 is none.
        seed: of order, clips, crops and flips.
        decoder: "auto", "decord", "torchcodec" or "pyav", see `octvideo.data.open_video`.
        decode_device: "cpu", in worker processes; or "cuda", in `num_workers` threads of the training process,
            on its GPU, where the frames stay.
        seconds_a_video: a decoder that takes longer hangs: its worker process is killed, which stops the run, and
            the video named; the next start counts it as unreadable (`hung.txt`). None is no limit.
        max_unreadable: training stops when more than this share of the videos (and more than one) can't be
            read within an epoch.
        repeat_first_frame: val, test and predict: every clip is its first frame repeated.

    Raises:
        ValueError: an argument out of its range.
        ManifestError: here for the class list, in `setup` for the manifests.
    """

    def __init__(
        self,
        *,
        train_csv: str | None = None,
        val_csv: str | None = None,
        test_csv: str | None = None,
        predict_paths: str | list[str] | None = None,
        root: str | None = None,
        class_list: str | None = None,
        num_classes: int | None = None,
        multi_label: bool = False,
        missing: str = "error",
        allow_outside_root: bool = False,
        num_frames: int = 8,
        frame_stride: int = 8,
        fps: float = 30.0,
        frame_times: str = "even",
        short_side: tuple[int, int] = (256, 320),
        crop: int = 224,
        flip: float = 0.5,
        balance: float = 0.0,
        augment: Augmentation = Augmentation(),  # noqa: B008  immutable
        test_short_side: int = 256,
        test_crop: int = 256,
        num_clips: int = 10,
        num_crops: int = 3,
        mean: tuple[float, float, float] = (0.45, 0.45, 0.45),
        std: tuple[float, float, float] = (0.225, 0.225, 0.225),
        batch_size: int = 8,
        eval_batch_size: int = 1,
        num_workers: int | None = None,
        seed: int = 0,
        decoder: str = "auto",
        decode_device: str = "cpu",
        seconds_a_video: float | None = 300.0,
        max_unreadable: float = 0.01,
        repeat_first_frame: bool = False,
    ) -> None:
        super().__init__()
        if decoder not in DECODERS:
            raise InputError(f"decoder is {decoder!r}, allowed are {', '.join(DECODERS)}")
        if decode_device != "cpu" and not decode_device.startswith("cuda"):
            raise InputError(f"decode_device is {decode_device!r}, allowed are cpu, cuda and cuda:N")
        if missing not in MISSING:
            raise InputError(f"missing is {missing!r}, allowed are {', '.join(MISSING)}")
        settings = locals()
        check_numbers({name: settings[name] for name in _LOADING})
        recipe = Card(**{name: settings[name] for name in RECIPE})
        self.spec = ClipSpec.of(recipe)
        self.train_transform = TrainTransform(recipe.short_side, crop, flip)
        self.balance = balance
        self.augment = augment
        self.mean, self.std = recipe.mean, recipe.std
        self.val_transform = EvalTransform(test_short_side, test_crop, 1, self.mean, self.std)
        self.test_transform = EvalTransform(test_short_side, test_crop, num_crops, self.mean, self.std)
        self.num_clips = num_clips
        self.csv = {"train": train_csv, "val": val_csv, "test": test_csv}
        self.predict_paths = predict_paths
        self.root = root
        self.missing = missing
        self.allow_outside_root = allow_outside_root
        self.class_names: tuple[str, ...] | None = read_class_list(class_list) if class_list else None
        if self.class_names and num_classes not in (None, len(self.class_names)):
            raise InputError(
                f"num_classes is {num_classes}, allowed is the length of {class_list}, {len(self.class_names)}"
            )
        self.num_classes = len(self.class_names) if self.class_names else num_classes
        self.multi_label = multi_label
        if multi_label and self.num_classes is None:
            raise InputError("num_classes is None, allowed with multi_label is a number, or a class_list")
        # The recipe of this data and its classes, which belong to a model that is trained with it.
        self.card = replace(
            recipe, num_classes=self.num_classes, class_names=self.class_names, multi_label=multi_label
        )
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.decoder = decoder
        self.decode_device = decode_device
        self.seconds_a_video = seconds_a_video
        self.max_unreadable = max_unreadable
        self.repeat_first_frame = repeat_first_frame
        self.manifests: dict[str, Manifest] = {}
        self.windows: list[Window] | None = None  # as `part` has them
        self.rows: list[int] | None = None
        self._unreadable = Unreadable()
        self._num_seen = 0  # videos that this process has had of the epoch that it resumes

    def part(
        self, *, windows: Sequence[Window] | None = None, rows: Sequence[int] | None = None
    ) -> "KineticsDataModule":
        """The same data, of which stretches of videos are predicted, or some rows alone evaluated.

        Args:
            windows: of the videos to predict, which are rows then; None leaves them as they are, each video whole at
                first.
            rows: to evaluate, of videos or of windows; None is all.
        """
        part = copy(self)
        part.windows = self.windows if windows is None else list(windows)
        part.rows = None if rows is None else list(rows)
        return part

    # Manifests

    def setup(self, stage: str | None = None) -> None:
        """Reads and checks the manifests that a stage ("fit", "validate", "test", "predict", None) needs."""
        needed = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}
        for name in needed[str(getattr(stage, "value", stage))] if stage else _STAGES:
            if name not in self.manifests:
                manifest = self._read(name)
                if manifest is not None:
                    self.manifests[name] = manifest

    def _read(self, name: str) -> Manifest | None:
        if name == "predict":
            if not self.predict_paths:
                return None
            return find_videos(
                self.predict_paths,
                root=self.root,
                class_names=self.class_names,
                multi_label=self.multi_label,
                missing=self.missing,
                allow_outside_root=self.allow_outside_root,
            )
        csv = self.csv[name]
        if csv is None:
            return None
        return read_manifest(
            csv,
            root=self.root,
            class_names=self.class_names,
            num_classes=self.num_classes,
            multi_label=self.multi_label,
            missing=self.missing,
            allow_outside_root=self.allow_outside_root,
        )

    def manifest(self, name: str) -> Manifest:
        """The manifest of "train", "val", "test" or "predict", read on first use."""
        if name not in _STAGES:
            raise InputError(f"the manifest is {name!r}, allowed are {', '.join(_STAGES)}")
        if name not in self.manifests:
            manifest = self._read(name)
            if manifest is None:
                argument = "predict_paths" if name == "predict" else f"{name}_csv"
                raise InputError(f"{argument} is None, {name} needs it")
            self.manifests[name] = manifest
        return self.manifests[name]

    def paths(self, name: str) -> tuple[str, ...]:
        """Absolute paths of the videos of "train", "val", "test" or "predict"; `video` numbers count them."""
        return self.manifest(name).paths

    def class_counts(self) -> np.ndarray:
        """`int64 (C,)`: how many training videos each class has."""
        if self.num_classes is None:
            raise InputError("num_classes is None, counting the classes' videos needs it")
        return class_counts(self.manifest("train").labels, self.num_classes)

    def video_path(self, video: int) -> str:
        """Absolute path of the video of that number (to predict: of that window), in the stage that runs now."""
        stage = self._now()
        if stage == "predict" and self.windows is not None:
            video = self.windows[video].video
        return self.paths(stage)[video]

    def _now(self) -> str:
        trainer = self.trainer
        if trainer is not None:
            if trainer.validating or trainer.sanity_checking:
                return "val"
            if trainer.testing:
                return "test"
            if trainer.predicting:
                return "predict"
            if trainer.training:
                return "train"
        return next(reversed(self.manifests), "train")

    # Loaders

    def train_dataloader(self) -> Loader:
        manifest = self.manifest("train")
        world_size, rank = self._world()
        dataset = TrainDataset(
            manifest,
            self.spec,
            self.train_transform,
            seed=self.seed,
            mirrored_classes=mirrored_classes(self.class_names) if self.class_names else None,
            num_classes=self.num_classes,
            **self._decoding(),
        )
        sampler = ClipSampler(
            dataset, num_replicas=world_size, rank=rank, seed=self.seed, balance=self.balance
        )
        sampler.start, self._num_seen = self._num_seen, 0
        # A last batch of one clip would upset batch norm; a set smaller than a batch is one batch.
        drop_last = len(sampler) >= self.batch_size
        return self._loader(dataset, sampler, self.batch_size, collate_train, drop_last=drop_last)

    def val_dataloader(self) -> Loader | list[Loader]:
        if self.csv["val"] is None and self.trainer is not None and self.trainer.state.fn == "fit":
            return []  # training without validation
        return self._eval_loader("val", self.val_transform, 1)

    def test_dataloader(self) -> Loader:
        return self._eval_loader("test", self.test_transform, self.num_clips)

    def predict_dataloader(self) -> Loader:
        return self._eval_loader("predict", self.test_transform, self.num_clips)

    def _eval_loader(self, name: str, transform: EvalTransform, num_clips: int) -> Loader:
        videos = EvalDataset(
            self.manifest(name),
            self.spec,
            transform,
            num_clips=num_clips,
            num_classes=self.num_classes,
            repeat_first_frame=self.repeat_first_frame,
            **self._decoding(),
        )
        if name == "predict" and self.windows is not None:
            videos = WindowDataset(videos, self.windows)
        dataset = videos if self.rows is None else EvalRows(videos, self.rows)
        world_size, rank = self._world()
        # Every process gets as many videos, so the first may come twice; their number tells.
        sampler: Sampler = (
            DistributedSampler(dataset, num_replicas=world_size, rank=rank, shuffle=False)
            if world_size > 1
            else SequentialSampler(dataset)
        )
        return self._loader(dataset, sampler, self.eval_batch_size, collate_eval)

    def _world(self) -> tuple[int, int]:
        """(number of processes, number of this one)."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _decoding(self) -> dict[str, Any]:
        device = torch.device(self.decode_device)
        if device.type == "cuda" and device.index is None and self.trainer is not None:
            of_trainer = self.trainer.strategy.root_device
            device = of_trainer if of_trainer.type == "cuda" else device
        hung = Path(self.trainer.default_root_dir) / "hung.txt" if self.trainer else None
        return {
            "decoder": self.decoder,
            "device": device,
            "seconds_a_video": self.seconds_a_video,
            "hung_file": hung.absolute() if hung else None,
        }

    def _loader(
        self, dataset: Dataset, sampler: Sampler, batch_size: int, collate: Collate, drop_last: bool = False
    ) -> Loader:
        return make_loader(
            dataset,
            sampler,
            batch_size=batch_size,
            collate_fn=collate,
            drop_last=drop_last,
            num_workers=self.num_workers,
            device=torch.device(self.decode_device),
        )

    # Batches

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves all but the videos' numbers: they are read on the host, which would wait for the device."""
        if not isinstance(batch, dict) or "video" not in batch:
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        others = {name: value for name, value in batch.items() if name != "video"}
        moved = super().transfer_batch_to_device(others, device, dataloader_idx)
        return {**moved, "video": batch["video"]}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Normalises training clips, uint8 `(B, 3, T, H, W)`, on their device.

        The views of an evaluation stay as they are: the classifier cuts those that it is about to score.
        """
        if not isinstance(batch, dict):
            return batch
        self._count(batch.pop("replaced", []))
        clip = batch.get("clip")
        if clip is not None and clip.dtype == torch.uint8:
            training = self.trainer is not None and self.trainer.training
            batch = self._augmented(batch) if training else {**batch, "clip": self.normalise(clip)}
        return batch

    def _augmented(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Training clips augmented and normalised; labels become shares of classes where clips are mixed."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        with batch_seed(self.seed, epoch, batch["video"].tolist()):
            clip = self.augment.erase(self.normalise(self.augment.pixels(batch["clip"])))
            if not self.augment.mixes:
                return {**batch, "clip": clip}
            if self.num_classes is None:
                raise InputError("num_classes is None, augment.mixup and augment.cutmix need it")
            clip, label = self.augment.mix(clip, batch["label"], self.num_classes)
        return {**batch, "clip": clip, "label": label}

    def normalise(self, clip: torch.Tensor) -> torch.Tensor:
        """`uint8 (B, 3, T, H, W)` to float32 of mean 0 and variance 1."""
        mean, std = (_by_channel(tuple(values), clip.device) for values in (self.mean, self.std))
        return clip.to(torch.float32).sub_(mean).div_(std)

    # Resuming in the middle of an epoch

    def state_dict(self) -> dict[str, Any]:
        """How far the epoch is, for a checkpoint."""
        if self.trainer is None:
            return {}
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return {
            "batches": 0 if progress.is_last_batch else progress.current.ready,
            "batch_size": self.batch_size,
            "world_size": self.trainer.world_size,
            "seed": self.seed,
            "balance": self.balance,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Lets the next training loader go on where the checkpoint's was.

        Raises:
            ValueError: the checkpoint is in the middle of an epoch of other batches.
        """
        batches = state.get("batches", 0)
        check_numbers({"batches": batches}, prefix="in the checkpoint, ", limits={"batches": _BATCHES})
        if not batches or self.trainer is None or self.trainer.state.fn != "fit":
            return
        ours = {
            "batch_size": self.batch_size,
            "world_size": self.trainer.world_size,
            "seed": self.seed,
            "balance": self.balance,
        }
        theirs = {"balance": 0.0, **state}  # checkpoints from before there was one
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise InputError(
                    f"{name} is {value}, allowed is {theirs.get(name)}: the checkpoint is in the middle of an epoch, "
                    "whose other half would have other videos"
                )
        self._num_seen = batches * self.batch_size

    # Unreadable training videos

    @property
    def num_replaced(self) -> int:
        """Training clips of this epoch taken from another video, since their own can't be read."""
        return self._unreadable.num_replaced

    def _count(self, replaced: Sequence[tuple[int, str]]) -> None:
        if not replaced:
            return
        trainer = self.trainer
        world_size = trainer.world_size if trainer else 1
        file = Path(trainer.log_dir or trainer.default_root_dir) / "unreadable.txt" if trainer else None
        self._unreadable.add(replaced, trainer.current_epoch if trainer else 0, file)
        allowed = max(1, self.max_unreadable * len(self.manifest("train")) / world_size)
        bad = self._unreadable.this_epoch
        if len(bad) > allowed:
            raise VideoDecodeError(
                f"{len(bad)} training videos can't be read in one epoch, allowed are {int(allowed)} "
                f"(max_unreadable={self.max_unreadable}): " + "; ".join(bad[video] for video in sorted(bad))
            )


@lru_cache(maxsize=16)
def _by_channel(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Colours in 0 to 1 as pixels have them, `float (3, 1, 1, 1)`; brought to a device once, which it is waited for."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device).mul(255).view(-1, 1, 1, 1)
