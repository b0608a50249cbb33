"""Kinetics' class names by the data set's name."""

import hashlib
from pathlib import Path

import pytest

from octvideo.data import ManifestError, read_class_list
from octvideo.models import kinetics400_names

SHARED = Path(__file__).parents[3] / "shared" / "labels"
# Of the names, one a line: a name that moves would move every label behind it.
DIGESTS = {
    600: "5d9a560f98fcfed08f6129dd498f97e043edf729efb3c02dd96b482d2970f9c0",
    700: "a34c9fed41f5f9ed56d95b7d0f60ce3af073064691da8dc75dcda06f394af1c9",
}


def test_kinetics400_is_torchvisions() -> None:
    assert list(read_class_list("kinetics400")) == kinetics400_names()


@pytest.mark.parametrize("number", [600, 700])
def test_names_and_order(number: int) -> None:
    names = read_class_list(f"kinetics{number}")
    assert len(set(names)) == len(names) == number
    assert list(names) == sorted(names)
    assert hashlib.sha256("\n".join(names).encode()).hexdigest() == DIGESTS[number]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared labels are not here")
@pytest.mark.parametrize("number", [400, 600])
def test_as_another_source_has_them(number: int) -> None:
    assert (SHARED / f"kinetics{number}.txt").read_text().split("\n")[:number] == list(
        read_class_list(f"kinetics{number}")
    )


def test_a_file_of_that_name_wins(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kinetics600").write_text("one\ntwo\n")
    assert read_class_list("kinetics600") == ("one", "two")
    with pytest.raises(ManifestError, match="kinetics500"):
        read_class_list("kinetics500")
