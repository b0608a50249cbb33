"""Archives that say two things are refused; those of torch and of `zipfile` are read."""

import io
import struct
import warnings
import zipfile

import pytest
import torch

from octvideo.models.archive import ArchiveError, pack, unpack
from tests.models.archives import two_in_one

MEMBERS = {"data/a": b"first", "data/b": bytes(100), ".data/version": b"3"}
# A locator of a zip64 end record, and that record.
LOCATOR = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
END_64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 3, 3, 0, 0)


@pytest.fixture
def whole() -> bytes:
    return pack(MEMBERS)


def test_those_of_torch_are_read() -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(5), "b": "text"}, buffer)
    members = unpack(buffer.getvalue())
    assert members["data/0"] == torch.arange(5).numpy().tobytes()
    again = torch.load(io.BytesIO(pack(members)), weights_only=True)
    torch.testing.assert_close(again["a"], torch.arange(5))
    assert unpack(pack(members)) == members


@pytest.mark.parametrize("size", [1, 22, 5000])
def test_bytes_before_the_first_member(whole: bytes, size: int) -> None:
    with pytest.raises(ArchiveError, match="bytes before archive/data/a"):
        unpack(bytes(size) + whole)


@pytest.mark.parametrize("size", [1, 22, 5000])
def test_bytes_behind_the_end(whole: bytes, size: int) -> None:
    with pytest.raises((ArchiveError, zipfile.BadZipFile)):
        unpack(whole + bytes(size))
    comment = whole[:-2] + struct.pack("<H", size) + bytes(size)
    with pytest.raises((ArchiveError, zipfile.BadZipFile, struct.error)):
        unpack(comment)


def test_an_archive_behind_another(whole: bytes) -> None:
    with pytest.raises(ArchiveError):
        unpack(pack({"data/a": b"other"}) + whole)


def test_a_name_twice() -> None:
    for second in ("archive/data/a", "other/data/a"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr("archive/data/a", b"1")
            archive.writestr(second, b"2")
        with pytest.raises(ArchiveError, match="data/a twice"):
            unpack(buffer.getvalue())


def test_two_folders() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("one/data/a", b"1")
        archive.writestr("two/data/b", b"2")
    with pytest.raises(ArchiveError, match="the folders one and two"):
        unpack(buffer.getvalue())


def test_compressed_members() -> None:
    """They could be of any size once they are read."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/a", bytes(10**6))
    with pytest.raises(ArchiveError, match="compressed"):
        unpack(buffer.getvalue())


def test_zip64_sizes_of_a_member() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("archive/data/a")
        info.extra = struct.pack("<2H2Q", 1, 16, 5, 5)
        archive.writestr(info, b"first")
    with pytest.raises((ArchiveError, zipfile.BadZipFile)):
        unpack(buffer.getvalue())


def test_bytes_between_members(whole: bytes) -> None:
    """Of which the directory says nothing: a reader that starts at the front would find them."""
    place = whole.index(b"PK\x03\x04", 4)
    gap = pack({"hidden": b"other"}).partition(b"PK\x01\x02")[0]
    content = bytearray(whole[:place] + gap + whole[place:])
    start, size = whole.index(b"PK\x01\x02") + len(gap), len(content) - 22
    at = start
    while content[at : at + 4] == b"PK\x01\x02":
        (offset,) = struct.unpack_from("<L", content, at + 42)
        struct.pack_into("<L", content, at + 42, offset + (len(gap) if offset else 0))
        at += 46 + sum(struct.unpack_from("<3H", content, at + 28))
    struct.pack_into("<L", content, size + 16, start)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert len(archive.namelist()) == 3  # zipfile sees nothing wrong
    with pytest.raises(ArchiveError, match="bytes behind archive/data/a"):
        unpack(bytes(content))


def test_a_second_directory_by_zip64(whole: bytes) -> None:
    other = pack({"data/a": b"other"})
    with pytest.raises(ArchiveError):
        unpack(two_in_one(whole, other))
    # An end record of zip64 that says what the other does not.
    with pytest.raises((ArchiveError, zipfile.BadZipFile)):
        unpack(whole[:-22] + END_64 + LOCATOR + whole[-22:])
    # More members listed than the end record says.
    fewer = bytearray(whole)
    struct.pack_into("<2H", fewer, len(whole) - 14, 1, 1)
    with pytest.raises(ArchiveError, match="a second directory"):
        unpack(bytes(fewer))


def test_every_cut_and_every_changed_byte_of_the_end_is_refused(whole: bytes) -> None:
    for size in range(len(whole)):
        with pytest.raises((ArchiveError, zipfile.BadZipFile, struct.error, EOFError)):
            unpack(whole[:size])
    for place in range(whole.index(b"PK\x05\x06"), len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises((ArchiveError, zipfile.BadZipFile, struct.error, EOFError)):
            unpack(bytes(changed))
