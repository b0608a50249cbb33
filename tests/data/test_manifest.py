"""Manifests in all their spellings, and every mistake with its line."""

import logging
import os

import pytest

from octvideo.data.manifest import ManifestError, find_videos, read_class_list, read_manifest

NAMES = ("abseiling", "air drumming", "answering questions")


@pytest.fixture
def root(tmp_path):
    """A folder with empty files in place of videos; reading a manifest does not open them."""
    for name in ("a.mp4", "b.mp4", "with space.mp4", "com,ma.mp4", "größe 観.mp4", "sub/c.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def write(root, content, name="list.csv"):
    path = root / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a.mp4 0\nb.mp4 2\n", [("a.mp4", 0), ("b.mp4", 2)]),
        ("a.mp4,0\nb.mp4,2", [("a.mp4", 0), ("b.mp4", 2)]),
        ("a.mp4\t0\nb.mp4   2\n", [("a.mp4", 0), ("b.mp4", 2)]),
        ("path,label\na.mp4,0\n", [("a.mp4", 0)]),
        ("\n\na.mp4 0\n\n", [("a.mp4", 0)]),
        ("with space.mp4 1\n", [("with space.mp4", 1)]),
        ('"with space.mp4" 1\n', [("with space.mp4", 1)]),
        ("with space.mp4,1\n", [("with space.mp4", 1)]),
        ('"com,ma.mp4",1\n', [("com,ma.mp4", 1)]),
        ("com,ma.mp4 1\n", [("com,ma.mp4", 1)]),
        ("größe 観.mp4 1\n", [("größe 観.mp4", 1)]),
        (b"\xef\xbb\xbfa.mp4 0\r\nsub/c.mp4 1\r\n", [("a.mp4", 0), ("sub/c.mp4", 1)]),
        ("a.mp4,air drumming\n", [("a.mp4", 1)]),
        ("./sub/../a.mp4 0\n", [("a.mp4", 0)]),
    ],
)
def test_spellings(root, content, expected):
    manifest = read_manifest(write(root, content), class_names=NAMES)
    assert manifest.paths == tuple(str(root / name) for name, _ in expected)
    assert manifest.labels == tuple(label for _, label in expected)
    assert manifest.num_missing == 0


@pytest.mark.parametrize(
    ("content", "line", "text"),
    [
        ("a.mp4 0\nb.mp4\n", 2, "the label is missing; allowed is 'path label' or 'path,label'"),
        ("a.mp4,\n", 1, "the label is missing"),
        ("a.mp4 0\n\nb.mp4 3\n", 3, "label 3 is out of range, allowed is 0 to 2"),
        ("a.mp4 -1\n", 1, "label -1 is out of range, allowed is 0 to 2"),
        ("a.mp4,flying\n", 1, "label 'flying' is unknown, allowed is one of the 3 names of the class list"),
        ("a.mp4,1.5\n", 1, "label '1.5' is unknown"),
        ("a.mp4,0,1\n", 1, "3 fields; allowed are 2"),
        (",0\n", 1, "the path is missing"),
        ("a.mp4 0\nb.mp4 1\na.mp4 0\n", 3, "a.mp4 is already on line 1"),
        ("a.mp4 0\nsub/../a.mp4,1\n", 2, "a.mp4 is already on line 1"),
        ("a.mp4 0\nnone.mp4 1\n", 2, "none.mp4: no such file"),
        ("sub 1\n", 1, "sub: not a file"),
        ("../x.mp4 0\n", 1, "is outside the root"),
        ("/etc/hostname 0\n", 1, "allowed with allow_outside_root=True"),
        (b"a.mp4 0\n\xff\xfe 1\n", 2, "no such file"),
        (b"a.mp4 0\nb\0.mp4 1\n", 2, "has a NUL character"),
        ("a.mp4 0\n".encode("utf-16"), 1, "has a NUL character"),
        (b"a.mp4 0\nb.mp4 " + b"9" * 5000, 2, "label " + "9" * 80 + " is out of range, allowed is 0 to 2"),
        (b"a.mp4 0\n" + b"x" * 100_001, 2, "100001 characters, allowed are 100000"),
    ],
)
def test_mistakes_are_named_with_their_line(root, content, line, text):
    path = write(root, content)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, class_names=NAMES)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_without_a_class_list(root):
    assert read_manifest(write(root, "a.mp4 700\n")).labels == (700,)
    with pytest.raises(ManifestError, match="label 700 is out of range, allowed is 0 to 399"):
        read_manifest(write(root, "a.mp4 700\n"), num_classes=400)
    with pytest.raises(
        ManifestError, match=r"label 'x' is unknown, allowed is a number \(no class_list given\)"
    ):
        read_manifest(write(root, "a.mp4,x\n"))


@pytest.mark.parametrize("content", ["", "\n\n", "path,label\n"])
def test_an_empty_manifest(root, content):
    path = write(root, content)
    with pytest.raises(ManifestError, match=f"{path}: lists no video; allowed are lines"):
        read_manifest(path)


def test_an_explicit_root(root, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("lists"), "a.mp4 0\n")
    assert read_manifest(path, root=root).paths == (str(root / "a.mp4"),)
    with pytest.raises(ManifestError, match="no such file"):
        read_manifest(path)
    with pytest.raises(ManifestError, match=r"root is .*/gone, which is not a folder"):
        read_manifest(path, root=root / "gone")


def test_outside_the_root_when_allowed(root):
    path = write(root / "sub", "../a.mp4 0\n")
    assert read_manifest(path, allow_outside_root=True).paths == (str(root / "a.mp4"),)


def test_links(root):
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    (root / "link.mp4").symlink_to(root / "a.mp4")
    assert read_manifest(write(root, "link.mp4 0\n")).paths == (str(root / "link.mp4"),)
    with pytest.raises(ManifestError, match=r"list.csv:1: .*loop.mp4: Too many levels of symbolic links"):
        read_manifest(write(root, "loop.mp4 0\n"))


def test_missing_videos_can_be_skipped(root, caplog):
    path = write(root, "a.mp4 0\nnone.mp4 1\ngone.mp4 1\n")
    with caplog.at_level(logging.WARNING, logger="octvideo"):
        manifest = read_manifest(path, missing="skip")
    assert manifest.labels == (0,)
    assert manifest.num_missing == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 2 of 3 videos are not there and left out"
    ]
    with pytest.raises(ManifestError, match="all 1 videos are missing"):
        read_manifest(write(root, "none.mp4 1\n"), missing="skip")
    with pytest.raises(ValueError, match="missing is 'ignore', allowed are error, skip"):
        read_manifest(path, missing="ignore")


HEADER = "label,youtube_id,time_start,time_end,split"


@pytest.fixture
def kinetics(tmp_path):
    for name in (
        "-a_1_000007_000017.mp4",
        "air drumming/bcd_000120_000130.mp4",
        "air_drumming/e_000000_000010.mp4",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_kinetics_annotations(kinetics):
    rows = ["abseiling,-a_1,7,17,train", "air drumming,bcd,120,130,train", "air drumming,e,0,10,train"]
    content = "".join(f"{line}\r\n" for line in [HEADER, *rows])
    manifest = read_manifest(write(kinetics, content), class_names=NAMES)
    assert [os.path.relpath(path, kinetics) for path in manifest.paths] == [
        "-a_1_000007_000017.mp4",
        "air drumming/bcd_000120_000130.mp4",
        "air_drumming/e_000000_000010.mp4",
    ]
    assert manifest.labels == (0, 1, 1)
    with_cc = f"{HEADER},is_cc\nabseiling,-a_1,7,17,train,0\n"
    assert read_manifest(write(kinetics, with_cc), class_names=NAMES).labels == (0,)


def test_kinetics_test_split_has_no_labels(kinetics):
    path = write(kinetics, "youtube_id,time_start,time_end,split\n-a_1,7,17,test\n")
    assert read_manifest(path, labelled=False).labels == (-1,)
    with pytest.raises(ManifestError, match=":1: column label is missing"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("abseiling,-a_1,7,17", "too few fields"),
        ("abseiling,-a_1,7,17,train,1,2", "too many fields"),
        (",-a_1,7,17,train", "the label is missing"),
        ("abseiling,-a_1,7,x,train", "time_start or time_end is no number of seconds"),
        ("abseiling,-a_1,8,18,train", "-a_1_000008_000018.mp4: no such file"),
        ("diving,-a_1,7,17,train", "label 'diving' is unknown"),
    ],
)
def test_kinetics_mistakes(kinetics, row, text):
    path = write(kinetics, f"{HEADER}\n{row}\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, class_names=NAMES)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert text in str(caught.value)


def test_class_list(tmp_path):
    path = write(tmp_path, "\ufeffabseiling\r\nair drumming\r\n\r\n", "classes.txt")
    assert read_class_list(path) == ("abseiling", "air drumming")
    for content, text in (
        ("a\n\nb\n", ":2: empty line"),
        ("a\nb\na\n", ":3: class 'a' is already on line 1"),
        ("", ": the class list is empty"),
    ):
        with pytest.raises(ManifestError, match=f"{path}{text}"):
            read_class_list(write(tmp_path, content, "classes.txt"))
    with pytest.raises(ManifestError, match=r"gone.txt: No such file or directory"):
        read_class_list(tmp_path / "gone.txt")


def test_published_class_lists(clips):
    labels = clips.parent / "labels"
    assert len(read_class_list(labels / "kinetics400.txt")) == 400
    assert len(read_class_list(labels / "kinetics600.txt")) == 600


def test_videos_to_predict(root):
    (root / "loop").symlink_to(root)
    write(root, "not a video", "notes.md")
    manifest = find_videos([root / "b.mp4", root / "sub", write(root, "a.mp4\nwith space.mp4 2\n")])
    assert [os.path.relpath(path, root) for path in manifest.paths] == [
        "b.mp4",
        "sub/c.mp4",
        "a.mp4",
        "with space.mp4",
    ]
    assert manifest.labels == (-1, -1, -1, 2)
    assert len(find_videos(str(root)).paths) == 6
    (root / "none").mkdir()
    for source, text in (("gone.mp4", "no such file or folder"), ("none", "no video in this folder")):
        with pytest.raises(ManifestError, match=text):
            find_videos(root / source)
    with pytest.raises(ManifestError, match="predict_paths is empty"):
        find_videos([])


def test_names_that_are_no_utf8(root):
    """As Python has them elsewhere; a class list is text, and has to be UTF-8."""
    name = os.fsdecode(b"caf\xe9.mp4")
    (root / name).touch()
    found = read_manifest(write(root, b"a.mp4 0\ncaf\xe9.mp4 1\n"), class_names=NAMES)
    assert found.paths[1] == str(root / name)
    assert os.path.exists(found.paths[1])
    with pytest.raises(ManifestError, match=":1: is not UTF-8 text"):
        read_class_list(write(root, b"caf\xe9\n"))
