"""Names of files and classes: nothing in them reaches a terminal or a spreadsheet as a command, and nothing is lost."""

import csv
import io
import os

import pytest

from octvideo.text import cell, from_cell, shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain é 日本 🎥.mp4", "plain é 日本 🎥.mp4"),
        ("a\x1b[31m\x07.mp4", r"a\x1b[31m\x07.mp4"),
        ("two\nlines\r", r"two\x0alines\x0d"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        (os.fsdecode(b"caf\xe9.mp4"), r"caf\xe9.mp4"),
        ("gpm.\u202e4pm", r"gpm.\u202e4pm"),
    ],
)
def test_what_is_shown(name: str, expected: str) -> None:
    assert shown(name) == expected
    shown(name).encode()  # can be printed
    assert shown("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@a", "\t=1", "'=1", "''=1", "'plain", "plain", "a=1", ""]
)
def test_cells_compute_nothing_and_come_back(name: str) -> None:
    assert from_cell(cell(name)) == name
    assert cell(name)[:1] not in ("=", "+", "-", "@", "\t", "\r")
    stream = io.StringIO(newline="")
    csv.writer(stream).writerow([cell(name), "b"])
    stream.seek(0)
    assert from_cell(next(csv.reader(stream))[0]) == name
