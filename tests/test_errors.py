"""What is a user's mistake, and what a programming error: the class decides, here and out of a worker."""

import importlib
import multiprocessing
import pkgutil
import subprocess
import sys

import pytest
import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset

import octvideo
from octvideo.cli.errors import explain
from octvideo.errors import InputError, OctvideoError
from octvideo.training.stop import Stopped


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(below) for below in kind.__subclasses__()))


for module in pkgutil.walk_packages(octvideo.__path__, "octvideo."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
# A signal reaches the training process alone.
OURS = sorted(subclasses(OctvideoError) - {Stopped}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_ours_keep_class_and_text_out_of_a_worker(kind: type) -> None:
    text = "/a  b.csv:3: ValueError: no label: 'x', allowed is 0 to 1"
    try:
        raise kind(text)
    except kind:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(kind) as caught:
        wrapped.reraise()
    assert type(caught.value) is kind
    assert str(caught.value) == text
    code, line = explain(caught.value)
    assert (code, line) == (kind.exit_code, f"error: {text}")


def _numpy() -> None:
    torch.zeros(2).numpy().reshape(3)


MISTAKES = {
    "zip": (ValueError, lambda: list(zip([1], [1, 2], strict=True))),
    "unpacking": (ValueError, lambda: (lambda a, b: None)(*_two())),
    "numpy": (ValueError, _numpy),
    "key": (KeyError, lambda: {}["nothing"]),
    "assertion": (AssertionError, lambda: _never()),
    "unicode": (RuntimeError, lambda: b"\xff".decode()),  # of torch, since that class takes five arguments
}


def _two() -> tuple[int, int]:
    first, second = [1, 2, 3]
    return first, second


def _never() -> None:
    raise AssertionError("cannot happen")


class Broken(Dataset):
    """Every item is what `MISTAKES` says."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        MISTAKES[self.name][1]()


class Asked(Dataset):
    """Every item is a file that is not there, or a value that is not allowed."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        if self.what == "file":
            open("/nowhere/a.csv")  # noqa: SIM115
        raise InputError("alpha is 2, allowed is 0 to 1")


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_programming_error_keeps_its_trace(name: str, num_workers: int) -> None:
    with pytest.raises((ValueError, KeyError, AssertionError, RuntimeError)) as caught:
        next(iter(DataLoader(Broken(name), num_workers=num_workers)))
    if num_workers:
        assert type(caught.value) is MISTAKES[name][0]
        assert "Original Traceback" in str(caught.value)
    assert explain(caught.value) == (1, None)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_was_asked_wrongly_is_one_line(num_workers: int) -> None:
    lines = []
    for what in ("file", "value"):
        with pytest.raises((OSError, InputError)) as caught:
            next(iter(DataLoader(Asked(what), num_workers=num_workers)))
        lines.append(explain(caught.value))
    assert lines[1] == (2, "error: alpha is 2, allowed is 0 to 1")
    assert lines[0][0] == 2
    assert "No such file or directory" in lines[0][1]
    assert "/nowhere/a.csv" in lines[0][1]
    assert "Traceback" not in lines[0][1]


def test_a_value_error_of_our_own_files_is_no_mistake_of_the_user(monkeypatch) -> None:
    """The command ends with 1 and a trace, as Python ends a program; with 2 it ends for the user's mistakes."""
    code = (
        "import octvideo.cli.models_table as m\n"
        "from octvideo.cli import main\n"
        "def broken(args):\n    a, b = [1, 2, 3]\n"
        "m.models_command = broken\n"
        "raise SystemExit(main(['models']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "too many values to unpack" in done.stderr


def test_a_workers_silence_is_a_failure_in_one_line() -> None:
    """Its end may be noticed where it hands a clip over, before torch has said whose it was."""
    ours, its = multiprocessing.Pipe()
    its.close()
    with pytest.raises(EOFError) as caught:
        ours.recv()
    code, line = explain(caught.value)
    assert code == 1
    assert line is not None
    assert line.startswith("error: a worker process has ended")
