"""Pages: what is put into one is text, and every template has what it names."""

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from octvideo.pages import picture, write_page

PACKAGE = Path(__file__).parents[1] / "octvideo"
EVIL = '"><script>alert(1)</script>'
VALUES = {
    "test.html": {
        "cards": [(EVIL, EVIL)],
        "quick": True,
        "errors": [EVIL],
        "pictures": [(EVIL, picture(b"png", "png"))],
        "confused": [(EVIL, EVIL, "1", "50%")],
        "classes": [{"name": EVIL, "videos": 3, "accuracy": None, "taken_for": EVIL}],
        "mistakes": [
            {"strip": picture(b"jpeg", "jpeg"), "scored": [EVIL]}
            | dict.fromkeys(("problem", "name", "path", "label", "own"), EVIL)
        ],
        "recipe": [(EVIL, EVIL)],
    },
    "adaptation.html": {
        "num_clips": 3,
        "columns": (EVIL, "minutes"),
        "measured": [(EVIL, "1.0")],
        "picture": picture(b"png", "png"),
        "errors": [EVIL],
        "layers": [(EVIL, EVIL, "1", "0.5", "0.4")],
        "settings": [(EVIL, EVIL)],
    },
}


@pytest.mark.parametrize("template", VALUES)
def test_what_is_put_into_a_page_is_text(tmp_path: Path, template: str) -> None:
    file = tmp_path / "page.html"
    write_page(file, template, title=EVIL, **VALUES[template])
    text = file.read_text()
    assert text.count("<script>") == text.count("</script>") == 1  # the page's own
    assert text.count("&lt;script&gt;alert(1)") > 8
    with pytest.raises(UndefinedError):
        write_page(file, template, title=EVIL)
    assert file.read_text() == text


def test_html_is_written_in_templates_alone() -> None:
    """Where a string is put together, one `escape` is forgotten some day."""
    parts = [*(PACKAGE / "evaluation").glob("*.py"), *(PACKAGE / "adaptation").glob("*.py")]
    assert [file.name for file in parts if re.search(r"</\w+>", file.read_text())] == []
    templates = list((PACKAGE / "pages").glob("*.html"))
    assert {file.name for file in templates} == {"page.html", "parts.html", *VALUES}
    assert not any(re.search(r"\|\s*safe|autoescape", file.read_text()) for file in templates)
