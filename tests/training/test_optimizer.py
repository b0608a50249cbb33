"""Which parameters learn at which rate, and what the options of a training do to it."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

import octvideo
from octvideo import VideoClassifier
from octvideo.models import create_model, for_training, get_spec
from octvideo.training.optimizer import norms, parameter_groups, unset_zero_init
from octvideo.training.precise_norms import recompute_statistics
from octvideo.training.recompute import recompute_activations
from tests.training.runs import Record, small_data, small_model, small_trainer, write_videos


@pytest.fixture(scope="module")
def csv(tmp_path_factory, make_video):
    return write_videos(tmp_path_factory.mktemp("videos"), make_video)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize(
    ("name", "head"), [("i3d_tiny", "blocks.5.proj."), ("r3d_18", "fc."), ("s3d", "classifier.1.")]
)
def test_every_parameter_is_in_one_group(name: str, head: str, alpha: float) -> None:
    network = create_model(name, alpha=alpha, num_classes=3)
    groups = parameter_groups(
        network, head.rstrip("."), lr=0.4, backbone_lr_factor=0.1, weight_decay=0.3, decay_norms=False
    )
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert sum(len(g["params"]) for g in groups) == len(found) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        lr = 0.4 if name.startswith(head) else 0.04
        decay = 0.3 if parameter.ndim > 1 or name == f"{head}bias" else 0.0  # the only bias of these networks
        assert found[id(parameter)] == (pytest.approx(lr), decay), name


def test_frozen_backbone_learns_nothing_but_the_head(csv, tmp_path) -> None:
    model = small_model(backbone_lr_factor=0.0)
    before = copy.deepcopy(model.state_dict())
    small_trainer(tmp_path, [], max_epochs=1, limit_val_batches=0, enable_checkpointing=False).fit(
        model, datamodule=small_data(csv)
    )
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"network.blocks.5.proj.weight", "network.blocks.5.proj.bias"}


def test_adamw_first_step(csv, tmp_path) -> None:
    """The first step of Adam is lr * sign(gradient), for gradients well above its epsilon."""
    model = small_model(optimizer="adamw", lr=1e-3, weight_decay=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients = {}
    model.on_before_optimizer_step = lambda optimizer: gradients.update(
        {name: p.grad.clone() for name, p in model.named_parameters()}
    )
    small_trainer(
        tmp_path,
        [],
        max_steps=1,
        max_epochs=-1,
        limit_val_batches=0,
        enable_checkpointing=False,
    ).fit(model, datamodule=small_data(csv))
    for name, parameter in model.named_parameters():
        clear = gradients[name].abs() > 1e-4
        decay = 0.1 if parameter.ndim > 1 or name.endswith("proj.bias") else 0.0
        expected = before[name] * (1 - 1e-3 * decay) - 1e-3 * gradients[name].sign()
        torch.testing.assert_close(parameter[clear], expected[clear], rtol=0, atol=2e-6, msg=name)


def test_zero_init() -> None:
    model = VideoClassifier("i3d_tiny", num_classes=3)
    assert sum(not norm.weight.any() for norm in norms(model)) == 4  # one a residual block
    unset_zero_init(model)
    assert all((norm.weight == 1).all() for norm in norms(model))
    other = VideoClassifier("i3d_tiny", num_classes=3, zero_init_norms=False)
    assert all((norm.weight == 1).all() for norm in norms(other))


@pytest.mark.parametrize(
    ("name", "num_blocks", "alpha"),
    [
        *(("i3d_tiny", 4, alpha) for alpha in (0.0, 0.5)),
        *(("r3d_18", 8, alpha) for alpha in (0.0, 0.5)),
        pytest.param("slowfast_r50", 32, 0.5, marks=pytest.mark.slow),
    ],
)
def test_recomputed_activations_change_nothing(name: str, num_blocks: int, alpha: float) -> None:
    torch.manual_seed(0)
    plain = create_model(name, alpha=alpha, num_classes=3)
    unset_zero_init(plain)
    again = copy.deepcopy(plain)
    assert recompute_activations(again, get_spec(name).blocks) == num_blocks
    clip = torch.randn(2, 3, 8, 32, 32)
    kept = []
    for network in (plain, again):
        network.train()
        saved: list[int] = []

        def pack(value, saved=saved):
            saved.append(value.numel())
            return value

        torch.manual_seed(1)  # dropout
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            loss = network(clip).square().sum()
        kept.append(sum(saved))
        loss.backward()
    assert kept[1] < 0.7 * kept[0]  # numbers kept for the backward pass
    assert plain.state_dict().keys() == again.state_dict().keys()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0, msg=key)
    for (key, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        scale = float(one.grad.abs().max())
        torch.testing.assert_close(other.grad, one.grad, rtol=0, atol=1e-4 * scale, msg=key)


@pytest.mark.parametrize("alpha", [0.0, 0.25])
def test_decay_is_pyslowfast_s(alpha: float) -> None:
    """X3D has biases besides the head's: in squeeze and excitation. The groups of its `construct_optimizer`."""
    network = create_model("x3d_s", alpha=alpha, num_classes=3)
    groups = parameter_groups(
        network,
        get_spec("x3d_s").head,
        lr=0.1,
        backbone_lr_factor=1.0,
        weight_decay=5e-5,
        decay_norms=False,
    )
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = {group["weight_decay"]: {names[id(p)] for p in group["params"]} for group in groups}
    assert set(found) == {0.0, 5e-5}
    block = "blocks.1.res_blocks.0.branch2."
    assert {name for name in found[5e-5] if name.startswith(block) or name.startswith("blocks.5.proj")} == {
        f"{block}conv_a.weight",
        f"{block}conv_b.weight",
        f"{block}norm_b.1.block.0.weight",
        f"{block}norm_b.1.block.0.bias",
        f"{block}norm_b.1.block.2.weight",
        f"{block}norm_b.1.block.2.bias",
        f"{block}conv_c.weight",
        "blocks.5.proj.weight",
        "blocks.5.proj.bias",
    }
    assert {name for name in found[0.0] if name.startswith(block)} == {
        f"{block}{norm}.{kind}" for norm in ("norm_a", "norm_b.0", "norm_c") for kind in ("weight", "bias")
    }


def unlike_batches() -> list[torch.Tensor]:
    """Dark and bright clips, of little and of much contrast."""
    generator = torch.Generator().manual_seed(0)
    scales = ((1.0, 0.0), (0.2, 2.0), (2.0, -1.0))
    return [torch.randn(2, 3, 8, 32, 32, generator=generator) * scale + shift for scale, shift in scales]


def seen_by_norms(network: nn.Module, batches: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """What each norm layer of a dense network gets, `(C, N)`, batch by batch."""
    seen: dict[str, list[torch.Tensor]] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm3d):
            module.register_forward_pre_hook(
                lambda module, inputs, name=name: seen.setdefault(name, []).append(
                    inputs[0].detach().transpose(0, 1).flatten(1).double()
                )
            )
    with torch.no_grad():
        for batch in batches:
            network.train()(batch)
    return seen


def test_precise_norms_are_those_of_all_batches_together() -> None:
    torch.manual_seed(0)
    network = create_model("i3d_tiny", num_classes=3).eval()
    unset_zero_init(network)
    other = copy.deepcopy(network)
    recompute_statistics(network, unlike_batches())
    seen = seen_by_norms(other, unlike_batches())
    assert len(seen) == len(list(norms(network))) == 17
    spread = []
    for name, parts in seen.items():
        norm, everything = network.get_submodule(name), torch.cat(parts, dim=1)
        torch.testing.assert_close(
            norm.running_mean.double(), everything.mean(1), rtol=1e-4, atol=1e-5, msg=name
        )
        var = everything.var(1, correction=0)
        torch.testing.assert_close(norm.running_var.double(), var, rtol=1e-4, atol=1e-6, msg=name)
        spread.append(float((torch.stack([part.var(1) for part in parts]).mean(0) / var).mean()))
        assert not norm.training
        assert norm.momentum == 0.1
    assert min(spread) < 0.9  # the mean of the batches' variances is another number


def test_precise_norms_are_fvcore_s() -> None:
    precise_bn = pytest.importorskip("fvcore.nn.precise_bn")
    torch.manual_seed(0)
    ours = create_model("i3d_tiny", num_classes=3)
    unset_zero_init(ours)
    theirs = copy.deepcopy(ours).train()
    recompute_statistics(ours, unlike_batches())
    precise_bn.update_bn_stats(theirs, unlike_batches(), num_iters=3)
    for one, other in zip(norms(ours), norms(theirs), strict=True):
        torch.testing.assert_close(one.running_mean, other.running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.running_var, other.running_var, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["torch", "triton"])
def test_precise_norms_of_other_norm_layers(engine: str) -> None:
    """Of several processes' norms, which call their module for each frequency; and of a training by an engine's."""
    torch.manual_seed(0)
    network = create_model("i3d_tiny", alpha=0.25, num_classes=3)
    unset_zero_init(network)
    other = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(network))
    recompute_statistics(network, unlike_batches())
    with octvideo.engine(engine):
        recompute_statistics(for_training(other), unlike_batches())
    for one, synchronised in zip(norms(network), norms(other), strict=True):
        torch.testing.assert_close(one.running_mean, synchronised.running_mean)
        torch.testing.assert_close(one.running_var, synchronised.running_var)


def test_precise_norms_of_octave_networks_have_the_rows_of_each_frequency() -> None:
    """Each frequency's rows are the statistics of that frequency's maps, which `functional.batch_norm` gets."""
    torch.manual_seed(0)
    network = create_model("i3d_tiny", alpha=0.25, num_classes=3)
    unset_zero_init(network)
    seen: dict[int, list[torch.Tensor]] = {}
    calls: list[int] = []
    real = nn.functional.batch_norm

    def note(x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        seen.setdefault(len(calls), []).append(x.detach().transpose(0, 1).flatten(1).double())
        calls.append(1)
        return real(x, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(nn.functional, "batch_norm", note)
        for batch in unlike_batches():
            calls.clear()
            network.train()(batch)
    recompute_statistics(network, unlike_batches())
    means = torch.cat([torch.cat(parts, dim=1).mean(1) for parts in seen.values()])
    variances = torch.cat([torch.cat(parts, dim=1).var(1, correction=0) for parts in seen.values()])
    found = torch.cat([norm.running_mean for norm in norms(network)]).double()
    assert len(seen) > len(list(norms(network)))  # two calls of most
    torch.testing.assert_close(found.sort().values, means.sort().values, rtol=1e-4, atol=1e-5)
    found = torch.cat([norm.running_var for norm in norms(network)]).double()
    torch.testing.assert_close(found.sort().values, variances.sort().values, rtol=1e-4, atol=1e-5)
    # In evaluation the network gives what it gives in training on such a batch, if all batches are one.
    batch = unlike_batches()[1]
    recompute_statistics(network, [batch])
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        evaluated, trained = network.eval()(batch), network.train()(batch)
    torch.testing.assert_close(evaluated, trained, rtol=1e-3, atol=1e-3)


def test_precise_norms_in_a_training(csv, tmp_path) -> None:
    """The first norm's statistics are those of its input over the clips before the validation."""
    model = small_model(precise_norm_batches=3, lr=1e-9)
    seen: list[torch.Tensor] = []
    first = model.network.blocks[0].conv

    def note(module: nn.Module, arguments: tuple, out: torch.Tensor) -> None:
        if model.trainer.validating and model.network.blocks[0].norm.training:
            seen.append(out.detach().transpose(0, 1).flatten(1))

    first.register_forward_hook(note)
    trainer = small_trainer(tmp_path, [], max_epochs=1, limit_val_batches=1, enable_checkpointing=False)
    trainer.fit(model, datamodule=small_data(csv))
    assert len(seen) == 3
    norm, everything = model.network.blocks[0].norm, torch.cat(seen, dim=1)
    torch.testing.assert_close(norm.running_mean, everything.mean(1))
    torch.testing.assert_close(norm.running_var, everything.var(1, correction=0))
    assert norm.momentum == 0.1


def test_moving_average_is_what_is_kept(csv, tmp_path) -> None:
    model = small_model(ema_decay=0.5, lr=0.1)
    steps: list[torch.Tensor] = []
    weight = model.network.blocks[5].proj.weight
    model.on_train_batch_end = lambda *_: steps.append(weight.detach().clone())
    trainer = small_trainer(tmp_path, [], max_epochs=1, limit_val_batches=1, enable_checkpointing=False)
    trainer.fit(model, datamodule=small_data(csv))
    average = steps[0]
    for step in steps[1:]:
        average = 0.5 * average + 0.5 * step
    torch.testing.assert_close(weight.detach(), average)
    assert not torch.allclose(average, steps[-1])


@pytest.mark.slow
def test_compiled_training_is_the_same(csv, tmp_path, monkeypatch) -> None:
    # Compiled networks take torch's convolutions: so does the other one, since steps enlarge what another rounds.
    monkeypatch.setenv("OCTVIDEO_ENGINE", "torch")
    losses = []
    for compiled in (False, True):
        model = small_model(compile=compiled, alpha=0.25, dropout=0.0, lr=1e-3)
        # Without the code generator, which takes a minute: torch's own tests hold that.
        model.network.compile = partial(model.network.compile, backend="aot_eager")
        record = Record()
        trainer = small_trainer(
            tmp_path, [record], max_epochs=1, limit_val_batches=1, enable_checkpointing=False
        )
        trainer.fit(model, datamodule=small_data(csv))
        losses.append([*record.losses.values(), float(trainer.callback_metrics["val/loss"])])
        assert (model.network._compiled_call_impl is not None) == compiled
        assert all(name.startswith("network.blocks.") for name in model.state_dict())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
