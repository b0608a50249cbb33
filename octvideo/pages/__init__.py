"""Pages of HTML, each one file that needs neither a network nor another file.

The templates lie here. Whatever is put into one is escaped: names of classes and files are text, whoever chose them.
"""

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from octvideo.files import replace_file


def write_page(file: str | Path, template: str, **values: Any) -> None:
    """Writes a page, as a whole or not at all.

    Args:
        file: to write.
        template: of this folder, `test.html`.
        values: what it names; `title` in every one.
    """
    text = _templates().get_template(template).render(values)
    replace_file(file, lambda out: out.write(text))


def picture(content: bytes, kind: str) -> str:
    """The address of a picture that is in the page itself; `kind` is "png" or "jpeg"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,  # a value that is missing is a mistake of ours
        trim_blocks=True,
        lstrip_blocks=True,
    )
