"""Names as they may be shown, so that neither a terminal nor a spreadsheet does what one of them says.

A file name on Linux is bytes, and Python keeps those that are no UTF-8 as lone surrogates (PEP 383). In text files they
go back to these bytes (`errors="surrogateescape"`, in JSON as escapes), on the screen they are escapes.
"""

import re

# Control characters, C1's too; bytes of names that are no UTF-8; ends of lines; what turns the direction of writing.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def shown(text: object, *, lines: bool = False) -> str:
    r"""A text with its control characters as escapes.

    Args:
        text: what is to be shown, of whatever class.
        lines: whether newlines and tabs are left as they are.

    >>> print(shown("a\x1b[31m.mp4"))
    a\x1b[31m.mp4
    """
    return _UNSEEN.sub(
        lambda found: found[0] if lines and found[0] in "\n\t" else _escape(found[0]), str(text)
    )


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def cell(text: str) -> str:
    """A text for a cell of a CSV file: with a quote before what a spreadsheet would compute; `from_cell` takes it off.

    >>> cell("=1+1"), cell("'=1"), cell("plain")
    ("'=1+1", "''=1", 'plain')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """The text that `cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
