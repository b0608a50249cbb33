"""The commands that the README and the documentation tell a reader to type."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("**/*.md"))]

_BLOCK = re.compile(r"^[ ]*```bash\n(.*?)^[ ]*```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:octvideo|python -m|make) [^`]+)`")


@dataclass(frozen=True)
class Command:
    """One command of a page: what is typed, in words as a shell splits it."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)[:70]}"


def typed(text: str) -> list[tuple[str, ...]]:
    """The commands of a page's bash blocks; a line that ends with a backslash goes on."""
    commands = []
    for block in _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                commands.append(tuple(words))
    return commands


def mentioned(text: str) -> list[tuple[str, ...]]:
    """The commands within sentences; what follows the subcommand or the module may be a placeholder."""
    without_blocks = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [tuple(found.split()) for found in _INLINE.findall(without_blocks)]


def collect(kind) -> list[Command]:
    """Every different command of a kind (`typed` or `mentioned`), page by page."""
    found = [
        Command(str(page.relative_to(CHECKOUT)), words) for page in PAGES for words in kind(page.read_text())
    ]
    return list(dict.fromkeys(found))
