"""`octvideo doctor`: what works here, and why the rest does not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console

from octvideo.cli import screen
from octvideo.parser import Parser

if TYPE_CHECKING:
    from octvideo.data.doctor import Finding


def doctor_command(args: list[str]) -> int:
    """Prints one line for each decoder, device and engine."""
    parser = Parser(
        prog="octvideo doctor",
        description="Say which decoders, devices and engines work here, and why the others do not.",
    )
    parser.parse_args(args)

    from octvideo.data.doctor import report

    findings = [*report(), *_engines()]
    if screen.wants_json():
        screen.write_json([finding._asdict() for finding in findings])
        return 0
    console = Console(highlight=False)
    for finding in findings:
        mark = "[green]works[/]" if finding.works else "[red]no   [/]"
        console.print(f"{mark}  {finding.what}", end="")
        console.print(f": {finding.detail}" if finding.detail else "", markup=False, soft_wrap=True)
    return 0


def _engines() -> Iterator["Finding"]:
    """The engines for an everyday layer, and the one that was asked for."""
    import torch

    from octvideo.data.doctor import Finding
    from octvideo.engines import forced, reasons

    for dtype, trains in ((torch.float32, False), (torch.float32, True), (torch.bfloat16, False)):
        use = f"{'training' if trains else 'inference'} on the CPU, {str(dtype).removeprefix('torch.')}"
        found = reasons(dtype, trains=trains)
        chosen = next(name for name, reason in found.items() if reason is None)
        for name, reason in found.items():
            detail = reason or ("is taken" if name == chosen else f"after {chosen}")
            yield Finding(f"engine {name}, {use}", reason is None, detail)
    if (asked := forced()) is not None:
        yield Finding("engine asked for", True, f"{asked}, and torch where it cannot")
