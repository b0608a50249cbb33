"""One checkpoint at every alpha: what is trained, what is kept, and what each alpha is when it is taken out again."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from octvideo import VideoClassifier, create_model
from octvideo.classifier import load_classifier
from octvideo.errors import InputError
from octvideo.models import open_weights
from octvideo.models.checkpoints import CheckpointError
from octvideo.training.alphas import sandwich, sandwich_loss
from octvideo.training.checkpoint import RunCheckpoint
from octvideo.training.loss import ClassLoss
from tests.training.runs import Record, same_weights, small_data, small_model, small_trainer, write_videos

ALPHAS = [0, 0.125, 0.25, 0.5]  # as one types them
EVERYTHING = {"ema_decay": 0.9, "precise_norm_batches": 2, "alpha": 0.25, "optimizer": "adamw", "lr": 1e-3}


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video):
    return write_videos(tmp_path_factory.mktemp("videos"), make_video)


def fit(folder, csv, *, ckpt_path=None, of_trainer=None, **settings):
    model, record = small_model(**{"alphas": ALPHAS, **settings}), Record()
    trainer = small_trainer(
        folder, [record, RunCheckpoint(every_n_steps=1, keep_newest=9)], **(of_trainer or {})
    )
    trainer.fit(model, datamodule=small_data(csv), ckpt_path=ckpt_path, weights_only=True)
    return model, record, trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory, videos):
    """A short training with everything: `(classifier, losses, trainer, folder)`."""
    folder = tmp_path_factory.mktemp("trained")
    return *fit(folder, videos, **EVERYTHING), folder


def last_of(folder):
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def test_the_least_the_largest_and_one_between_in_turn() -> None:
    steps = [sandwich(ALPHAS, turn) for turn in range(3)]
    assert steps == [[0.0, 0.125, 0.5], [0.0, 0.25, 0.5], [0.0, 0.125, 0.5]]
    assert sandwich([0.0, 0.5], 7) == [0.0, 0.5]


def test_gradients_are_those_of_networks_of_their_own(videos) -> None:
    """Three networks on copies of the weights, each with its loss, give together what the shared ones give."""
    torch.manual_seed(0)
    classifier = small_model(alphas=ALPHAS, dropout=0.0)
    clip, label = torch.randn(2, 3, 4, 32, 32), torch.tensor([0, 2])
    logits_at, alphas = lambda alpha: classifier(clip, alpha), [0.0, 0.25, 0.5]
    total, logits = sandwich_loss(logits_at, alphas, label, ClassLoss())
    total.backward()

    apart = {alpha: create_model("i3d_tiny", alpha=alpha, num_classes=3) for alpha in alphas}
    for network in apart.values():
        network.load_state_dict(classifier.network.state_dict())
        F.cross_entropy(network(clip), label).backward()
    torch.testing.assert_close(logits, apart[0.0](clip))
    for name, parameter in classifier.network.named_parameters():
        expected = sum(network.get_parameter(name).grad for network in apart.values())
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-6, msg=name)


def test_the_state_dict_stays_the_dense_one(trained) -> None:
    content = last_of(trained[-1])
    dense = create_model("i3d_tiny", num_classes=3)
    assert set(content["state_dict"]) == {f"network.{name}" for name in dense.state_dict()}
    own = {name.removeprefix("network."): value for name, value in content["state_dict"].items()}
    dense.load_state_dict(own, strict=True)
    assert list(content["norms_by_alpha"]) == ALPHAS
    statistics = {f"network.{name}" for name, _ in dense.named_buffers()}
    assert all(set(norms) == statistics for norms in content["norms_by_alpha"].values())


def test_each_alpha_is_the_network_of_that_alpha_with_its_statistics(trained) -> None:
    classifier, *_, folder = trained
    file = folder / "checkpoints" / "last.ckpt"
    content, clip = torch.load(file, weights_only=True), torch.randn(2, 3, 4, 32, 32)
    seen = []
    for alpha in ALPHAS:
        alone = create_model("i3d_tiny", alpha=alpha, num_classes=3).eval()
        tensors = content["state_dict"] | content["norms_by_alpha"][alpha]
        alone.load_state_dict({name.removeprefix("network."): value for name, value in tensors.items()})
        with torch.inference_mode():
            expected = alone(clip)
            torch.testing.assert_close(open_weights(file, alpha=alpha).network(clip), expected)
            torch.testing.assert_close(load_classifier(file, alpha=alpha)(clip), expected)
            torch.testing.assert_close(classifier.eval()(clip, alpha), expected, rtol=1e-4, atol=1e-5)
        seen.append(
            content["norms_by_alpha"][alpha]["network.blocks.1.res_blocks.0.branch2.norm_b.running_var"]
        )
    assert not any(torch.equal(seen[0], other) for other in seen[1:]), "statistics of their own"
    own = content["norms_by_alpha"][0.25]  # `alpha`, whose statistics the state dict has
    assert all(torch.equal(content["state_dict"][name], value) for name, value in own.items())


def test_every_alpha_is_validated_and_shares_one_optimiser_step(trained) -> None:
    classifier, _, trainer, _ = trained
    names = {name for name in trainer.callback_metrics if name.startswith("val/top1")}
    assert names == {"val/top1", "val/top1_alpha_0", "val/top1_alpha_0.125", "val/top1_alpha_0.5"}
    for network in classifier.networks:
        for name, parameter in network.named_parameters():
            assert parameter is classifier.network.get_parameter(name)
    assert len(list(classifier.parameters())) == len(list(classifier.network.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, EVERYTHING])
def test_resumed_is_uninterrupted(tmp_path, videos, settings) -> None:
    of_trainer = {"accumulate_grad_batches": 1 if settings else 2}
    _, whole, _ = fit(tmp_path / "whole", videos, of_trainer=of_trainer, **settings)
    end = last_of(tmp_path / "whole")
    files = sorted((tmp_path / "whole" / "checkpoints").glob("step-*.ckpt"))
    assert len(files) > 2
    for file in files[:-1]:
        _, resumed, _ = fit(tmp_path / file.stem, videos, ckpt_path=file, of_trainer=of_trainer, **settings)
        last = last_of(tmp_path / file.stem)
        assert resumed.losses == {step: whole.losses[step] for step in resumed.losses}
        same_weights(end["state_dict"], last["state_dict"])
        for alpha in ALPHAS:
            same_weights(end["norms_by_alpha"][alpha], last["norms_by_alpha"][alpha])


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"alphas": [0.0]},
            "alphas is [0.0], allowed: two or more numbers from 0 to below 1, increasing, or none",
        ),
        ({"alphas": []}, "alphas is [], allowed: two or more"),
        ({"alphas": [0.25, 0.0]}, "alphas is [0.25, 0.0], allowed: two"),
        ({"alphas": [0.0, 0.25, 0.25]}, "alphas is [0.0, 0.25, 0.25], allowed: two"),
        ({"alphas": [0.0, 1.0]}, "alphas is [0.0, 1.0], allowed: two"),
        ({"alphas": [-0.5, 0.0]}, "alphas is [-0.5, 0.0], allowed: two"),
        ({"alphas": [0.125, 0.25]}, "alpha is 0.0, allowed: one of alphas: 0.125, 0.25"),
        ({"alphas": [0.0, 0.25], "freeze_norms": True}, "freeze_norms is True, allowed: false with alphas"),
        (
            {"alphas": [0.0, 0.25], "backbone_lr_factor": 0.0},
            "backbone_lr_factor is 0.0, allowed: above 0 with",
        ),
        ({"cascade": 1.5}, "cascade is 1.5, allowed: above 0 and below 1, or none"),
        (
            {"cascade": 0.9},
            "random weights: of one alpha, budget_ms and cascade need a checkpoint of several",
        ),
        (
            {"network": nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), "alphas": [0.0, 0.25]},
            "nothing to octavize",
        ),
    ],
)
def test_bad_settings_are_one_line(settings, line) -> None:
    with pytest.raises(InputError) as error:
        VideoClassifier("i3d_tiny", num_classes=2, **settings)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_an_alpha_that_was_not_trained_is_not_scored(trained, tmp_path) -> None:
    file = trained[-1] / "checkpoints" / "last.ckpt"
    with pytest.raises(CheckpointError, match=r"alpha is 0.3, allowed are .*: 0, 0.125, 0.25, 0.5; oct"):
        load_classifier(file, alpha=0.3)
    with pytest.warns(UserWarning, match="alpha is 0.3"):  # to train it further is no mistake
        create_model("i3d_tiny", alpha=0.3, num_classes=3, checkpoint=file)


def test_a_training_goes_on_with_its_own_alphas(trained, videos, tmp_path) -> None:
    file = trained[-1] / "checkpoints" / "last.ckpt"
    for alphas in (None, [0.0, 0.25]):
        trainer = small_trainer(tmp_path, [])
        with pytest.raises(CheckpointError, match=r"its alphas are \[0.0, 0.125, 0.25, 0.5\], the model"):
            trainer.fit(
                small_model(alphas=alphas), datamodule=small_data(videos), ckpt_path=file, weights_only=True
            )


def test_statistics_that_are_none_are_refused(trained, tmp_path) -> None:
    content = last_of(trained[-1])
    of_other_shape = {"network.blocks.0.norm.running_mean": torch.zeros(1)}
    for wrong in (3, {"0": {}}, {0.0: {"network.nothing": torch.zeros(1)}}, {0.0: of_other_shape}):
        torch.save({**content, "norms_by_alpha": wrong}, tmp_path / "wrong.ckpt")
        with pytest.raises(CheckpointError, match="'norms_by_alpha' are no statistics"):
            open_weights(tmp_path / "wrong.ckpt")


@pytest.mark.slow
def test_trained_compiled(tmp_path, videos) -> None:
    # At larger rates the rounding of one step is a percent of the fourth one's loss.
    # Two alphas: each is minutes of compiling.
    settings = {"of_trainer": {"max_epochs": 1}, "dropout": 0.0, "lr": 0.005, "alphas": [0, 0.25]}
    _, eager, _ = fit(tmp_path / "eager", videos, **settings)
    _, compiled, _ = fit(tmp_path / "compiled", videos, **settings, compile=True)
    assert list(compiled.losses.values()) == pytest.approx(list(eager.losses.values()), rel=1e-2)


@pytest.mark.slow
def test_recomputed_activations_change_nothing(tmp_path, videos) -> None:
    _, plain, _ = fit(tmp_path / "plain", videos, of_trainer={"max_epochs": 1})
    _, recomputed, _ = fit(
        tmp_path / "recomputed", videos, of_trainer={"max_epochs": 1}, checkpoint_activations=True
    )
    assert list(recomputed.losses.values()) == pytest.approx(list(plain.losses.values()), rel=1e-4)
