"""A MkDocs hook: the pictures kept in the notebooks are files of the site, `figures/NOTEBOOK/CELL.png`.

CELL is the cell's id, so a page says `![…](figures/01_octave_convolution/paths.png)` of the cell with the id `paths`.
"""

import base64
import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


def on_files(files: Files, *, config: Any) -> Files:
    """Adds every picture that a cell ends with."""
    for notebook in sorted((Path(config.docs_dir) / "notebooks").glob("*.ipynb")):
        for cell in json.loads(notebook.read_text())["cells"]:
            pictures = [output.get("data", {}).get("image/png") for output in cell.get("outputs", [])]
            pictures = [picture for picture in pictures if picture]
            if pictures:
                name = f"figures/{notebook.stem}/{cell['id']}.png"
                files.append(File.generated(config, name, content=base64.b64decode("".join(pictures[-1]))))
    return files
