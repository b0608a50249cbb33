"""What a checkpoint says of its training, held against what a training says of itself before Lightning takes it up.

Lightning takes a file's word: whatever stands there becomes an attribute of its loops, and the best checkpoint's
predecessor is removed under the name that the file has for it.
"""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from octvideo.errors import InputError

_MOST = 2**53  # of anything that is counted


def check_training(checkpoint: dict[str, Any], trainer: Trainer, file: str) -> None:
    """Checks the content of a checkpoint that a training is to go on from; what is not known of loops is taken out.

    Raises:
        InputError: naming the file, for weights alone, and for what no training writes.
    """
    if not all(checkpoint.get(part) for part in ("loops", "optimizer_states", "lr_schedulers")):
        raise InputError(
            f"{file}: holds weights and no training that could go on; a new one starts from them with "
            "--model.checkpoint"
        )
    loops = checkpoint["loops"]
    theirs = loops.get("fit_loop") if isinstance(loops, Mapping) else None
    checkpoint["loops"] = {
        "fit_loop": _like(theirs, trainer.fit_loop.state_dict(), f"{file}: in its training, fit_loop")
    }
    callbacks = checkpoint.setdefault("callbacks", {})
    if not isinstance(callbacks, Mapping):
        raise _refused(f"{file}: callbacks", callbacks, "a dictionary")
    best = callbacks.get("RunCheckpoint") or {}
    score = best.get("best_model_score") if isinstance(best, Mapping) else best
    if score is not None and not (isinstance(score, Tensor) and score.ndim == 0):
        raise _refused(f"{file}: the score of its best checkpoint", score, "a number")


def _like(theirs: Any, ours: Any, where: str) -> Any:
    """What of `theirs` is in `ours` too, of the same kind; older files may lack parts of the outermost dictionary."""
    if isinstance(ours, Mapping):
        if not isinstance(theirs, Mapping):
            raise _refused(where, theirs, "a dictionary")
        return {key: _like(theirs[key], ours[key], f"{where}.{key}") for key in ours if key in theirs}
    if isinstance(ours, bool):
        if not isinstance(theirs, bool):
            raise _refused(where, theirs, "true or false")
    elif isinstance(theirs, bool) or not isinstance(theirs, int) or not 0 <= theirs <= _MOST:
        raise _refused(where, theirs, f"a whole number, 0 to {_MOST}")
    return theirs


def _refused(where: str, value: Any, allowed: str) -> InputError:
    return InputError(f"{where} is {repr(value)[:80]}, allowed is {allowed}")
