"""A worker process that does one job after another: `python -m data_prep._worker`.

Requests and answers are lines of JSON on its standard input and output; `data_prep._jobs` holds the other end
and kills the process when an answer does not come in time. Jobs are named here and nowhere else.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from octvideo.errors import OctvideoError


def _check(arguments: dict[str, Any]) -> dict[str, Any]:
    from .check import check_file

    return check_file(**arguments)


def _resize(arguments: dict[str, Any]) -> dict[str, Any]:
    from .resize import resize_file

    return resize_file(**arguments)


def _sleep(arguments: dict[str, Any]) -> dict[str, Any]:
    """For tests: hangs."""
    import time

    time.sleep(arguments["seconds"])
    return {"status": "ok"}


def _break(arguments: dict[str, Any]) -> dict[str, Any]:
    """For tests: a programming error."""
    return {}[arguments["key"]]


def _abort(arguments: dict[str, Any]) -> dict[str, Any]:
    """For tests: dies like a library that crashes."""
    os.abort()


JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "check": _check,
    "resize": _resize,
    "sleep": _sleep,
    "break": _break,
    "abort": _abort,
}


def main() -> None:
    # Libraries print to standard output; the answers keep it for themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = JOBS[request["job"]](request["arguments"])
        except (OctvideoError, OSError, MemoryError) as error:
            answer = {"status": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        except Exception as error:  # a programming error, whose trace the other end shows
            answer = {"status": "failed", "reason": type(error).__name__, "trace": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
