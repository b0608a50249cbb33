"""What octvideo raises on purpose, for the person who asked: everything else is a programming error.

The text of each is one line that holds the parameter, its value and what is allowed; a file by its absolute path. The
command line prints that line and exits with 2; any other exception keeps its trace there, out of a worker too. An
exception that may cross a worker process takes a single string.
"""


class OctvideoError(Exception):
    """The base of them all."""


class InputError(OctvideoError, ValueError):
    """A value that was given is not allowed."""


class MissingPackageError(OctvideoError, ImportError):
    """An optional package is not installed; the text names the extra that brings it."""
