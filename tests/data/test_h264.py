"""Where H.264 decoding may start, on NAL units written by hand."""

import pytest

from octvideo.data.decode._h264 import is_disposable, starts_anew

IDR = b"\x65\x88\x84"
SLICE = b"\x41\x9a\x24"  # a picture that needs others
PARAMETERS = b"\x67\x42\xc0\x1e"
# SEI, payload type 6 of 1 byte; recovery_frame_cnt is Exp-Golomb: 0 is "1", 3 is "00100".
AT_ONCE = b"\x06\x06\x01\xc4\x80"
LATER = b"\x06\x06\x01\x24\x80"
# Another message before it: user data (type 5) of 255 + 2 bytes.
AFTER_ANOTHER = b"\x06\x05\xff\x02" + bytes(257) + b"\x06\x01\xc4\x80"


def annex_b(*units):
    return b"".join(b"\x00\x00\x00\x01" + unit for unit in units)


def with_lengths(*units, width=4):
    return b"".join(len(unit).to_bytes(width, "big") + unit for unit in units)


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ((IDR,), True),
        ((PARAMETERS, IDR), True),
        ((SLICE,), False),
        ((PARAMETERS, SLICE), False),
        ((AT_ONCE, SLICE), True),
        ((LATER, SLICE), False),
        ((AFTER_ANOTHER, SLICE), True),
        ((b"\x06", SLICE), False),
        ((b"\x06\x06", SLICE), False),
    ],
)
def test_both_framings(units, expected):
    assert starts_anew(annex_b(*units), None) is expected
    for width in (1, 2, 4):
        if max(map(len, units)) < 256**width:
            avcc = bytes([1, 66, 0, 30, 0xFC | (width - 1), 0xE1])
            assert starts_anew(with_lengths(*units, width=width), avcc) is expected


def test_damaged_packets_are_no_start():
    avcc = bytes([1, 66, 0, 30, 0xFF, 0xE1])
    for packet in (b"", b"\x00", b"\xff" * 10, b"\x00\x00\x00\x00" * 5, b"\x00\x00\x01"):
        assert starts_anew(packet, avcc) is False
        assert starts_anew(packet, None) is False


SPARE = b"\x01\x9e\x42"  # a picture that nothing refers to: nal_ref_idc 0


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ((SPARE,), True),
        ((AFTER_ANOTHER, SPARE, SPARE), True),
        ((SPARE, SLICE), False),  # fields of one frame
        ((IDR,), False),
        ((PARAMETERS,), False),
    ],
)
def test_pictures_that_nothing_refers_to(units, expected):
    avcc = bytes([1, 66, 0, 30, 0xFF, 0xE1])
    assert is_disposable(annex_b(*units), None) is expected
    assert is_disposable(memoryview(with_lengths(*units)), avcc) is expected
