"""VideoClassifier against computations written out here: schedule, loss, views, checkpoints."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from octvideo import VideoClassifier
from octvideo.card import Card
from octvideo.classifier import load_classifier
from octvideo.data.dataset import collate_eval
from octvideo.data.views import Views
from octvideo.models import create_model, get_spec
from octvideo.models.checkpoints import CheckpointError, read_checkpoint
from octvideo.models.classes import class_order, reorder_classes
from octvideo.training.checkpoint import RunCheckpoint
from octvideo.training.module import NonFiniteLossError

NUM_CLASSES = 3
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
CARD = Card(num_frames=4, mean=(0.5, 0.4, 0.3), class_names=("a", "b", "c"))


class Clips(torch.utils.data.Dataset):
    """Random clips with labels in turn: `(3, T, H, W)`, or whole frames as views, another size for each video."""

    def __init__(self, num_videos: int, num_views: int | None = None) -> None:
        self.num_videos, self.num_views = num_videos, num_views

    def __len__(self) -> int:
        return self.num_videos

    def __getitem__(self, index: int) -> dict:
        rng = torch.Generator().manual_seed(index)
        item = {"label": index % NUM_CLASSES, "video": index}
        if self.num_views is None:
            return {"clip": torch.randn((3, 4, 32, 32), generator=rng), **item}
        frames = torch.randint(256, (9 + index, 40, 36 + index, 3), dtype=torch.uint8, generator=rng)
        places = np.random.default_rng(index).integers(0, len(frames), (self.num_views, 4))
        corners = np.random.default_rng(index).integers(0, 5, (self.num_views, 2))
        return {"views": Views(frames, places, corners, 32, MEAN, STD), **item}

    def views(self, index: int) -> Tensor:
        """The video's views, normalised, `float (V, 3, T, H, W)`, by plain indexing."""
        views = self[index]["views"]
        cut = [
            views.frames.numpy()[places][:, top : top + 32, left : left + 32]
            for places, (top, left) in zip(views.places, views.corners, strict=True)
        ]
        clips = (np.stack(cut) / 255 - np.array(MEAN)) / np.array(STD)
        return torch.from_numpy(clips.astype(np.float32)).permute(0, 4, 1, 2, 3)


class ClipData(LightningDataModule):
    class_names = ("a", "b", "c")
    card = CARD

    def __init__(self, num_videos: int = 8, num_views: int = 3, eval_batch_size: int = 1) -> None:
        super().__init__()
        self.num_videos, self.num_views, self.eval_batch_size = num_videos, num_views, eval_batch_size

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Clips(self.num_videos), batch_size=2)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Clips(self.num_videos, 1), batch_size=4, collate_fn=collate_eval)

    def test_dataloader(self) -> DataLoader:
        dataset = Clips(self.num_videos, self.num_views)
        return DataLoader(dataset, batch_size=self.eval_batch_size, collate_fn=collate_eval)

    predict_dataloader = test_dataloader


def tiny(**arguments) -> VideoClassifier:
    torch.manual_seed(0)
    return VideoClassifier(**{"name": "i3d_tiny", "num_classes": NUM_CLASSES, "lr": 0.01, **arguments})


def quiet_trainer(tmp_path: Path, **arguments) -> Trainer:
    defaults = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": tmp_path,
    }
    return Trainer(**{**defaults, **arguments})


# Learning rate


class RecordLearningRates(VideoClassifier):
    def on_train_start(self) -> None:
        self.rates: list[float] = []

    def optimizer_step(self, *args, **kwargs) -> None:
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        super().optimizer_step(*args, **kwargs)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_follows_the_schedule_by_optimiser_step(tmp_path, accumulate: int) -> None:
    module = RecordLearningRates(
        "i3d_tiny", num_classes=NUM_CLASSES, lr=0.04, warmup_epochs=1, warmup_start_lr=0.002
    )
    trainer = quiet_trainer(tmp_path, max_epochs=3, limit_val_batches=0, accumulate_grad_batches=accumulate)
    trainer.fit(module, datamodule=ClipData(num_videos=8))
    epoch_steps = 4 // accumulate
    total = 3 * epoch_steps
    cosine = [0.02 * (1 + math.cos(math.pi * step / total)) for step in range(total)]
    warm = [0.002 + (cosine[epoch_steps] - 0.002) * step / epoch_steps for step in range(epoch_steps)]
    np.testing.assert_allclose(module.rates, warm + cosine[epoch_steps:])


def test_warmup_longer_than_training(tmp_path) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    with pytest.raises(
        ValueError, match=r"warmup_epochs is 3 .* at most the length of the training, 2 epochs"
    ):
        trainer.fit(tiny(warmup_epochs=3), datamodule=ClipData())


def test_training_without_an_end(tmp_path) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=-1, limit_val_batches=0)
    with pytest.raises(ValueError, match=r"max_epochs and trainer\.max_steps are both -1"):
        trainer.fit(tiny(), datamodule=ClipData())


@pytest.mark.parametrize(("reference", "accumulate", "factor"), [(None, 2, 1.0), (8, 1, 0.25), (8, 2, 0.5)])
def test_learning_rate_is_scaled_to_the_batch(tmp_path, reference, accumulate: int, factor: float) -> None:
    module = RecordLearningRates(
        "i3d_tiny",
        num_classes=NUM_CLASSES,
        lr=0.4,
        lr_batch_size=reference,
        warmup_epochs=1,
        warmup_start_lr=0.1,
    )
    trainer = quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0, accumulate_grad_batches=accumulate)
    data = ClipData(num_videos=4)
    data.batch_size = 2  # clips a process
    trainer.fit(module, datamodule=data)
    steps = 4 // accumulate
    assert module.rates[0] == pytest.approx(0.1 * factor)
    assert module.rates[steps // 2] == pytest.approx(0.2 * factor)  # half way down the cosine of 0.4
    assert f"{steps} steps" in module.schedule


def test_scaling_needs_a_batch_size(tmp_path) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=2, limit_val_batches=0)
    with pytest.raises(ValueError, match="lr_batch_size is 64"):
        trainer.fit(tiny(lr_batch_size=64), datamodule=ClipData())


def test_a_loss_that_is_no_number_names_its_videos(tmp_path) -> None:
    module = tiny()
    real, calls = module.loss.forward, []

    def loss(logits: Tensor, label: Tensor) -> Tensor:
        calls.append(label)
        return real(logits, label) * (float("nan") if len(calls) == 2 else 1.0)

    module.loss.forward = loss
    data = ClipData()
    data.paths = lambda name: tuple(f"/{name}/{video}.mp4" for video in range(8))
    keep = RunCheckpoint(every_n_steps=1)
    trainer = quiet_trainer(
        tmp_path, max_epochs=1, limit_val_batches=0, callbacks=[keep], enable_checkpointing=True
    )
    with pytest.raises(
        NonFiniteLossError, match=r"nan at step 1, of the videos /train/2\.mp4, /train/3\.mp4"
    ):
        trainer.fit(module, datamodule=data)

    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 1  # from before it
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


# Arguments, optimiser, loss


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"lr": 0.0}, "lr is 0.0, allowed: above 0"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"momentum": 0.0}, "nesterov is True, allowed: false when momentum is 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"warmup_epochs": -0.5}, "warmup_epochs is -0.5"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"optimizer": "lion"}, "optimizer is lion, allowed: sgd or adamw"),
        ({"schedule": "linear"}, "schedule is linear, allowed: cosine or step"),
        ({"schedule": "step"}, r"drop_epochs is None, allowed: one or more"),
        ({"drop_epochs": [3.0, 1.0], "schedule": "step"}, "drop_epochs is .*, allowed: increasing"),
        ({"backbone_lr_factor": 2.0}, "backbone_lr_factor is 2.0"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"compile": True, "checkpoint_activations": True}, "compile is True, allowed: false with"),
        ({"checkpoint": "a", "image_checkpoint": "b"}, "image_checkpoint is b, allowed: none with"),
        ({"view_batch_size": 0}, "view_batch_size is 0, allowed is a whole number, 1 to 100000"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"channel_multiple": 0}, "channel_multiple is 0"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"name": "nothing"}, "nothing"),
    ],
)
def test_arguments_out_of_range(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        tiny(**arguments)


@pytest.mark.parametrize("decay_norms", [False, True])
def test_weight_decay_of_norms(tmp_path, decay_norms: bool) -> None:
    module = tiny(decay_norms=decay_norms, weight_decay=0.3)
    trainer = quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0, limit_train_batches=1)
    trainer.fit(module, datamodule=ClipData())
    decay = {id(p): g["weight_decay"] for g in trainer.optimizers[0].param_groups for p in g["params"]}
    assert len(decay) == len(list(module.parameters()))
    norms = {
        id(p)
        for m in module.modules()
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
        for p in m.parameters()
    }
    assert norms
    for name, parameter in module.named_parameters():
        assert decay[id(parameter)] == (0.0 if id(parameter) in norms and not decay_norms else 0.3), name


def test_first_step_is_sgd_with_nesterov_momentum(tmp_path) -> None:
    module = tiny(lr=0.05, momentum=0.8, weight_decay=0.01, label_smoothing=0.2)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    batch = next(iter(ClipData().train_dataloader()))
    twin = tiny().train()
    log_p = twin(batch["clip"]).log_softmax(dim=1)
    target = torch.full((2, 3), 0.2 / 3)
    target[range(2), batch["label"]] += 0.8
    loss = -(target * log_p).sum(dim=1).mean()  # label smoothing, written out
    gradients = dict(
        zip(before, torch.autograd.grad(loss, [p for _, p in twin.named_parameters()]), strict=True)
    )
    trainer = quiet_trainer(tmp_path, max_epochs=1, limit_val_batches=0, limit_train_batches=1)
    trainer.fit(module, datamodule=ClipData())
    for name, parameter in module.named_parameters():
        gradient = gradients[name] + (0.01 * before[name] if parameter.ndim > 1 else 0)
        # first step: the momentum buffer is the gradient; Nesterov looks ahead by 0.8 of it
        expected = before[name] - 0.05 * 1.8 * gradient
        torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-6, msg=name)


# Evaluation


def numpy_probabilities(module: VideoClassifier, clip: Tensor) -> np.ndarray:
    """One view at a time through the network, softmax, mean: the protocol as a loop."""
    total = np.zeros(NUM_CLASSES)
    with torch.no_grad():
        for view in clip:
            logits = module.network(view[None])[0].double().numpy()
            total += np.exp(logits) / np.exp(logits).sum()
    return total / len(clip)


@pytest.mark.parametrize("view_batch_size", [1, 2, 100])
@pytest.mark.parametrize("eval_batch_size", [1, 3])
def test_scores_equal_a_plain_loop(tmp_path, view_batch_size: int, eval_batch_size: int) -> None:
    module = tiny(view_batch_size=view_batch_size).eval()
    data = ClipData(num_videos=5, num_views=3, eval_batch_size=eval_batch_size)
    (result,) = quiet_trainer(tmp_path).test(module, datamodule=data, verbose=False)
    scores = module.test_result
    dataset = Clips(5, 3)
    expected = np.stack([numpy_probabilities(module, dataset.views(i)) for i in range(5)])
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-6)
    labels = [0, 1, 2, 0, 1]
    top1 = sum(expected[i].argmax() == labels[i] for i in range(5)) / 5
    assert result["test/top1"] == pytest.approx(top1)
    assert result["test/top5"] == 1.0  # three classes: capped
    assert scores.num_views == 3

    outputs = quiet_trainer(tmp_path).predict(module, datamodule=data)
    predicted = {v: p for o in outputs for v, p in zip(o["video"], o["probabilities"], strict=True)}
    for video in range(5):
        np.testing.assert_array_equal(predicted[video], scores.probabilities[video])
        assert predicted[video].sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_scores_of_weights_of_another_type(tmp_path, precision: str) -> None:
    module = tiny().eval()
    expected = np.stack([numpy_probabilities(module, Clips(2, 3).views(i)) for i in range(2)])
    trainer = quiet_trainer(tmp_path, precision=precision)
    trainer.test(module, datamodule=ClipData(num_videos=2), verbose=False)
    tolerance = 1e-6 if precision == "64-true" else 0.02
    np.testing.assert_allclose(module.test_result.probabilities, expected, atol=tolerance)


def test_results_do_not_depend_on_how_videos_are_batched(tmp_path) -> None:
    module = tiny().eval()
    found = []
    for eval_batch_size in (1, 4):
        data = ClipData(num_videos=5, num_views=3, eval_batch_size=eval_batch_size)
        quiet_trainer(tmp_path).test(module, datamodule=data, verbose=False)
        found.append(module.test_result.probabilities)
    np.testing.assert_array_equal(found[0], found[1])


def test_unreadable_videos_are_counted_not_replaced() -> None:
    module = tiny().eval()
    module.on_test_epoch_start()
    good = collate_eval([Clips(5, 2)[4], {"video": 2, "error": "/v/2.mp4: truncated"}])
    with torch.no_grad():
        module.test_step(good, 0)
        module.test_step({"errors": [(9, "/v/9.mp4: no video stream")]}, 1)
    scores = module._collector.gather()
    assert scores.videos.tolist() == [4]
    assert scores.errors == [(2, "/v/2.mp4: truncated"), (9, "/v/9.mp4: no video stream")]


def test_logged_numbers(tmp_path) -> None:
    module = tiny()
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, datamodule=ClipData())
    logged = trainer.callback_metrics
    names = {"train/loss", "train/top1", "lr", "val/loss", "val/top1", "val/top5"}
    assert names | {"train/data_seconds", "train/step_seconds", "train/data_share"} <= set(logged)
    assert 0 <= logged["train/data_share"] <= 1
    assert 0 < logged["train/data_seconds"] < logged["train/step_seconds"]
    with torch.no_grad():
        module.eval()
        dataset = Clips(8, 1)
        right = [module(dataset.views(i)).argmax().item() == i % NUM_CLASSES for i in range(8)]
        losses = [-module(dataset.views(i)).log_softmax(1)[0, i % NUM_CLASSES].item() for i in range(8)]
    assert logged["val/top1"] == pytest.approx(sum(right) / 8)
    assert logged["val/loss"] == pytest.approx(sum(losses) / 8, rel=1e-4)


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trainer = quiet_trainer(folder, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(tiny(), datamodule=ClipData())
    trainer.save_checkpoint(folder / "trained.ckpt")
    return folder / "trained.ckpt"


def test_checkpoint_is_plain_and_carries_its_card(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    card = content["octvideo"]["card"]
    assert (card["num_frames"], card["mean"], card["class_names"]) == (4, [0.5, 0.4, 0.3], ["a", "b", "c"])
    assert (card["name"], card["num_classes"], card["head_rule"]) == ("i3d_tiny", 3, "features")
    assert content["hyper_parameters"]["name"] == "i3d_tiny"
    module = load_classifier(checkpoint)
    assert module.card == Card.from_dict(card)
    assert not module.training


def test_rounded_groups_run_the_same_weights(checkpoint: Path) -> None:
    paper = load_classifier(checkpoint, alpha=0.125)
    rounded = load_classifier(checkpoint, alpha=0.125, channel_multiple=16)
    assert rounded.hparams["channel_multiple"] == 16
    low = [
        len(classifier.network.get_submodule("blocks.1.res_blocks.0.branch2.conv_c").out_split.low)
        for classifier in (paper, rounded)
    ]
    assert low == [8, 16]  # of 64
    assert paper.state_dict().keys() == rounded.state_dict().keys()


def test_other_alpha_runs_the_same_weights(checkpoint: Path) -> None:
    dense, octave = load_classifier(checkpoint), load_classifier(checkpoint, alpha=0.5)
    assert octave.alpha == 0.5
    for (name, a), (other, b) in zip(dense.state_dict().items(), octave.state_dict().items(), strict=True):
        assert name == other
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_resume_and_test_read_it_safely(checkpoint: Path, tmp_path) -> None:
    module = tiny()
    trainer = quiet_trainer(tmp_path, max_epochs=2, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(module, datamodule=ClipData(), ckpt_path=checkpoint, weights_only=True)
    assert trainer.global_step == 2
    module = tiny()
    quiet_trainer(tmp_path).test(
        module, datamodule=ClipData(), ckpt_path=checkpoint, weights_only=True, verbose=False
    )
    assert (module.card.recipe, module.card.class_names) == (CARD.recipe, CARD.class_names)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_classes": 4}, r"num_classes is 3, the model's is 4"),
        ({"name": "i3d_r50"}, r"its name is i3d_tiny, the model's is i3d_r50"),
    ],
)
def test_checkpoint_of_another_model(checkpoint: Path, tmp_path, arguments: dict, text: str) -> None:
    with pytest.raises(CheckpointError, match=text) as caught:
        quiet_trainer(tmp_path).test(
            tiny(**arguments), datamodule=ClipData(), ckpt_path=checkpoint, weights_only=True
        )
    assert str(checkpoint) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checkpoint_with_other_tensors(checkpoint: Path, tmp_path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    state = content["state_dict"]
    first = next(iter(state))
    for change, text in (
        ({first: torch.zeros(1)}, rf"{first[len('network.') :]} is \(1,\), the network's is \("),
        ({"network.more": torch.zeros(1)}, "it also has more"),
    ):
        torch.save({**content, "state_dict": {**state, **change}}, tmp_path / "changed.ckpt")
        with pytest.raises(CheckpointError, match=text):
            load_classifier(tmp_path / "changed.ckpt")
    torch.save(
        {**content, "state_dict": {k: v for k, v in state.items() if k != first}}, tmp_path / "changed.ckpt"
    )
    with pytest.raises(CheckpointError, match=f"it lacks {first[len('network.') :]}"):
        load_classifier(tmp_path / "changed.ckpt")


def test_class_lists_are_matched_by_name() -> None:
    theirs = ["a", "b", "c"]
    assert class_order(theirs, ("a", "b", "c"), "x.ckpt") is None
    assert class_order(theirs, None, "x.ckpt") is None
    assert class_order(None, ("a", "b"), "x.ckpt") is None
    assert class_order(theirs, ("c", "a", "b"), "x.ckpt") == [2, 0, 1]
    with pytest.raises(CheckpointError, match=r"x\.ckpt: .* other classes .* first 'd'"):
        class_order(theirs, ("a", "b", "d"), "x.ckpt")
    with pytest.raises(CheckpointError, match=r"x\.ckpt knows 3 classes, the data's class list has 2"):
        class_order(theirs, ("a", "b"), "x.ckpt")


@pytest.mark.parametrize("name", ["i3d_tiny", "x3d_s", "mc3_18"])
def test_a_reordered_head_gives_the_same_scores_by_name(name) -> None:
    model, head = create_model(name, num_classes=3).eval(), get_spec(name).head
    for key, value in model.state_dict().items():
        if key.startswith(f"{head}."):
            value.normal_()  # biases start at zero
    state = {key: value.clone() for key, value in model.state_dict().items()}
    clip = torch.randn(1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(clip)
        model.load_state_dict(reorder_classes(state, head, [2, 0, 1]))
        torch.testing.assert_close(model(clip), before[:, [2, 0, 1]])
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, state[key])]
    assert len(changed) == 2  # weight and bias of the head


class Unsafe:
    """What loading with pickle would rebuild."""


@pytest.mark.parametrize("content", ["text", "pickle", "list", "truncated"])
def test_files_that_are_no_checkpoints(tmp_path, content: str) -> None:
    file = tmp_path / "file.ckpt"
    if content == "text":
        file.write_text("not a checkpoint")
    elif content == "pickle":
        torch.save({"state_dict": {}, "object": Unsafe()}, file)
    elif content == "list":
        torch.save([torch.zeros(2)], file)
    else:
        torch.save({"state_dict": {"x": torch.zeros(1000)}}, file)
        file.write_bytes(file.read_bytes()[:1500])
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    if content == "pickle":
        assert "refused" in str(caught.value)


def test_missing_checkpoint(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file /.*nothing\.ckpt"):
        load_classifier(tmp_path / "nothing.ckpt")
