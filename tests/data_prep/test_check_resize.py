"""Checking and re-encoding small collections: what is found, what is written, what a second run does."""

import contextlib
import csv
import json
import os
import time

import av
import numpy as np
import pytest

from data_prep import _jobs, check, resize
from data_prep._command import exit_status
from octvideo.data import open_video
from octvideo.data.decode import scan_video
from octvideo.errors import InputError, ProcessDiedError


@pytest.fixture
def collection(tmp_path, make_video):
    """Good, damaged, short, still and rotated-by-nothing videos in two folders."""
    folder = tmp_path / "videos"
    make_video(folder / "good.mp4", num_frames=30)
    make_video(folder / "sub dir" / "größer.mkv", num_frames=24, size=(120, 160))
    make_video(folder / "short.mp4", num_frames=3)
    (folder / "bad.mp4").write_bytes(b"no video")
    return folder


def write_still(path, num_frames=20):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, dtype=np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_scan_counts_what_a_sequential_decode_sees(make_video, tmp_path):
    options = {"g": "12", "sc_threshold": "0"}
    scan = scan_video(str(make_video(tmp_path / "a.mp4", num_frames=30, options=options)))
    assert (scan.num_frames, scan.fps, scan.seconds, scan.num_repeated) == (30, 30.0, 1.0, 0)
    assert (scan.height, scan.width, scan.codec, scan.mean_gop) == (64, 96, "h264", 10.0)  # keys at 0, 12, 24


def test_check_file(collection, tmp_path):
    assert check.check_file(str(collection / "good.mp4"))["status"] == "ok"
    assert check.check_file(str(collection / "bad.mp4")) == {
        "status": "unreadable",
        "reason": "Invalid data found when processing input",
    }
    short = check.check_file(str(collection / "short.mp4"), min_seconds=0.5)
    assert (short["status"], short["reason"]) == ("short", "0.1 s, wanted are 0.5 s")
    write_still(tmp_path / "still.mp4")
    still = check.check_file(str(tmp_path / "still.mp4"))
    assert (still["status"], still["reason"], still["num_repeated"]) == ("repeated", "19 of 20 frames", 19)


def test_a_file_whose_end_is_cut_off_is_short(tmp_path, make_video):
    whole = make_video(tmp_path / "a.mkv", num_frames=60, options={"g": "6", "crf": "5"}).read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: len(whole) // 2])
    result = check.check_file(str(tmp_path / "b.mkv"))
    assert result["status"] == "short"
    assert result["reason"] == f"{result['seconds']} s of 2.0 s are there"


def test_check_command_and_its_second_run(collection, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [str(collection), "--out", str(out), "--jobs", "1", "--min-seconds", "0.5"]
    assert check.main(arguments) == 0
    with (out / "check.csv").open(newline="", encoding="utf-8") as file:
        rows = {os.path.basename(row["file"]): row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "bad.mp4": "unreadable",
        "good.mp4": "ok",
        "short.mp4": "short",
        "größer.mkv": "ok",
    }
    assert rows["größer.mkv"]["width"] == "160"

    def journal():
        return [json.loads(line)["file"] for line in (out / "check.jsonl").read_text().splitlines()]

    assert len(journal()) == 4
    # Nothing to do; then one changed file and half a line of a run that was killed.
    assert check.main(arguments) == 0
    assert len(journal()) == 4
    with (out / "check.jsonl").open("a") as lines:
        lines.write('{"file": "/x", "as')
        lines.write("\n")
    (collection / "bad.mp4").write_bytes((collection / "good.mp4").read_bytes())
    assert check.main(arguments) == 0
    with (out / "check.csv").open(newline="", encoding="utf-8") as file:
        assert [row["status"] for row in csv.DictReader(file)].count("ok") == 3
    assert check.main([str(tmp_path / "gone"), "--out", str(out)]) == 2
    assert f"{tmp_path / 'gone'}: no such file or folder" in capsys.readouterr().err


def test_a_hang_and_a_crash_cost_one_file_each(tmp_path):
    began = time.monotonic()
    hang = _jobs.run(
        "sleep", {"/a": {"seconds": 600}, "/b": {"seconds": 0}}, tmp_path / "s.jsonl", time_limit=3
    )
    assert hang == {"/a": {"status": "failed", "reason": "not done within 3 seconds"}, "/b": {"status": "ok"}}
    assert time.monotonic() - began < 120
    crash = _jobs.run("abort", {"/a": {}}, tmp_path / "c.jsonl")
    assert crash["/a"]["status"] == "failed"
    assert crash["/a"]["reason"] == "the decoder crashed (-6)"
    # Failures are tried again, successes are not.
    again = _jobs.run(
        "sleep", {"/a": {"seconds": 600}, "/b": {"seconds": 0}}, tmp_path / "s.jsonl", time_limit=1
    )
    assert again["/a"]["reason"] == "not done within 1 seconds"
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 3


def test_resize_keeps_frames_times_and_picture(tmp_path, make_video):
    times = [i * 33 + (i % 5) * 6 for i in range(40)]
    path = make_video(tmp_path / "a.mkv", num_frames=40, size=(120, 160), times=times)
    out = tmp_path / "out" / "a.mp4"
    result = resize.resize_file(str(path), str(out), short_side=60, keyframe_interval=8)
    assert result["status"] == "ok"
    assert result["bytes"] == out.stat().st_size
    assert os.listdir(tmp_path / "out") == ["a.mp4"]
    with open_video(path, decoder="pyav") as before, open_video(out) as after:
        assert after.decoder == "pyav"
        assert after.num_frames == before.num_frames == 40
        assert after.pts_seconds == pytest.approx(before.pts_seconds, abs=1e-3)
        frame = after.frames_at([20])[0].numpy().astype(int)
        assert frame.shape == (60, 80, 3)
        reference = before.frames_at([20])[0].numpy()[::2, ::2].astype(int)
        assert np.abs(frame - reference).mean() < 6
    with av.open(str(out)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
        assert not container.streams.audio
    assert sum(keys) == 5


def test_resize_turns_rotated_videos(clips, tmp_path):
    result = resize.resize_file(str(clips / "video_90.mov"), str(tmp_path / "a.mp4"), short_side=128)
    assert result["num_frames"] == 3
    with open_video(clips / "video_90.mov") as before, open_video(tmp_path / "a.mp4") as after:
        assert after.rotation == 0
        assert after.frames_at([0]).shape == (1, 226, 128, 3)
        difference = before.frames_at([0])[0].float().mean((0, 1)) - after.frames_at([0])[0].float().mean(
            (0, 1)
        )
        assert difference.abs().max() < 4


def test_resize_to_a_frame_rate(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", num_frames=60, fps=60)
    assert resize.resize_file(str(path), str(tmp_path / "b.mp4"), fps=30)["num_frames"] == 30
    with open_video(path) as before, open_video(tmp_path / "b.mp4") as after:
        assert after.pts_seconds == pytest.approx([i / 30 for i in range(30)], abs=1e-3)
        for index in (0, 7, 29):
            difference = after.frames_at([index]).float() - before.frames_at([2 * index]).float()
            assert difference.abs().mean() < 5
    slow = make_video(tmp_path / "c.mp4", num_frames=10, fps=10)
    assert resize.resize_file(str(slow), str(tmp_path / "d.mp4"), fps=30)["num_frames"] >= 28


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((720, 1280), 256, (256, 454)),
        ((121, 161), 256, (120, 160)),
        ((1280, 720), 320, (568, 320)),
        ((3, 3), 9, (2, 2)),
    ],
)
def test_even_sizes(size, short_side, expected):
    assert resize.even_size(*size, short_side) == expected


def test_resize_command_and_its_second_run(collection, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [str(collection), str(out), "--short-side", "48", "--jobs", "1"]
    assert resize.main(arguments) == 0
    assert "3 of 4 files" in capsys.readouterr().out
    made = {path.relative_to(out): path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert sorted(map(str, made)) == ["good.mp4", "short.mp4", "sub dir/größer.mp4"]
    (out / "good.mp4").unlink()
    assert resize.main(arguments) == 0
    again = {path.relative_to(out): path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert {path for path in made if made[path] != again[path]} == {
        next(p for p in made if p.name == "good.mp4")
    }
    assert not list(out.rglob("*.part*"))


def test_a_programming_error_in_a_job_keeps_its_trace(tmp_path):
    items = {"/a": {"key": "nothing"}, "/b": {"key": "nothing"}}
    with pytest.raises(RuntimeError, match=r"break of /a:\n(?s:.*)Traceback(?s:.*)KeyError: 'nothing'"):
        _jobs.run("break", items, tmp_path / "j.jsonl")
    assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 2  # the other file was done first


def test_command_lines_end_with_the_codes_of_octvideo(capsys):
    def ended(error):
        def work():
            raise error

        return exit_status("name", work), capsys.readouterr().err

    assert ended(InputError("jobs is 0")) == (2, "python -m data_prep.name: jobs is 0\n")
    assert ended(ProcessDiedError("gone")) == (1, "python -m data_prep.name: gone\n")
    assert ended(FileNotFoundError(2, "No such file", "/a")) == (
        2,
        "python -m data_prep.name: No such file: /a\n",
    )
    assert ended(KeyboardInterrupt())[0] == 130
    with pytest.raises(ValueError, match="a bug"):
        ended(ValueError("a bug"))


def test_resize_in_which_nothing_succeeds_is_no_success(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.mp4").write_text("no video")
    assert resize.main([str(tmp_path / "in"), str(tmp_path / "out"), "--jobs", "1"]) == 2
    shown = capsys.readouterr()
    assert f"none of the 2 files below {tmp_path / 'in'} could be re-encoded" in shown.err
    assert f"{tmp_path / 'in' / 'a.mp4'}: " in shown.out


def test_resize_refuses_to_overwrite(collection, capsys):
    assert resize.main([str(collection), str(collection)]) == 2
    assert "would be overwritten; allowed is another folder" in capsys.readouterr().err
    assert resize.main([str(collection), str(collection / "x"), "--short-side", "0"]) == 2
    assert "short_side is 0, allowed is a whole number, 2 to 4096" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("main", "options", "text"),
    [
        (check.main, ["--min-seconds", "nan"], "min_seconds is nan, allowed is a number, 0 or more"),
        (check.main, ["--max-repeated", "7"], "max_repeated is 7.0, allowed is a number, 0 to 1"),
        (check.main, ["--time-limit", "nan"], "time_limit is nan"),
        (resize.main, ["--crf", "99"], "crf is 99, allowed is a whole number, 0 to 51"),
        (resize.main, ["--fps", "nan"], "fps is nan, allowed is a number, 0.1 to 1000, or none"),
        (resize.main, ["--preset", "foo"], "invalid choice: 'foo'"),
    ],
)
def test_options_that_mean_nothing(collection, tmp_path, capsys, main, options, text):
    where = ["--out", str(tmp_path)] if main is check.main else [str(tmp_path / "out")]
    with contextlib.suppress(SystemExit):  # the parser's own
        assert main([str(collection), *where, *options]) != 0
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
