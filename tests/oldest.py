"""The oldest versions that setup.cfg allows, as constraints for pip: printed for `make test-oldest`."""

import configparser
from pathlib import Path

from packaging.requirements import Requirement


def oldest(setup: Path) -> list[str]:
    """``name==version`` for every requirement with a lower bound, those of extras too."""
    config = configparser.ConfigParser()
    config.read(setup, encoding="utf-8")
    texts = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    lines = [line for text in texts for line in text.splitlines() if line and not line.startswith("#")]
    bounds = {
        requirement.name: specifier.version
        for requirement in map(Requirement, lines)
        for specifier in requirement.specifier
        if specifier.operator in (">=", "==")
    }
    return [f"{name}=={version}" for name, version in sorted(bounds.items())]


if __name__ == "__main__":
    print("\n".join(oldest(Path(__file__).parents[1] / "setup.cfg")))
