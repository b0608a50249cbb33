"""`octvideo prep NAME …`: the programs that prepare data; in a checkout `python -m data_prep.NAME`, too."""

from importlib import import_module

from octvideo.cli.errors import UsageError

PROGRAMS = {
    "manifest": "octvideo.prep.manifest",
    "check": "octvideo.prep.check",
    "resize": "octvideo.prep.resize",
    "kinetics": "octvideo.prep.kinetics",
    "motions": "octvideo.prep.motions.__main__",
}
USAGE = """\
usage: octvideo prep manifest VIDEOS OUT [options]   the lists of a data set: Kinetics, UCF101, HMDB51, folders
       octvideo prep check    VIDEOS --out OUT       decode every file, and say which are fit for training
       octvideo prep resize   VIDEOS OUT             smaller files that random clips are cheap to take from
       octvideo prep kinetics VIDEOS OUT [options]   check and manifest, from Kinetics' annotations
       octvideo prep motions  OUT                    the demo's videos

`octvideo prep manifest --help` and so on list the options.
"""


def prep_command(args: list[str]) -> int:
    """Runs one of the programs."""
    if not args or args[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if args else 2
    if args[0] not in PROGRAMS:
        raise UsageError(f"unknown program {args[0]!r}, allowed: {', '.join(PROGRAMS)}")
    status: int = import_module(PROGRAMS[args[0]]).main(args[1:])
    return status
