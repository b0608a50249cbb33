"""Imports point one way, and the command line answers without torch: held by reading the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "octvideo"

# What each part may import of the others. `octvideo` itself stands for the lazy package module.
ALLOWED = {
    "card": set(),
    "errors": set(),
    "files": set(),
    "engines": set(),
    "lazy": set(),
    "limits": set(),
    "parser": set(),
    "text": set(),
    "timing": set(),
    "layers": {"engines"},
    "models": {"engines", "layers"},
    "data": {"heap", "lazy"},
    "pages": set(),
    "evaluation": {"pages"},
    "adaptation": {"engines", "layers", "models", "data", "evaluation", "lazy", "pages", "timing"},
    "viz": {"engines", "layers", "models", "data", "evaluation"},
    "training": {"layers", "models"},
    "inference": {"classifier", "data", "evaluation", "files"},
    "classifier": {"octvideo", "layers", "models", "data", "evaluation", "training"},
    "bench": {"octvideo", "engines", "layers", "models", "data", "timing"},
    "heap": set(),
    "cli": {
        "octvideo",
        "adaptation",
        "engines",
        "layers",
        "models",
        "evaluation",
        "data",
        "classifier",
        "training",
        "bench",
        "heap",
        "inference",
        "parser",
    },
    "__init__": {
        "adaptation",
        "card",
        "classifier",
        "data",
        "engines",
        "evaluation",
        "inference",
        "layers",
        "models",
        "training",
        "viz",
    },
    "__main__": {"cli"},
}


def part_of(module: str) -> str | None:
    """`octvideo.models.table` is of `models`; None for other packages."""
    names = module.split(".")
    if names[0] != "octvideo":
        return None
    return names[1] if len(names) > 1 else "octvideo"


def imported_parts(file: Path) -> set[str]:
    """Parts of octvideo that a file imports, anywhere in it."""
    parts = set()
    package = ["octvideo", *file.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(name for name in (base, node.module or "") if name)
            # `from octvideo import models` imports a part, `from octvideo.models import x` a name of one
            modules = [f"{base}.{alias.name}" for alias in node.names] if base == "octvideo" else [base]
        for module in modules:
            part = part_of(module)
            parts.add("octvideo" if part and part.startswith("__") else part)
    return parts - {None}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_one_way(file: Path) -> None:
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert imported_parts(file) <= ALLOWED[part] | {part, "card", "errors", "files", "limits", "text"}


def test_the_rule_sees_every_form_of_import(tmp_path: Path) -> None:
    file = PACKAGE / "evaluation" / "imaginary.py"
    for line in (
        "import octvideo.models",
        "from octvideo import models",
        "from octvideo.models.table import MODELS",
        "from ..models import table",
        "def f():\n    from octvideo.models import MODELS",
    ):
        tree = tmp_path / "octvideo" / "evaluation"
        tree.mkdir(parents=True, exist_ok=True)
        (tree / "imaginary.py").write_text(line)

        class Elsewhere(type(file)):
            def read_text(self, *args, line=line, **kwargs):
                return line

        assert imported_parts(Elsewhere(file)) == {"models"}, line


DECODERS = {"av", "decord", "torchcodec"}
# Writing a container opens nothing of anybody's; `evaluation` may not import `data`, and each writes other files.
WRITERS = {
    "octvideo/evaluation/labelled_video.py",
    "data_prep/resize.py",
    "data_prep/motions/dataset.py",
}

# What `octvideo export --snippet` copies, for machines without octvideo; nothing here imports it.
STANDALONE = "octvideo/models/standalone.py"


def test_only_decode_opens_containers() -> None:
    """A file that is no video, or that names one elsewhere, is met where its errors and protocols are known."""
    root = PACKAGE.parent
    files = [*PACKAGE.rglob("*.py"), *(root / "data_prep").rglob("*.py")]
    knowing = {}
    for file in files:
        tree = ast.parse(file.read_text())
        names = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {
            node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if not node.level
        }
        if {name.split(".")[0] for name in names} & DECODERS:
            knowing[file.relative_to(root).as_posix()] = tree
    elsewhere = {name for name in knowing if not name.startswith("octvideo/data/decode/")}
    assert elsewhere == WRITERS | {STANDALONE}
    for name in WRITERS:
        opened = [
            [ast.literal_eval(argument) for argument in node.args[1:]]
            for node in ast.walk(knowing[name])
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "av.open"
        ]
        assert opened == [["w"]] * len(opened) != [], name


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_does_not_import_torch(argument: str) -> None:
    code = f"import sys; from octvideo.cli import main; main(['{argument}']); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False"


def test_lazy_names_are_real() -> None:
    import octvideo

    assert octvideo.create_model is sys.modules["octvideo.models"].create_model
    assert octvideo.VideoClassifier is sys.modules["octvideo.classifier"].VideoClassifier
    assert set(dir(octvideo)) >= {"VideoClassifier", "create_model", "octavize", "__version__"}
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = octvideo.nothing_like_it


def test_parts_are_there_without_an_import_of_their_own() -> None:
    """`import octvideo; octvideo.models.MODELS` was an AttributeError."""
    code = (
        "import octvideo, sys; assert 'torch' not in sys.modules; "
        "print(len(octvideo.models.MODELS), octvideo.viz.__name__, octvideo.data.manifest.__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split()[1:] == ["octvideo.viz", "octvideo.data.manifest"]


# `octvideo adapt` makes a checkpoint of a network that no classifier has built.
FILLED_IN = {"adapted.py: classifier.card"}


def test_the_command_line_fills_nothing_in() -> None:
    """What a model or a data module needs is an argument; an attribute that somebody else sets is found by nobody."""
    found = set()
    for file in (PACKAGE / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                owner = ast.unparse(target.value) if isinstance(target, ast.Attribute) else ""
                if owner in ("model", "self.model", "data", "self.datamodule", "classifier"):
                    found.add(f"{file.name}: {ast.unparse(target)}")
    assert found <= FILLED_IN


# Who moves files otherwise: a folder's file into another folder.
MOVERS = {"octvideo/files.py", "octvideo/cli/predictions.py"}


def test_files_are_replaced_by_one_helper() -> None:
    """A dozen ways to write beside a file and rename forgot one thing each: the folder, the error's name, the rest."""
    root = PACKAGE.parent
    found = set()
    for file in [*PACKAGE.rglob("*.py"), *(root / "data_prep").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                one = len(node.args) == 1 and not node.keywords  # a text's has two
                owner = ast.unparse(node.func.value)
                named = node.func.attr in ("rename", "renames") or (node.func.attr == "replace" and one)
                if named or (owner, node.func.attr) in {("os", "replace"), ("shutil", "move")}:
                    found.add(file.relative_to(root).as_posix())
    assert found == MOVERS
