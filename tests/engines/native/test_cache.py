"""Kept libraries: compiled once, loaded only where nobody else wrote them, compiled again where a file is damaged."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from octvideo.engines.native import cache

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++")
COMMAND = ("g++", "-O1", "-shared", "-fPIC")


@pytest.fixture
def source(monkeypatch, tmp_path):
    """An empty cache, a process that has no folder of its own yet, and a source."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = tempfile.TemporaryDirectory(dir=tmp_path, prefix="own-")
    monkeypatch.setattr(cache, "_folder_of_this_process", lambda: own)
    file = tmp_path / "answer.cpp"
    file.write_text('extern "C" int answer() { return 42; }\n')
    return file


@pytest.fixture
def counted(monkeypatch):
    """The folders in which something was compiled."""
    folders, compile_ = [], cache._compile
    monkeypatch.setattr(
        cache, "_compile", lambda command, file: (folders.append(file.parent), compile_(command, file))
    )
    return folders


def answer(source: Path) -> int:
    return cache.compiled("answer", COMMAND, [source]).answer()


def kept() -> Path:
    (file,) = cache.cache_folder().iterdir()
    return file


@needs_compiler
def test_compiled_once_for_nobody_else(source, counted):
    before = os.umask(0o002)  # as on systems that give everybody a group
    try:
        assert answer(source) == answer(source) == 42
    finally:
        os.umask(before)
    assert counted == [cache.cache_folder()]
    assert stat.S_IMODE(cache.cache_folder().stat().st_mode) == stat.S_IMODE(kept().stat().st_mode) == 0o700


@needs_compiler
@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_compiled_again(source, counted, damage):
    """Loading it would end the process: so it is never done before the digest is right."""
    assert answer(source) == 42
    content = kept().read_bytes()
    damaged = {"cut": content[: len(content) // 2], "changed": content[:-99] + bytes(99), "empty": b""}
    file = kept()
    file.unlink()  # what is loaded is still mapped, and must not change
    file.write_bytes(damaged[damage])
    file.chmod(0o700)
    assert answer(source) == 42
    assert len(counted) == 2
    assert kept().read_bytes() == content


@needs_compiler
def test_a_file_that_others_may_write_is_compiled_again(source, counted):
    answer(source)
    kept().chmod(0o720)
    assert answer(source) == 42
    assert len(counted) == 2
    assert stat.S_IMODE(kept().stat().st_mode) == 0o700


@needs_compiler
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_may_write_is_not_used(source, counted, caplog, mode):
    answer(source)
    cache.cache_folder().chmod(mode)
    assert answer(source) == 42
    assert counted == [cache.cache_folder(), Path(cache._folder_of_this_process().name)]
    assert "others may write to it" in caplog.text
    assert str(cache.cache_folder()) in caplog.text


@needs_compiler
def test_nor_one_that_can_be_exchanged(source, counted, caplog):
    cache.cache_folder().parent.mkdir()
    cache.cache_folder().parent.chmod(0o777)
    assert answer(source) == 42
    assert counted == [Path(cache._folder_of_this_process().name)]
    assert f"anybody may write to {cache.cache_folder().parent}" in caplog.text


@needs_compiler
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_nothing_of_another_user_is_loaded(source, counted, whole):
    answer(source)
    os.chown(cache.cache_folder() if whole else kept(), 12345, 12345)
    assert answer(source) == 42
    own = Path(cache._folder_of_this_process().name)
    assert counted == [cache.cache_folder(), own if whole else cache.cache_folder()]


@needs_compiler
def test_without_a_folder_to_keep_them_a_process_has_its_own(source, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(source))
    assert answer(source) == 42
    assert [file.suffix for file in Path(cache._folder_of_this_process().name).iterdir()] == [".so"]
    assert f"{source}/octvideo (XDG_CACHE_HOME moves it)" in caplog.text


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho no such option >&2\nexit 1\n", "no such option"),
        ("#!/bin/sh\nkill -9 $$\n", "exit code -9"),
        ("not a program", "cannot be run"),
        ('#!/bin/sh\nfor last; do :; done\necho not a library > "$last"\n', "cannot be loaded"),
    ],
)
def test_a_compiler_that_fails(source, tmp_path, script, said):
    compiler = tmp_path / "g++"
    compiler.write_text(script)
    compiler.chmod(0o755)
    with pytest.raises(cache.KernelBuildError, match=said):
        cache.compiled("answer", (str(compiler), "-O1"), [source])
