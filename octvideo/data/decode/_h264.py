"""What the NAL units of an H.264 packet tell: where decoding may start, and which pictures nothing refers to.

Containers also mark recovery points as key frames. With intra refresh (x264's `intra-refresh`, much of
broadcast) such a "key frame" only begins a refresh that takes many frames; decoding that starts there shows
wrong pictures without an error. NAL units: ITU-T H.264, 7.3 and 7.4.1; the recovery point message: D.1.8.
"""

from collections.abc import Iterator

_SLICES = range(1, 6)
_IDR, _SEI, _RECOVERY_POINT = 5, 6, 6
_REFERENCE = 0x60  # nal_ref_idc


def starts_anew(packet: bytes | memoryview, extradata: bytes | None) -> bool:
    """Whether the packet holds an IDR picture, or a recovery point that is complete at once."""
    for unit in _units(packet, extradata):
        kind = unit[0] & 0x1F if unit else 0
        if kind == _IDR or (kind == _SEI and _recovers_at_once(unit)):
            return True
    return False


def is_disposable(packet: bytes | memoryview, extradata: bytes | None) -> bool:
    """Whether no other picture refers to the packet's, so that leaving it out changes no other frame."""
    slices = [unit[0] for unit in _units(packet, extradata) if unit and unit[0] & 0x1F in _SLICES]
    return bool(slices) and not any(header & _REFERENCE for header in slices)


def _units(packet: bytes | memoryview, extradata: bytes | None) -> Iterator[bytes | memoryview]:
    """NAL units, parted by start codes or, in MP4 and Matroska, preceded by their lengths."""
    if extradata is None or len(extradata) < 5 or extradata[0] != 1:
        yield from bytes(packet).split(b"\x00\x00\x01")[1:]
        return
    width = (extradata[4] & 3) + 1
    at = 0
    while at + width < len(packet):
        size = int.from_bytes(packet[at : at + width], "big")
        yield packet[at + width : at + width + size]
        at += width + size


def _recovers_at_once(unit: bytes | memoryview) -> bool:
    """Whether a SEI unit has a recovery point message with recovery_frame_cnt 0."""
    at = 1
    while at + 2 < len(unit):
        kind = size = 0
        while at < len(unit) and unit[at] == 0xFF:
            kind, at = kind + 255, at + 1
        kind, at = kind + unit[at] if at < len(unit) else -1, at + 1
        while at < len(unit) and unit[at] == 0xFF:
            size, at = size + 255, at + 1
        size, at = size + unit[at] if at < len(unit) else 0, at + 1
        if kind == _RECOVERY_POINT:
            # The first field is Exp-Golomb coded: 0 is the single bit 1.
            return at < len(unit) and unit[at] & 0x80 != 0
        at += size
    return False
