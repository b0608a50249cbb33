"""Manifests from the layouts that data sets come in, read back by the data module's own reader."""

import json

import pytest

from data_prep import _jobs, kinetics, manifest
from octvideo.data import read_class_list, read_manifest
from octvideo.errors import MissingPackageError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_kinetics_annotations_over_any_folders(tmp_path, capsys):
    videos = tmp_path / "videos"
    touch(
        videos,
        "train/a_000001_000011.mp4",
        "val/a_000001_000011.mp4",
        "val/playing_chess/b, c_000000_000010.mkv",
        "test/t_000005_000015.webm",
        "train/notes.txt",
    )
    header = "label,youtube_id,time_start,time_end,split"
    (tmp_path / "train.csv").write_text(f"{header}\nzumba,a,1,11,train\nzumba,gone,1,11,train\n")
    (tmp_path / "val.csv").write_text(
        f'{header},is_cc\nzumba,a,1,11,validate,0\nplaying chess,"b, c",0,10,validate,1\n'
    )
    (tmp_path / "test.csv").write_text("youtube_id,time_start,time_end,split\nt,5,15,test\n")
    annotations = [str(tmp_path / f"{split}.csv") for split in ("train", "val", "test")]
    out = tmp_path / "lists"
    assert manifest.main([str(videos), str(out), "--annotations", *annotations]) == 0
    assert f"root: {videos}" in capsys.readouterr().out.replace("\n", "")
    names = read_class_list(out / "classes.txt")
    assert names == ("playing chess", "zumba")
    assert lines(out / "train.csv") == ["train/a_000001_000011.mp4,1"]
    assert lines(out / "val.csv") == [
        "val/a_000001_000011.mp4,1",
        '"val/playing_chess/b, c_000000_000010.mkv",0',
    ]
    read = read_manifest(out / "val.csv", root=videos, class_names=names)
    assert read.labels == (1, 0)
    assert read_manifest(out / "test.csv", root=videos, labelled=False).labels == (-1,)
    report = json.loads((out / "report.json").read_text())
    assert report["splits"]["train"]["listed"] == 2
    assert report["splits"]["train"]["missing"] == 1
    assert report["splits"]["train"]["files"]["missing"] == ["gone_000001_000011"]
    assert report["splits"]["val"]["videos a class"] == {"playing chess": 1, "zumba": 1}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert manifest.main([str(videos), str(out), "--annotations", *annotations]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_a_class(tmp_path):
    touch(tmp_path / "v", "train/run/1.mp4", "train/jump/2.mp4", "val/run/3.avi", "readme.txt")
    assert manifest.main([str(tmp_path / "v"), str(tmp_path / "out"), "--layout", "folders"]) == 0
    assert lines(tmp_path / "out" / "train.csv") == ["train/jump/2.mp4,0", "train/run/1.mp4,1"]
    assert lines(tmp_path / "out" / "val.csv") == ["val/run/3.avi,1"]


def test_ucf101(tmp_path):
    touch(
        tmp_path / "v", "YoYo/v_YoYo_g01_c01.avi", "YoYo/v_YoYo_g08_c01.avi", "Archery/v_Archery_g08_c01.avi"
    )
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "trainlist01.txt").write_text(
        "YoYo/v_YoYo_g08_c01.avi 101\r\nArchery/v_Archery_g08_c01.avi 3\r\n"
    )
    (lists / "testlist01.txt").write_text("YoYo/v_YoYo_g01_c01.avi\r\n")
    arguments = [
        str(tmp_path / "v"),
        str(tmp_path / "out"),
        "--layout",
        "ucf101",
        "--annotations",
        str(lists),
    ]
    assert manifest.main(arguments) == 0
    assert lines(tmp_path / "out" / "train.csv") == [
        "YoYo/v_YoYo_g08_c01.avi,1",
        "Archery/v_Archery_g08_c01.avi,0",
    ]
    assert lines(tmp_path / "out" / "test.csv") == ["YoYo/v_YoYo_g01_c01.avi,1"]


def test_hmdb51(tmp_path):
    touch(tmp_path / "v", "wave/a (1).avi", "wave/b.avi", "wave/c.avi", "sit/d.avi")
    lists = tmp_path / "splits"
    lists.mkdir()
    (lists / "wave_test_split1.txt").write_text("a (1).avi 1 \nb.avi 2 \nc.avi 0 \n")
    (lists / "sit_test_split1.txt").write_text("d.avi 1 \n")
    arguments = [
        str(tmp_path / "v"),
        str(tmp_path / "out"),
        "--layout",
        "hmdb51",
        "--annotations",
        str(lists),
    ]
    assert manifest.main(arguments) == 0
    assert lines(tmp_path / "out" / "train.csv") == ["sit/d.avi,0", "wave/a (1).avi,1"]
    assert lines(tmp_path / "out" / "test.csv") == ["wave/b.avi,1"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "annotations is empty, layout 'kinetics' needs it"),
        (["--annotations", "{}/none.csv"], "none.csv: No such file or directory"),
        (["--annotations", "{}/bad.csv"], "bad.csv:1: column youtube_id is missing"),
        (["--annotations", "{}/time.csv"], "time.csv:2: time_start or time_end is no number of seconds"),
        (["--annotations", "{}/split.csv"], "split.csv:2: split 'x' is unknown"),
        (["--layout", "hmdb51", "--annotations", "{}"], "no *_test_split1.txt here"),
        (["--layout", "folders"], "no video is listed"),
        (["--layout", "folders", "--checked", "{}"], "check.jsonl: no results of data_prep.check here"),
    ],
)
def test_mistakes(tmp_path, capsys, arguments, text):
    (tmp_path / "v").mkdir()
    (tmp_path / "bad.csv").write_text("a,b\n")
    (tmp_path / "time.csv").write_text("youtube_id,time_start,time_end,split\na,x,1,train\n")
    (tmp_path / "split.csv").write_text("youtube_id,time_start,time_end,split\na,0,1,x\n")
    filled = [argument.format(tmp_path) for argument in arguments]
    assert manifest.main([str(tmp_path / "v"), str(tmp_path / "out"), *filled]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("ucf101", ("v_Archery_g01_c01.avi", "v_Archery_g02_c01.avi", "v_Archery_g01_c02.avi")),
        (
            "hmdb51",
            (
                "A_b_Archery_u_cm_np1_ba_bad_0.avi",
                "C_Archery_u_cm_0.avi",
                "A_b_Archery_f_nm_np2_ri_med_1.avi",
            ),
        ),
    ],
)
def test_a_group_in_two_splits_is_refused(tmp_path, capsys, layout, names):
    lists = tmp_path / "lists"
    lists.mkdir()
    for name in names:
        (tmp_path / "v" / "Archery").mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / "Archery" / name).write_bytes(b"")

    def split(train, test):
        (lists / "trainlist01.txt").write_text("".join(f"Archery/{name} 1\n" for name in train))
        (lists / "testlist01.txt").write_text("".join(f"Archery/{name}\n" for name in test))
        rows = [*(f"{name} 1\n" for name in train), *(f"{name} 2\n" for name in test)]
        (lists / "Archery_test_split1.txt").write_text("".join(rows))

    arguments = [str(tmp_path / "v"), str(tmp_path / "out"), "--layout", layout, "--annotations", str(lists)]
    split([names[0], names[2]], [names[1]])
    assert manifest.main(arguments) == 0
    split(names[:2], names[2:])
    assert manifest.main(arguments) == 2
    error = capsys.readouterr().err
    assert "of class 'Archery' is in train" in error
    assert names[0] in error
    assert names[2] in error
    assert manifest.main([*arguments, "--allow-shared-groups"]) == 0


def test_hold_out(tmp_path):
    for class_name, count in (("a", 10), ("b", 2), ("c", 1)):
        for number in range(count):
            (tmp_path / "v" / class_name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "v" / class_name / f"{number}.mp4").write_bytes(b"")
    arguments = [str(tmp_path / "v"), str(tmp_path / "out"), "--layout", "folders", "--hold-out", "0.2"]
    assert manifest.main(arguments) == 0
    train, val = lines(tmp_path / "out" / "train.csv"), lines(tmp_path / "out" / "val.csv")
    assert len(set(train) | set(val)) == len(train) + len(val) == 13
    assert [sum(line.endswith(f",{label}") for line in val) for label in range(3)] == [2, 1, 0]
    assert manifest.main(arguments) == 0
    assert lines(tmp_path / "out" / "val.csv") == val
    assert manifest.main([*arguments[:-1], "1.5"]) == 2


def test_kinetics_from_annotations_to_checked_manifests(tmp_path, make_video, capsys):
    videos = tmp_path / "videos"
    make_video(videos / "a_000000_000010.mp4", num_frames=30)
    make_video(videos / "b_000000_000010.mp4", num_frames=3)
    (videos / "c_000000_000010.mp4").write_bytes(b"no video")
    rows = "".join(f"zumba,{name},0,10,train\n" for name in "abcd")
    (tmp_path / "train.csv").write_text(f"label,youtube_id,time_start,time_end,split\n{rows}")
    out = tmp_path / "lists"
    arguments = [str(videos), str(out), "--annotations", str(tmp_path / "train.csv"), "--jobs", "1"]
    arguments += ["--min-seconds", "0.5", "--drop", "unreadable", "short"]
    assert kinetics.main(arguments) == 0
    assert lines(out / "train.csv") == ["a_000000_000010.mp4,0"]
    split = json.loads((out / "report.json").read_text())["splits"]["train"]
    counts = {name: split[name] for name in ("listed", "found", "missing", "unreadable", "short", "written")}
    assert counts == {"listed": 4, "found": 3, "missing": 1, "unreadable": 1, "short": 1, "written": 1}
    assert split["files"]["unreadable"] == {"c_000000_000010.mp4": "Invalid data found when processing input"}
    assert split["seconds"] == {"least": 0.1, "median": 0.55, "most": 1.0}
    # The results of the check serve data_prep.manifest as well.
    again = [
        str(videos),
        str(tmp_path / "again"),
        "--annotations",
        str(tmp_path / "train.csv"),
        "--checked",
        str(out),
    ]
    assert manifest.main(again) == 0
    assert lines(tmp_path / "again" / "train.csv") == ["a_000000_000010.mp4,0", "b_000000_000010.mp4,0"]


def test_on_a_dask_cluster(tmp_path):
    pytest.importorskip("distributed")
    items = {f"/{number}": {"seconds": 0} for number in range(6)}
    results = _jobs.run("sleep", items, tmp_path / "journal.jsonl", jobs=2, backend="dask")
    assert results == {path: {"status": "ok"} for path in items}


def test_without_dask_it_says_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(
        MissingPackageError, match=r"backend is 'dask', which needs `pip install octvideo\[dask\]`"
    ):
        _jobs.run("sleep", {"/a": {"seconds": 0}}, tmp_path / "journal.jsonl", backend="dask")
