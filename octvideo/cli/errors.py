"""From an exception to one line on the screen and an exit code, or to a stack trace.

A user's mistake gets one line: the exceptions that this package raises on purpose, what the operating system refuses,
and what the parser and the trainer say about their options. All else is a programming error and keeps its trace.
"""

import re
import sys

from octvideo.errors import FAILURE, INTERRUPTED, USER_MISTAKE, InputError, OctvideoError, one_line


class UsageError(InputError):
    """The command line asks for something that cannot be done."""


def explain(error: BaseException) -> tuple[int, str | None]:
    """Exit code and one line for an exception; no line for a programming error, whose trace is to be shown."""
    if isinstance(error, BrokenPipeError):  # `octvideo predict … | head`: the reader has seen enough
        return FAILURE, ""
    if isinstance(error, SystemExit):
        # Lightning turns Ctrl-C into exit(1), rich a closed pipe.
        if isinstance(error.__context__, KeyboardInterrupt | BrokenPipeError):
            return explain(error.__context__)
        return (error.code if isinstance(error.code, int) else FAILURE), f"error: exit {error.code}"
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted; checkpoints and results written so far are kept"
    text = str(error)
    if isinstance(error, OctvideoError):
        stopped = error.exit_code > 128  # by a signal, as it was asked to: no error
        return error.exit_code, f"{'' if stopped else 'error: '}{one_line(error)}"
    if "</torch_" in text or "out of shared memory" in text:
        return (
            FAILURE,
            "error: no room in shared memory (/dev/shm), through which workers hand over frames; lower "
            "data.num_workers or data.eval_batch_size, or enlarge it (docker run --shm-size)",
        )
    if type(error).__name__ == "OutOfMemoryError" and type(error).__module__.startswith("torch"):
        return (
            FAILURE,
            "error: out of GPU memory; lower data.batch_size (training) or model.view_batch_size (test)",
        )
    # Raised by a signal's handler, anywhere in this process. Not imported here: it brings torch.
    if watchdog := sys.modules.get("octvideo.data.watchdog"):
        death = watchdog.death_of_worker(error)
        if death is not None:
            return explain(death)
    if isinstance(error, ConnectionError | EOFError) and _raiser(error) == "multiprocessing":
        return (  # a worker's end, noticed before torch has said whose
            FAILURE,
            "error: a worker process has ended while it handed over a clip, as systems end one when memory is short "
            "(then lower data.num_workers)",
        )
    if isinstance(error, OSError):
        return USER_MISTAKE, f"error: {one_line(error)}"
    if _is_about_options(error):
        return USER_MISTAKE, f"error: {_message(text or type(error).__name__)}"
    return FAILURE, None


def _is_about_options(error: BaseException) -> bool:
    """Whether the parser or the trainer complains about an option, for which they have no class in common."""
    if any(kind.__name__ in ("ArgumentError", "MisconfigurationException") for kind in type(error).__mro__):
        return True
    if type(error).__module__.partition(".")[0] == "jsonargparse":
        return True
    # Lightning checks some of its options when it meets them, with a plain ValueError of its own.
    return type(error) in (ValueError, ImportError, ModuleNotFoundError) and _raiser(error) in (
        "lightning",
        "jsonargparse",
    )


def _raiser(error: BaseException) -> str:
    """The package whose code raised the exception; what came out of a worker was raised again by torch."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]


def _message(text: str) -> str:
    """One line out of a parser's message, which may come as an indented tree."""
    line = re.sub(r"\s+", " ", re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)).strip()
    # Of all that a value could have been, what the class says that was asked for: that its package is missing, say.
    if own := re.search(
        r"Problem with given class_path '([\w.]+)': (.+?)(?: - (?:Expected|Not a valid)|$)", line
    ):
        return f"{own[1]}: {own[2].partition(' Given value')[0].strip()}"
    union = re.search(r"Does not validate against any of the Union subtypes Subtypes: \[(.*?)\]", line)
    value = re.search(r"Given value: (.*)$", line)
    if union and value:
        allowed = union[1].replace("NoneType", "null").replace(", ", " or ")
        line = f"{line[: union.start()]}expected {allowed}, got {value[1]!r}"
    return line
