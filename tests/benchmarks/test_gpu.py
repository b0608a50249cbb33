"""`python -m benchmarks.gpu`: rehearsed as a whole, and its runner with steps that fail, hang and find things."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from benchmarks.gpu import caches, kit, plan
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.fit import Watch
from benchmarks.gpu.lab import Lab, run_parts
from benchmarks.gpu.plan import CHECKOUT, STEPS, Step
from benchmarks.gpu.results import Results
from benchmarks.gpu.wheels import COMMAND


@pytest.mark.slow
def test_rehearsal_finds_something_in_every_step(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--out", str(tmp_path)]
    command += ["--seconds", "1500"]  # a busy machine cuts no step
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    log = (tmp_path / "log.txt").read_text()
    assert done.returncode == 0, done.stdout + log[-3000:]
    lines = Results(tmp_path, rehearsal=True).lines()
    for step in STEPS:
        own = [line for line in lines if line["step"] == step.name]
        assert any("what" in line for line in own), step.name
        assert all(line["state"] == "done" for line in own if "state" in line), step.name
        assert not [line for line in own if "error" in line]
    assert all({"at", "device", "versions"} <= line.keys() for line in lines if "what" in line)
    assert len(list(tmp_path.iterdir())) <= 8
    assert "eager: training, 32 clips" in (tmp_path / "table.txt").read_text()
    # A second run finds it all done.
    again = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert again.stdout.count("done before") == len(STEPS) - 1


def script(code: str) -> list[str]:
    """A process that finds things: `note(what, value)` writes a line, as a step's lab does."""
    start = "import sys, time; from benchmarks.gpu.results import Results; from pathlib import Path\n"
    note = "note = lambda what, value: Results(Path(sys.argv[1])).append(step='x', part='p', what=what, value=value)\n"
    return [sys.executable, "-c", start + note + code]


CODES = {
    "ceilings": "raise SystemExit(3)",
    "eager": "note('first', 1); time.sleep(60); note('second', 2)",
    "decoding": "note('third', 3)",
}


def run(folder: Path, seconds: float) -> list[str]:
    said: list[str] = []
    steps = [Step("ceilings", 30), Step("eager", 8), Step("decoding", 30)]
    plan.run(
        steps, Results(folder), deadline=time.monotonic() + seconds, say=said.append,
        command=lambda step: [*script(CODES[step.name]), str(folder)],
        environment={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    return said


@pytest.mark.slow
def test_a_step_that_fails_or_hangs_stops_no_other_and_keeps_what_it_found(tmp_path):
    said = run(tmp_path, 45.0)  # the hanging step gets no more than its own eight seconds
    assert [text.split(",")[0] for text in said] == ["ceilings: failed", "eager: cut", "decoding: done"]
    lines = Results(tmp_path).lines()
    assert [line["value"] for line in lines if "what" in line] == [1, 3]
    table = Results(tmp_path).table()
    assert "third: value 3" in table
    assert "FAILED: error exit code 3; log.txt has its words" in table
    assert "CUT: error at its limit of 8 s" in table
    assert run(tmp_path, 9.0)[2] == "decoding: done before"


def test_no_time_left_is_said(tmp_path):
    assert run(tmp_path, 5.0) == [f"{name}: no time left" for name in CODES]


def test_a_line_that_was_cut_is_left_out(tmp_path):
    results = Results(tmp_path, device="here")
    results.append(step="a", part="b", state="done")
    with results.file.open("a") as file:
        file.write('{"step": "a", "part": "c", "sta')
    assert results.is_done("a", "b")
    assert not results.is_done("a", "c")
    assert not Results(tmp_path, rehearsal=True).is_done("a", "b")  # a rehearsal is no run


def test_parts_that_fail_are_written_down_and_run_again(tmp_path):
    ran: list[str] = []

    def works(lab: Lab) -> None:
        ran.append("works")
        lab.note("answer", value=42)

    def fails(lab: Lab) -> None:
        ran.append("fails")
        raise ValueError("no such kernel\nmore words")

    lab = Lab("eager", tmp_path, rehearse=True)
    for again in (False, False, True):
        assert not run_parts(lab, {"fails": fails, "works": works}, again=again)
    assert ran == ["fails", "works", "fails", "fails", "works"]
    failed = next(line for line in lab.results.lines() if line.get("state") == "failed")
    assert failed["error"] == "ValueError: no such kernel"


def test_an_unknown_step_is_one_line(tmp_path, capsys):
    assert main(["--only", "training", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [f"--only is 'training', allowed: {', '.join(repr(step.name) for step in STEPS)}"]
    assert [step.name for step in plan.choose(["compiled training"])] == ["environment", "compiled training"]


def test_a_kit_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main(["--kit", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"--kit is {tmp_path / 'none'}, which is no folder")


def test_steps_fit_into_the_run_and_the_command_into_its_room():
    assert sum(step.seconds for step in STEPS) < plan.SECONDS
    assert len(COMMAND) < 2000


def test_a_kit_gives_clips_caches_and_older_results(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(caches, "PIECE_BYTES", 20_000)
    made, out, carried = tmp_path / "made", tmp_path / "out", tmp_path / "kit"
    made.mkdir()
    (made / "kernel.bin").write_bytes(os.urandom(50_000))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(made))
    (carried / "clips").mkdir(parents=True)
    caches.save(Lab("caches", carried, rehearse=True))
    assert len(list(carried.glob("caches.tar.gz.?"))) > 2
    out.mkdir()
    environment = kit.unpack(carried, out)
    found = Path(environment["TORCHINDUCTOR_CACHE_DIR"])
    assert found != made
    assert (found / "kernel.bin").read_bytes() == (made / "kernel.bin").read_bytes()
    assert environment["OCTVIDEO_CLIPS"] == str(carried / "clips")
    assert Results(out, rehearsal=True).is_done("caches") is False
    assert len(Results(out, rehearsal=True).lines()) == 1  # the older day's

    monkeypatch.setattr(caches, "MAX_PIECES", 2)
    with pytest.raises(OverflowError, match="more than 2 pieces"):
        caches.save(Lab("caches", carried, rehearse=True))
    assert not list(carried.glob("caches*"))  # half an archive is of no use
    (carried / "caches.tar.gz.0").write_bytes(b"torn")
    with pytest.raises(kit.KitError, match=r"caches\.tar\.gz\.0 and its other pieces do not unpack"):
        kit.unpack(carried, out)


def test_links_to_pyavs_ffmpeg(tmp_path):
    libraries = tmp_path / "av.libs"
    libraries.mkdir()
    for name in (
        "libavcodec-6b2de834.so.62.28.100",
        "libswscale-0a.so.9.5.100",
        "libx264-1f.so.165",
        "notes.txt",
    ):
        (libraries / name).touch()
    links = kit.link_libraries(libraries, tmp_path / "links")
    assert {link.name: link.readlink().name for link in links.iterdir()} == {
        "libavcodec.so.62": "libavcodec-6b2de834.so.62.28.100",
        "libswscale.so.9": "libswscale-0a.so.9.5.100",
        "libx264.so.165": "libx264-1f.so.165",
    }


def test_waits_are_counted_by_line():
    """torch warns each time that Python waits for the GPU."""
    watch = Watch()
    watch._count_waits(True)
    for _ in range(3):
        warnings.warn("called a synchronizing CUDA operation", UserWarning)
    warnings.warn("something else", UserWarning)
    watch._count_waits(False)
    ((place, count),) = watch.waits.items()
    assert place.startswith("benchmarks/test_gpu.py:")
    assert count == 3
