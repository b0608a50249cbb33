"""Zip files that readers disagree about."""

import io
import struct
import zipfile


class Anything:
    """A list that holds everything."""

    def __contains__(self, thing: object) -> bool:
        return True


def two_in_one(first: bytes, second: bytes) -> bytes:
    """A file in which Python's `zipfile` reads the first archive, and who follows the zip64 locator the second."""
    members, directory, number = _parts(first, 0)
    hidden, other_directory, other_number = _parts(second, len(members))
    start = len(members) + len(hidden)
    other_end = _end_64(start, other_directory, other_number)
    place = start + len(other_directory) + len(other_end)  # of the first one's directory
    return b"".join(
        [
            *(members, hidden, other_directory, other_end, directory),
            _end_64(place, directory, number),
            struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(other_directory), 1),
            struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0),
        ]
    )


def _parts(content: bytes, moved: int) -> tuple[bytes, bytes, int]:
    """An archive's members, its directory with all offsets moved, and how many there are."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start, number = archive.start_dir, len(archive.infolist())
    place = start
    directory = bytearray(content)
    for _ in range(number):
        sizes = struct.unpack_from("<3H", content, place + 28)
        (offset,) = struct.unpack_from("<L", content, place + 42)
        struct.pack_into("<L", directory, place + 42, offset + moved)
        place += 46 + sum(sizes)
    return content[:start], bytes(directory[start:place]), number


def _end_64(start: int, directory: bytes, number: int) -> bytes:
    return struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, number, number, len(directory), start)
