"""Zip archives as torch writes them, read so that no other reader could see something else in them.

A zip file can be read from its end, by way of the central directory, or from its start; it may have bytes before,
between and behind its members, and two places that say where the directory is: the end record, and that of zip64, which
torch always writes, too. Readers differ in whom they believe, so a file can show one archive to who checks it and
another to who loads it. Here such files are refused, and what was read can be packed anew, with nothing left to
interpret.
"""

import io
import struct
import zipfile

_LOCAL = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_HAS_DESCRIPTOR, _UTF8 = 0x08, 0x800
_DESCRIPTORS = ("<4s3L", "<4sL2Q")


class ArchiveError(ValueError):
    """What a file has that an archive of torch's has not."""


def unpack(content: bytes) -> dict[str, bytes]:
    """The members of an archive, by their names without the folder that all of them are in.

    Raises:
        ArchiveError: readers could differ about it: two directories, a name twice, bytes that belong to no member.
        zipfile.BadZipFile: it is no archive, or a damaged one.
    """
    members: dict[str, bytes] = {}
    place, roots = 0, set()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        infos, directory = sorted(archive.infolist(), key=lambda info: info.header_offset), archive.start_dir
        for number, info in enumerate(infos):
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ~(_HAS_DESCRIPTOR | _UTF8):
                raise ArchiveError(f"{info.filename} compressed or encrypted")
            if info.extra or info.comment or info.compress_size != info.file_size:
                raise ArchiveError(f"more about {info.filename} than its name and size")
            root, _, name = info.filename.partition("/")
            roots.add(root)
            if name in members or info.orig_filename != info.filename:
                raise ArchiveError(f"{info.filename} twice")
            if info.header_offset != place:
                raise ArchiveError(f"bytes before {info.filename} that belong to nothing")
            members[name] = archive.read(info)
            *_, name_size, extra_size = _LOCAL.unpack_from(content, place)
            place += _LOCAL.size + name_size + extra_size + info.file_size
            following = infos[number + 1].header_offset if number + 1 < len(infos) else directory
            if content[place:following] not in _behind(info):
                raise ArchiveError(f"bytes behind {info.filename} that belong to nothing")
            place = following
    if len(roots) > 1:
        raise ArchiveError(f"the folders {' and '.join(sorted(roots)[:2])}")
    _check_end(content, directory, len(infos))
    return members


def pack(members: dict[str, bytes]) -> bytes:
    """A new archive of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def _behind(info: zipfile.ZipInfo) -> list[bytes]:
    """What may follow a member: where its flag says so its sizes again, of 4 bytes or of 8."""
    if not info.flag_bits & _HAS_DESCRIPTOR:
        return [b""]
    numbers = (b"PK\x07\x08", info.CRC, info.file_size, info.file_size)
    return [struct.pack(layout, *numbers) for layout in _DESCRIPTORS]


def _check_end(content: bytes, directory: int, number: int) -> None:
    """Raises ArchiveError unless every end record says what the others do, and nothing is between or behind them."""
    end = len(content) - _END.size
    signature, *disks, here, listed, size, start, comment = _END.unpack_from(content, end)
    if signature != b"PK\x05\x06" or comment:
        raise ArchiveError("bytes behind its end")
    found = {(here, listed, size, start)}
    if content[end - _LOCATOR_64.size : end - _LOCATOR_64.size + 4] == b"PK\x06\x07":
        end -= _LOCATOR_64.size + _END_64.size
        _, _, where, _ = _LOCATOR_64.unpack_from(content, end + _END_64.size)
        signature, length, _, _, *more_disks, here, listed, size, start = _END_64.unpack_from(content, end)
        disks += more_disks
        found.add((here, listed, size, start))
        if signature != b"PK\x06\x06" or where != end or length != _END_64.size - 12:
            raise ArchiveError("a second directory")
    if found != {(number, number, end - directory, directory)} or any(disks):
        raise ArchiveError("a second directory")
