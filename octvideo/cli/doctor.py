"""`octvideo doctor`: what works here, and why the rest does not."""

import argparse

from rich.console import Console


def doctor_command(args: list[str]) -> int:
    """Prints one line for each decoder, device and kernel."""
    parser = argparse.ArgumentParser(
        prog="octvideo doctor",
        description="Say which decoders, devices and kernels work here, and why the others do not.",
        exit_on_error=False,
    )
    parser.parse_args(args)

    from octvideo.data.doctor import report

    console = Console(highlight=False)
    for finding in report():
        mark = "[green]works[/]" if finding.works else "[red]no   [/]"
        console.print(f"{mark}  {finding.what}", end="")
        console.print(f": {finding.detail}" if finding.detail else "", markup=False, soft_wrap=True)
    return 0
