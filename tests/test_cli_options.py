"""Options and configurations that no run can mean: one line, at once."""

from pathlib import Path

import pytest

from octvideo.cli import main
from octvideo.cli.configurations import settled
from octvideo.cli.options import check_trainer
from octvideo.errors import InputError

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (bytes(range(256)), "no YAML"),
        (b"a: [1", ":1: no YAML"),
        (LAUGHS.encode(), "stands for more than 100000 values once its aliases are resolved"),
        (b"a: &a [*a]", "stands for more than 100000 values"),
        (b"[" * 10_000, "nested too deeply"),
        (b"a: 1\n" * 300_000, "has 1500000 bytes"),
        (b"- 1\n", "no configuration, which has a name before each value"),
    ],
)
def test_configurations(tmp_path: Path, content: bytes, text: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(content)
    for args in (["--config", str(file)], [f"--config={file}"], ["-c", str(file)]):
        with pytest.raises(InputError) as caught:
            settled(args)
        assert str(file) in str(caught.value)
        assert text in str(caught.value)
    file.write_text("a: &a [1, 2]\nb: *a\n")
    settled(["--config", str(file)])
    file.write_text("")
    settled(["--config", str(file)])
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        settled([f"--config={tmp_path}/gone.yaml"])


@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        ("fit", "accumulate_grad_batches", 0),
        ("fit", "max_epochs", 0),
        ("fit", "max_epochs", -2),
        ("fit", "max_steps", 0),
        ("fit", "log_every_n_steps", -1),
        ("fit", "check_val_every_n_epoch", 0),
        ("fit", "limit_train_batches", 0),
        ("fit", "gradient_clip_val", float("nan")),
        ("test", "limit_test_batches", 0),
        ("test", "limit_test_batches", -1.0),
        ("predict", "limit_predict_batches", 0.0),
        ("validate", "limit_val_batches", 0),
        ("test", "devices", 999_999),
        ("test", "devices", "999999"),
        ("test", "devices", 0),
    ],
)
def test_settings_of_the_trainer(command: str, name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"trainer.{name} is .*, allowed"):
        check_trainer(command, {"accelerator": "cpu", name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"max_epochs": -1, "max_steps": -1, "devices": "auto", "limit_val_batches": 0},
        {"max_epochs": None, "log_every_n_steps": 0, "limit_train_batches": 1.0, "devices": 1},
        {"fast_dev_run": True, "limit_train_batches": 0, "accumulate_grad_batches": 4},
    ],
)
def test_what_lightning_means_is_left_alone(settings: dict) -> None:
    check_trainer("fit", {"accelerator": "cpu", **settings})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "x.ckpt"], "the following arguments are required: OUT"),
        (["export", "x.ckpt", "x.onnx", "--nothing"], "unrecognized arguments: --nothing"),
        (["probe"], "the following arguments are required: TRAIN, TEST"),
        (
            ["adapt", "x.ckpt", "--videos=x", "--out=y", "--alpha=.1", "--budget=1"],
            "argument --budget: not allowed",
        ),
        (["models", "--alpha", "x"], "argument --alpha: invalid float value: 'x'"),
        (["doctor", "x"], "unrecognized arguments: x"),
        (["prep", "manifest", "x"], "the following arguments are required: out"),
        (["prep", "motions", "x", "--jobs=x"], "argument --jobs: invalid int value: 'x'"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_or_too_much_is_one_line(words: list[str], said: str, capsys) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert said in line
    assert "--help" in line
    assert not printed.out
