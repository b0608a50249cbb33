"""What a run has found, one JSON line each, on the disk before the next one is looked for.

A line says `step`, `part` and either `what` was found, with its values, or the `state` in which the part or the step
ended. Every line has the date, the device and the versions. Nothing but the standard library is needed here.
"""

import json
import os
from pathlib import Path
from typing import Any

FILE = "results.jsonl"
_STAMP = {"step", "part", "what", "state", "seconds", "at", "device", "versions", "rehearsal"}


class Results:
    """The lines of a folder's results.jsonl.

    Args:
        folder: made if it is not there.
        stamp: values that every line gets; `rehearsal` tells rehearsals from runs.
    """

    def __init__(self, folder: Path, **stamp: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / FILE
        self.stamp = {"rehearsal": False, **stamp}

    def append(self, **values: Any) -> None:
        """Write a line; it is on the disk when this returns, since the next moment may be the machine's last."""
        with self.file.open("a") as file:
            file.write(json.dumps({**values, **self.stamp}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(self) -> list[dict[str, Any]]:
        """Every whole line of this kind of run, oldest first; one that was cut while it was written is left out."""
        found = []
        for text in self.file.read_text().splitlines() if self.file.exists() else []:
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if line["rehearsal"] == self.stamp["rehearsal"]:
                found.append(line)
        return found

    def is_done(self, step: str, part: str | None = None) -> bool:
        """Whether a step, or a part of it, has once been run to its end."""
        return any(
            line.get("state") == "done" and (line["step"], line.get("part")) == (step, part)
            for line in self.lines()
        )

    def table(self) -> str:
        """The newest value of everything, by step and part, and what did not end well."""
        newest: dict[tuple[Any, ...], dict[str, Any]] = {}
        for line in self.lines():
            newest[line["step"], line.get("part"), line.get("what")] = line
        rows = []
        heading = None
        for (step, part, what), line in newest.items():
            if what is None and line["state"] in ("done", "skipped"):
                continue
            if what is not None and line.get("outcome") == "passed":
                continue  # one test of many; its part counts them
            if heading != (step, part):
                heading = (step, part)
                rows.append(f"{step}: {part}" if part else str(step))
            values = (f"{key} {_short(value)}" for key, value in line.items() if key not in _STAMP)
            rows.append(f"  {what or line['state'].upper()}: " + ", ".join(values))
        return "\n".join(rows)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_short(one)}" for key, one in value.items())
    return str(value)
