"""Every command of the README and the documentation is run, in small; what cannot run is parsed by its real parser."""

import argparse
import importlib
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from setuptools.config.setupcfg import read_configuration

from octvideo.cli import COMMANDS, main
from tests.docs.commands import CHECKOUT, Command, collect, mentioned, typed
from tests.docs.stage import build, shrunk

TYPED = collect(typed)
# A command that stands on several pages works on all of them.
DIFFERENT = list({command.words: command for command in reversed(TYPED)}.values())[::-1]
TARGETS = re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
# What makes a benchmark small.
SHORT = {
    "model": ["--rounds", "1", "--num_frames", "4", "--crop", "32", "--alpha", "0.25"],
    "decode": ["--rounds", "1", "--num_clips", "2"],
}


class Parsed(Exception):
    """The arguments were accepted; nothing was run."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory, make_video) -> Path:
    return build(tmp_path_factory.mktemp("stage"), make_video)


def only_parse(run: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets `run` parse its arguments with its own parser, and stops it there."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *args, **kwargs) -> None:
        parse(self, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setenv("OCTVIDEO_TRACEBACK", "1")
    with pytest.raises(Parsed):
        run()


# What a command needs beside the package, and the extra that brings it.
NEEDED = {
    "WandbLogger": ("wandb", "loggers"),
    "MLFlowLogger": ("mlflow", "loggers"),
    "docs/examples/sweep.py": ("optuna", "sweep"),
}


def skip_without(words: tuple[str, ...]) -> None:
    for word in words:
        package, extra = NEEDED.get(word, ("", ""))
        if package and not find_spec(package):
            pytest.skip(f"needs {package}: pip install 'octvideo[{extra}]'")


def run_octvideo(words: list[str], stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert words[0] in (*COMMANDS, "--help", "--version")
    if words[0] == "bench":
        stand_ins = {"i3d_r50": "i3d_tiny", "VIDEOS_256/some_class/*.mp4": "my_video.mp4"}
        words = [*(stand_ins.get(word, word) for word in words), *SHORT[words[1]]]
    if words[0] == "features":
        words += ["--num_workers", "0"]
    if words[0] == "probe":  # of files that the commands above it have written
        for file in words[1:3]:
            listed = f"runs/demo/data/{Path(file).stem}.csv"
            run_octvideo(
                ["features", "runs/demo/checkpoints/best.ckpt", listed, "--out", file], stage, monkeypatch
            )
    if "--compile" in words:  # a minute, which tests/models/test_compiled.py takes
        only_parse(lambda: main(words), monkeypatch)
        return
    if words[0] == "prep":
        words = ["2" if word == "16" else word for word in words]  # jobs
    if words[:2] == ["prep", "motions"]:  # its folder holds the stand-ins
        small = ["--num-train", "2", "--num-val", "1", "--num-test", "1", "--jobs", "1"]
        words = ["prep", "motions", "rendered", *words[3:], *small]
    if words[0] == "adapt":
        small = ["--steps=1", "--num_workers=0", "--num_frames=4", "--crop=32", "--model.num_classes=2"]
        stand_ins = {
            "i3d_r50": "i3d_tiny",
            "i3d_inception": "i3d_tiny",
            "i3d_inception.safetensors": "I3D_8x8_R50.pyth",
            "ut_interaction/videos": "VIDEOS",
        }
        words = [*(stand_ins.get(word, word) for word in words), *small]
    if words[0] in ("fit", "validate", "test", "predict"):
        if "--model.network.init_args.num_classes" in words:
            words[words.index("--model.network.init_args.num_classes") + 1] = "2"
        words = ["i3d_tiny" if word == "i3d_r50" else word for word in words]
        if words[0] == "fit" and "--ckpt_path" not in words:  # the stage's folders hold trainings already
            words += [f"--trainer.default_root_dir={tempfile.mkdtemp(dir=stage)}"]
        words += shrunk(words, stage / "runs" / "demo" / "data")
    assert main(words) == 0


def run_module(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name, arguments = words[0], words[1:]
    assert name.startswith("benchmarks."), f"{name}: what users have is a command of octvideo"
    package = importlib.import_module(name)
    module = importlib.import_module(f"{name}.__main__") if hasattr(package, "__path__") else package
    only_parse(lambda: module.main(arguments), monkeypatch)


def run_install(words: list[str]) -> None:
    extras = set(read_configuration(CHECKOUT / "setup.cfg")["options"]["extras_require"])
    asked = re.fullmatch(r"(?:\.|octvideo)\[([\w,]+)\]", words[-1])
    assert words[:-1] in (["install", "-e"], ["install"])
    assert asked
    assert set(asked[1].split(",")) <= extras


def run_sbatch(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The script is sound, and what follows it is what `octvideo fit` takes."""
    subprocess.run(["bash", "-n", words[0]], check=True)
    config, options = words[1], words[2:]
    assert main(["fit", "--config", config, *options, "--print_config"]) == 0
    assert "num_classes:" in capsys.readouterr().out


def run_sweep(words: list[str], stage: Path) -> None:
    script, *options = (CHECKOUT / words[0], *("1" if word == "20" else word for word in words[1:]))
    small = shrunk(["fit", "--trainer.default_root_dir", "--model.lr"], stage / "runs" / "demo" / "data")
    paths = os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    subprocess.run([sys.executable, str(script), *options, *small], check=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("command", DIFFERENT, ids=str)
def test_a_typed_command_works(command: Command, stage: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(stage)
    skip_without(command.words)
    program, *words = command.words
    if program == "octvideo":
        run_octvideo(words, stage, monkeypatch)
    elif (program, words[0]) == ("python", "docs/examples/sweep.py"):
        run_sweep(words, stage)
    elif (program, words[0]) == ("python", "-m"):
        run_module(words[1:], monkeypatch)
    elif program == "make":
        subprocess.run(["make", "--dry-run", *words], cwd=CHECKOUT, check=True, capture_output=True)
    elif program == "pip":
        run_install(words)
    elif program == "sbatch":
        run_sbatch(words, monkeypatch, capsys)
    else:
        assert command.words == ("source", ".venv/bin/activate"), f"no test knows this command: {command}"


def run_folder_of(words: list[str]) -> str:
    """Where `octvideo fit` writes: what is given, else the configuration's, else the model's."""
    options = dict(itertools.pairwise(words))
    said = yaml.safe_load((CHECKOUT / options["--config"]).read_text()) if "--config" in options else {}
    named = options.get("--trainer.default_root_dir") or said.get("trainer", {}).get("default_root_dir")
    return named or f"runs/{options.get('--model.name') or said['model']['name']}"


@pytest.mark.parametrize("page", sorted({command.page for command in TYPED}))
def test_no_training_of_a_page_meets_a_used_run_folder(page: str) -> None:
    """Typed in order, after `make demo`: the second of two trainings in one folder stops."""
    used = ["runs/demo"]
    for words in [list(command.words) for command in TYPED if command.page == page]:
        leaves_nothing = "--trainer.fast_dev_run" in words
        if words[:2] != ["octvideo", "fit"] or leaves_nothing or "--ckpt_path" in words:
            continue
        used.append(run_folder_of(words))
    assert len(used) == len(set(used)), used


@pytest.mark.parametrize("command", collect(mentioned), ids=str)
def test_a_mentioned_command_exists(command: Command) -> None:
    program, *words = command.words
    if program == "octvideo":
        assert words[0] in (*COMMANDS, "--help", "--version", "COMMAND")
    elif program == "make":
        assert words[0] in TARGETS
    else:
        assert find_spec(words[1]), f"no module {words[1]}"


def test_pages_name_what_an_installed_package_has() -> None:
    """`python -m data_prep.check` is there in a checkout alone."""
    assert [str(one) for kind in (typed, mentioned) for one in collect(kind) if "data_prep" in str(one)] == []


def test_commands_are_found_and_joined() -> None:
    text = "a\n```bash\nmake demo   # why\noctvideo fit \\\n    --config 'a b.yaml'\n```\nand `octvideo models` too\n"
    assert typed(text) == [("make", "demo"), ("octvideo", "fit", "--config", "a b.yaml")]
    assert mentioned(text) == [("octvideo", "models")]
    assert len(TYPED) > 20
