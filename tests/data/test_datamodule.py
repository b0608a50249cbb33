"""The data module over small videos in which every frame tells its number, and what it does with bad ones."""

import ctypes
import logging
import pickle
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import nn

from octvideo.data import KineticsDataModule, ManifestError, VideoDecodeError
from octvideo.data.dataset import ClipIndex
from octvideo.errors import ProcessDiedError

# Clips of 4 frames, 5 apart at 30 fps; one level of grey is 1/8 of a frame (see make_video).
SMALL = {
    "num_frames": 4,
    "frame_stride": 5,
    "short_side": (32, 40),
    "crop": 32,
    "flip": 0.0,
    "test_short_side": 32,
    "test_crop": 32,
    "num_clips": 3,
    "num_crops": 2,
    "batch_size": 2,
    "num_workers": 0,
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video):
    """Four videos of 25 frames at 30 fps, except the last, which has 50 at 60; train.csv and bad.csv."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        make_video(folder / f"{number}.mp4", num_frames=25, size=(48, 64))
    make_video(folder / "3.mp4", num_frames=50, fps=60, size=(64, 48))
    (folder / "bad.mp4").write_bytes(b"no video")
    (folder / "train.csv").write_text("".join(f"{number}.mp4 {number}\n" for number in range(4)))
    (folder / "bad.csv").write_text("0.mp4 0\nbad.mp4 1\n2.mp4 2\n")
    (folder / "classes.txt").write_text("zero\none\ntwo\nthree\n")
    return folder


def numbers(clip):
    """Frame numbers of `(..., 3, T, H, W)` uint8 clips: the grey at the lower left corner, undone."""
    grey = clip[..., 2, :, -8:, :8].float().mean(dim=(-1, -2))
    return ((grey - 20) / 8).round().to(torch.int64)


def views(batch):
    """The bytes of the views of each video of a batch, `uint8 (V, 3, T, H, W)`, by plain indexing."""
    return [
        torch.stack(
            [
                video.frames[place, top : top + video.side, left : left + video.side].permute(3, 0, 1, 2)
                for place, (top, left) in zip(video.places, video.corners, strict=True)
            ]
        )
        for video in batch["views"]
    ]


def test_test_views(videos):
    data = KineticsDataModule(test_csv=str(videos / "train.csv"), eval_batch_size=2, **SMALL)
    first, second = list(data.test_dataloader())
    assert [video.shape for video in views(first)] == [(6, 3, 4, 32, 32)] * 2
    # Each frame once, and a video's own size.
    assert [tuple(video.frames.shape) for video in second["views"]] == [(12, 32, 42, 3), (12, 42, 32, 3)]
    assert {video.frames.dtype for video in second["views"]} == {torch.uint8}
    assert first["label"].tolist() == first["video"].tolist() == [0, 1]
    assert first["errors"] == second["errors"] == []
    # 25 frames hold a clip of 20 with 5 to spare: clips start at 0, 1 2/3 and 3 1/3, rounded up, and their
    # frames are 6 1/3 apart, rounded down; twice each for 2 crops.
    expected = [[0, 6, 12, 19]] * 2 + [[2, 8, 14, 21]] * 2 + [[4, 10, 16, 23]] * 2
    assert numbers(views(first)[0]).tolist() == expected
    # 60 fps: a clip of 40 of 50 frames, its frames 13 apart. 25 numbers are a cycle.
    fast = [[0, 13, 26, 39]] * 2 + [[4, 17, 30, 43]] * 2 + [[7, 20, 33, 46]] * 2
    assert numbers(views(second)[1]).tolist() == [[number % 25 for number in clip] for clip in fast]


def test_validation_is_one_centre_view(videos):
    data = KineticsDataModule(val_csv=str(videos / "train.csv"), **SMALL)
    batches = list(data.val_dataloader())
    assert [[tuple(video.shape) for video in views(batch)] for batch in batches] == [[(1, 3, 4, 32, 32)]] * 4
    assert numbers(views(batches[0])[0]).tolist() == [[3, 9, 15, 22]]


def test_repeat_first_frame(videos):
    data = KineticsDataModule(test_csv=str(videos / "train.csv"), repeat_first_frame=True, **SMALL)
    (clip,) = views(next(iter(data.test_dataloader())))
    assert numbers(clip).tolist() == [[0] * 4] * 2 + [[2] * 4] * 2 + [[4] * 4] * 2


def test_each_video_is_opened_once_and_each_frame_decoded_once(videos, monkeypatch):
    import octvideo.data.dataset as dataset

    asked = []
    opened = dataset.open_video

    def counting(path, **options):
        reader = opened(path, **options)
        frames_at = reader.frames_at
        reader.frames_at = lambda indices, scale: asked.append(list(indices)) or frames_at(indices, scale)
        return reader

    monkeypatch.setattr(dataset, "open_video", counting)
    data = KineticsDataModule(test_csv=str(videos / "train.csv"), **SMALL)
    next(iter(data.test_dataloader()))
    assert asked == [[0, 2, 4, 6, 8, 10, 12, 14, 16, 19, 21, 23]]


def test_training_clips(videos):
    data = KineticsDataModule(train_csv=str(videos / "train.csv"), **SMALL)
    batches = list(data.train_dataloader())
    assert [tuple(batch["clip"].shape) for batch in batches] == [(2, 3, 4, 32, 32)] * 2
    seen = {}
    for batch in batches:
        assert batch["label"].tolist() == batch["video"].tolist()
        for video, clip in zip(batch["video"].tolist(), numbers(batch["clip"]), strict=True):
            seen[video] = clip.tolist()
    assert sorted(seen) == [0, 1, 2, 3]
    for video in range(3):
        start = seen[video][0]
        assert 0 <= start <= 5
        # 19 frames from the first to the last, the others at thirds of it, rounded down.
        second, third, last = (number - start for number in seen[video][1:])
        assert (second in (6, 7), third in (12, 13), last) == (True, True, 19)


def train_epochs(videos, num_workers, epochs=2):
    """{(epoch, video): clip} of a training run's batches; the sampler is told the epoch as Lightning does."""
    data = KineticsDataModule(train_csv=str(videos / "train.csv"), **{**SMALL, "num_workers": num_workers})
    loader = data.train_dataloader()
    clips = {}
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            for video, clip in zip(batch["video"].tolist(), batch["clip"], strict=True):
                clips[epoch, video] = clip
    return clips


def test_a_clip_depends_on_seed_epoch_and_video_alone(videos):
    here, there = train_epochs(videos, 0), train_epochs(videos, 2)
    assert list(here) == list(there)  # the batches' composition too
    assert sorted(here) == [(epoch, video) for epoch in (0, 1) for video in range(4)]
    assert all(torch.equal(here[key], there[key]) for key in here)
    assert any(not torch.equal(here[0, video], here[1, video]) for video in range(4))
    data = KineticsDataModule(train_csv=str(videos / "train.csv"), seed=1, **SMALL)
    other = data.train_dataloader().dataset
    assert any(not torch.equal(other[ClipIndex(0, video)]["clip"], here[0, video]) for video in range(4))


class Recorder(pl.LightningModule):
    """Keeps what arrives."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.train_batches, self.eval_batches, self.paths, self.replaced = [], [], [], []

    def training_step(self, batch, batch_idx):
        self.train_batches.append((self.current_epoch, batch))
        self.replaced.append(self.trainer.datamodule.num_replaced)
        return (self.scale * batch["clip"].mean()).sum()

    def validation_step(self, batch, batch_idx):
        self.eval_batches.append(batch)
        videos = batch["video"].tolist() if "video" in batch else [video for video, _ in batch["errors"]]
        self.paths += [self.trainer.datamodule.video_path(video) for video in videos]

    test_step = predict_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, **options):
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )


def test_with_a_trainer(videos, tmp_path):
    model = Recorder()
    data = KineticsDataModule(
        train_csv=str(videos / "train.csv"),
        val_csv=str(videos / "train.csv"),
        **{**SMALL, "num_workers": 1, "mean": (0.5, 0.25, 0.0), "std": (0.5, 0.25, 1.0)},
    )
    trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0).fit(model, datamodule=data)
    assert len(model.train_batches) == 4
    by_epoch = {}
    for epoch, batch in model.train_batches:
        assert batch["clip"].dtype == torch.float32
        assert sorted(batch) == ["clip", "label", "video"]
        for video, clip in zip(batch["video"].tolist(), batch["clip"], strict=True):
            by_epoch[epoch, video] = clip
    # Lightning told the workers the epoch: these are the clips of epochs 0 and 1, normalised.
    expected = train_epochs(videos, 0)
    assert sorted(by_epoch) == sorted(expected)
    mean, std = np.array([0.5, 0.25, 0.0]), np.array([0.5, 0.25, 1.0])
    for key, clip in expected.items():
        values = (clip.numpy() / 255 - mean[:, None, None, None]) / std[:, None, None, None]
        assert np.allclose(by_epoch[key].numpy(), values, atol=1e-5)
    # Views are cut and normalised by the classifier, those that it is about to score.
    (clip,) = views(model.eval_batches[0])
    values = (clip.numpy() / 255 - mean[:, None, None, None]) / std[:, None, None, None]
    assert np.allclose(model.eval_batches[0]["views"][0].cut().numpy(), values, atol=1e-5)
    assert model.paths[:4] == [str(videos / f"{number}.mp4") for number in range(4)]


def test_evaluation_reports_unreadable_videos(videos, tmp_path):
    model = Recorder()
    data = KineticsDataModule(test_csv=str(videos / "bad.csv"), **SMALL)
    trainer(tmp_path).test(model, datamodule=data, verbose=False)
    assert ["views" in batch for batch in model.eval_batches] == [True, False, True]
    ((video, error),) = model.eval_batches[1]["errors"]
    assert video == 1
    assert error == f"{videos / 'bad.mp4'}: Invalid data found when processing input"
    assert model.paths == [str(videos / name) for name in ("0.mp4", "bad.mp4", "2.mp4")]
    # In a batch with readable ones, it is the error that is apart.
    data = KineticsDataModule(test_csv=str(videos / "bad.csv"), eval_batch_size=3, **SMALL)
    (batch,) = data.test_dataloader()
    assert batch["video"].tolist() == batch["label"].tolist() == [0, 2]
    assert [video for video, _ in batch["errors"]] == [1]


def test_training_replaces_and_counts_unreadable_videos(videos, tmp_path, caplog):
    model = Recorder()
    data = KineticsDataModule(train_csv=str(videos / "bad.csv"), **{**SMALL, "batch_size": 3})
    with caplog.at_level(logging.WARNING, logger="octvideo"):
        trainer(tmp_path, max_epochs=2).fit(model, datamodule=data)
    for _, batch in model.train_batches:
        assert batch["clip"].shape[0] == 3
        assert 1 not in batch["video"].tolist()
        assert batch["label"].tolist() == batch["video"].tolist()
    assert all(count >= 1 for count in model.replaced)
    named = [record.getMessage() for record in caplog.records if "unreadable" in record.getMessage()]
    error = f"{videos / 'bad.mp4'}: Invalid data found when processing input"
    assert named == [f"unreadable training video, replaced by another: {error}"]
    assert (tmp_path / "unreadable.txt").read_text() == f"{error}\n"


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_stops_when_nothing_can_be_read(tmp_path, num_workers):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "bad.csv").write_text("bad.mp4 1\n")
    data = KineticsDataModule(train_csv=str(tmp_path / "bad.csv"), **{**SMALL, "num_workers": num_workers})
    with pytest.raises(VideoDecodeError) as caught:
        next(iter(data.train_dataloader()))
    assert str(caught.value).startswith(f"{tmp_path / 'bad.mp4'}: Invalid data")
    assert "10 others tried" in str(caught.value)


def test_training_stops_when_too_much_is_unreadable(videos, tmp_path):
    for name in ("x", "y"):
        (tmp_path / f"{name}.mp4").write_bytes(b"no video")
    (tmp_path / "a.mp4").symlink_to(videos / "0.mp4")
    (tmp_path / "train.csv").write_text("x.mp4 0\ny.mp4 0\na.mp4 1\n")
    data = KineticsDataModule(train_csv=str(tmp_path / "train.csv"), **{**SMALL, "batch_size": 3})
    (batch,) = data.train_dataloader()
    with pytest.raises(
        VideoDecodeError, match="2 training videos can't be read in one epoch, allowed are 1"
    ) as e:
        data.on_after_batch_transfer(batch, 0)
    assert all(f"{name}.mp4: Invalid data" in str(e.value) for name in ("x", "y"))


def test_predicting_files_and_folders(videos, tmp_path):
    model = Recorder()
    data = KineticsDataModule(predict_paths=[str(videos / "2.mp4"), str(videos)], **SMALL)
    trainer(tmp_path).predict(model, datamodule=data, return_predictions=False)
    assert model.paths == [
        str(videos / name) for name in ("2.mp4", *(f"{n}.mp4" for n in range(4)), "bad.mp4")
    ]
    assert all(batch["label"].tolist() == [-1] for batch in model.eval_batches if "label" in batch)
    assert sum(len(batch["errors"]) for batch in model.eval_batches) == 1


def test_real_footage(clips, tmp_path):
    (tmp_path / "train.csv").write_text(
        "arm_wrestling.mp4,arm wrestling\nflipping_a_pancake.mkv,flipping pancake\n"
    )
    data = KineticsDataModule(
        train_csv=str(tmp_path / "train.csv"),
        root=str(clips),
        class_list=str(clips.parent / "labels" / "kinetics400.txt"),
        num_workers=0,
    )
    (batch,) = data.train_dataloader()
    assert batch["clip"].shape == (2, 3, 8, 224, 224)
    assert {data.class_names[label] for label in batch["label"]} == {"arm wrestling", "flipping pancake"}


def test_the_card_has_its_recipe(videos):
    data = KineticsDataModule(class_list=str(videos / "classes.txt"), **SMALL)
    assert data.num_classes == 4
    assert data.card.recipe == {
        "num_frames": 4,
        "frame_stride": 5,
        "fps": 30.0,
        "frame_times": "even",
        "short_side": [32, 40],
        "crop": 32,
        "test_short_side": 32,
        "test_crop": 32,
        "num_clips": 3,
        "num_crops": 2,
        "mean": [0.45, 0.45, 0.45],
        "std": [0.225, 0.225, 0.225],
    }
    assert (data.card.num_classes, data.card.class_names) == (4, ("zero", "one", "two", "three"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_frames": 0}, "num_frames is 0, allowed is a whole number, 1 to 1024"),
        ({"fps": -1.0}, "fps is -1.0, allowed is a number, 0.1 to 1000"),
        ({"crop": 300}, "short_side is \\(256, 320\\) with crop 300"),
        ({"flip": 2.0}, "flip is 2.0, allowed is a probability"),
        ({"test_crop": 300}, "test_crop is 300, allowed is 1 to test_short_side, 256"),
        ({"num_clips": 0}, "num_clips is 0, allowed is a whole number, 1 to 1000"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"decoder": "cv2"}, "decoder is 'cv2', allowed are auto"),
        ({"missing": "x"}, "missing is 'x', allowed are error, skip"),
        ({"std": (0.0, 1.0, 1.0)}, "std is \\(0.0, 1.0, 1.0\\)"),
        ({"max_unreadable": 2.0}, "max_unreadable is 2.0"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        KineticsDataModule(**arguments)


def test_missing_pieces(videos):
    with pytest.raises(ValueError, match="test_csv is None, test needs it"):
        KineticsDataModule().test_dataloader()
    with pytest.raises(ValueError, match=r"num_classes is 5, allowed is the length of .*classes.txt, 4"):
        KineticsDataModule(class_list=str(videos / "classes.txt"), num_classes=5)
    with pytest.raises(ManifestError, match=r"train.csv:3: label 2 is out of range, allowed is 0 to 1"):
        KineticsDataModule(train_csv=str(videos / "train.csv"), num_classes=2).setup("fit")


@pytest.mark.parametrize(("stage", "only"), [("train", None), ("test", None), ("test", [2])])
def test_a_hung_worker_is_killed_and_its_video_named(videos, tmp_path, monkeypatch, stage, only):
    import octvideo.data.dataset as dataset

    def hang(path, **options):
        if path.endswith("1.mp4"):
            ctypes.PyDLL(None).sleep(600)  # as a decoder that holds Python's lock: nothing else runs there
        raise VideoDecodeError(path, "not of this test")

    monkeypatch.setattr(dataset, "open_video", hang)
    (videos / "hangs.csv").write_text("1.mp4 0\n" if only is None else "0.mp4 0\n2.mp4 0\n1.mp4 0\n")
    csv = {f"{stage}_csv": str(videos / "hangs.csv")}
    data = KineticsDataModule(**csv, seconds_a_video=1, **{**SMALL, "num_workers": 1})
    data = data.part(rows=only)  # of a test that goes on
    data.trainer = SimpleNamespace(
        world_size=1, global_rank=0, default_root_dir=tmp_path, strategy=None, state=SimpleNamespace(fn=stage)
    )
    with pytest.raises(
        ProcessDiedError, match=r"1\.mp4: not decoded within 1 seconds; its worker process \d+ is killed"
    ) as caught:
        next(iter(getattr(data, f"{stage}_dataloader")()))
    assert str(caught.value).startswith(str(videos))
    assert (tmp_path / "hung.txt").read_text() == f"{videos / '1.mp4'}\n"


def test_a_video_that_hung_is_passed_over_at_the_next_start(videos, tmp_path):
    (tmp_path / "hung.txt").write_text(f"{videos / '1.mp4'}\n")
    model = Recorder()
    data = KineticsDataModule(test_csv=str(videos / "train.csv"), **SMALL)
    trainer(tmp_path).test(model, datamodule=data, verbose=False)
    ((video, error),) = [pair for batch in model.eval_batches for pair in batch["errors"]]
    assert video == 1
    assert error == f"{videos / '1.mp4'}: has hung its decoder before; {tmp_path / 'hung.txt'} lists it"


def test_a_resumed_epoch_has_the_videos_that_were_left(videos):
    def order(start):
        data = KineticsDataModule(train_csv=str(videos / "train.csv"), **{**SMALL, "batch_size": 1})
        loader = data.train_dataloader()
        loader.sampler.start = start
        epochs = []
        for epoch in (1, 2):
            loader.sampler.set_epoch(epoch)
            epochs.append([video for batch in loader for video in batch["video"].tolist()])
        assert len(loader) == 4  # the trainer counts whole epochs
        return epochs

    whole, rest = order(0), order(3)
    assert rest == [whole[0][3:], whole[1]]


def test_a_resumed_epoch_must_have_the_same_batches():
    state = {"batches": 3, "batch_size": 2, "world_size": 1, "seed": 0}
    data = KineticsDataModule(**{**SMALL, "batch_size": 4})
    data.trainer = SimpleNamespace(world_size=1, state=SimpleNamespace(fn="fit"))
    with pytest.raises(ValueError, match="batch_size is 4, allowed is 2: the checkpoint is in the middle"):
        data.load_state_dict(state)
    data.load_state_dict({**state, "batches": 0})  # between two epochs anything may change


def test_too_few_videos_for_the_processes(videos):
    data = KineticsDataModule(train_csv=str(videos / "train.csv"), **SMALL)
    data.trainer = SimpleNamespace(world_size=5, global_rank=0, default_root_dir=".")
    with pytest.raises(ValueError, match="4 training videos for 5 processes"):
        data.train_dataloader()


def test_two_processes_share_the_videos(videos):
    data = KineticsDataModule(
        train_csv=str(videos / "train.csv"), test_csv=str(videos / "train.csv"), **{**SMALL, "batch_size": 1}
    )
    data.trainer = SimpleNamespace(
        world_size=2, state=SimpleNamespace(fn="test"), strategy=None, default_root_dir="."
    )
    seen = {"train": [], "test": []}
    for rank in (0, 1):
        data.trainer.global_rank = rank
        for name in seen:
            seen[name].append(list(getattr(data, f"{name}_dataloader")().sampler))
    assert sorted(seen["test"]) == [[0, 2], [1, 3]]
    assert sorted(key.video for keys in seen["train"] for key in keys) == [0, 1, 2, 3]


def test_no_gpu_to_decode_on(videos):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    data = KineticsDataModule(test_csv=str(videos / "train.csv"), decode_device="cuda", **SMALL)
    with pytest.raises(ValueError, match="device is 'cuda', but no decoder works there"):
        next(iter(data.test_dataloader()))
    with pytest.raises(ValueError, match="decode_device is 'tpu', allowed are cpu, cuda and cuda:N"):
        KineticsDataModule(decode_device="tpu")


def test_datasets_reach_workers_however_they_start(videos):
    """Spawned workers get the dataset by pickle, forked ones do not."""
    data = KineticsDataModule(train_csv=str(videos / "train.csv"), **SMALL)
    dataset = data.train_dataloader().dataset
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301  our own bytes
    key = ClipIndex(2, 1)
    assert torch.equal(copy[key]["clip"], dataset[key]["clip"])


def test_a_part_leaves_the_data_as_it_is(videos):
    data = KineticsDataModule(test_csv=str(videos / "train.csv"), **SMALL)
    part = data.part(rows=[2, 0])
    for of, expected in ((part, [2, 0]), (data, [0, 1, 2, 3])):
        assert [video for batch in of.test_dataloader() for video in batch["video"].tolist()] == expected
    assert part.part(rows=[1]).rows == [1]
