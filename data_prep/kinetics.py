"""From Kinetics' annotations and a folder of videos to checked manifests: `python -m data_prep.kinetics`.

    python -m data_prep.kinetics /data/kinetics400 lists/ --annotations train.csv val.csv test.csv --jobs 16

Finds the listed clips anywhere below the folder, decodes each of them (`data_prep.check`), and writes what
`data_prep.manifest` writes. A run that was stopped goes on where it was.
"""

import argparse
import sys
from collections.abc import Sequence

from octvideo.data.manifest import read_class_list
from octvideo.parser import Parser

from . import _jobs
from ._command import exit_status, program
from ._layouts import listed
from .check import check
from .manifest import add_arguments, write_and_report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog=program("kinetics"), description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--min-seconds", type=float, default=0.0, help="shorter videos are 'short'")
    _jobs.add_arguments(parser)
    return exit_status("kinetics", lambda: _make(parser.parse_args(arguments)))


def _make(options: argparse.Namespace) -> None:
    class_names = read_class_list(options.class_list) if options.class_list else None
    entries = list(listed("kinetics", options.videos, options.annotations))
    found = [str((options.videos / entry.path).absolute()) for entry in entries if entry.path]
    results = check(found, options.out, min_seconds=options.min_seconds, **_jobs.chosen(options))
    write_and_report(entries, options, checked=results, class_names=class_names)


if __name__ == "__main__":
    sys.exit(main())
