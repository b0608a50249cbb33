"""What is kept off the screen: known messages that tell a user nothing, each with its reason."""

import logging
import warnings
from typing import Any

from octvideo.text import shown

# Messages, as the regular expressions that `warnings` matches at their start.
_NOISE = (
    # pytorchvideo and fvcore script a few functions when they are imported; torch deprecates scripting.
    r".*torch\.jit\.script.* is deprecated",
    # Lightning's advice to use as many workers as there are cores; data.num_workers is in every config, explained.
    r"The '\w+' does not have many workers",
    # A short epoch logs at its end, whatever log_every_n_steps says.
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    # The run folder is meant to be used again, by test and by a resumed fit.
    r"Checkpoint directory .* exists and is not empty",
    # The learning-rate schedule is created before the first step and stepped after it; Lightning's own order on
    # skipped (infinite gradient) mixed-precision steps.
    r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`",
    # Training without validation, which is asked for by leaving data.val_csv out.
    r"Total length of `list` across ranks is zero",
    # A checkpoint of a training is read by a test, which keeps none; all of its weights are checked elsewhere.
    r"Be aware that when using `ckpt_path`",
    # Top-1 and top-5 are computed from all processes' scores, the same everywhere.
    r"It is recommended to use `self\.log\('(val|test)/top\d'",
    # The data module takes a resumed epoch up where it was, without the loader's help.
    r"You're resuming from a checkpoint that ended before the epoch ended",
    # Kernels of 1 x 1 x 1 in channels-last memory: the strides that differ belong to sides of length 1.
    r"Grad strides do not match bucket view strides",
    # Frozen norm layers are asked for.
    r"Found \d+ module\(s\) in eval mode at the start of training",
    # The module names the parts of a batch, the data module does what is left to do on the device.
    r"You have overridden `on_before_batch_transfer` in `LightningModule`",
    # isinstance checks inside Lightning's own imports.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def silence_known_noise() -> None:
    """Installs the filters; what is not listed still shows, without control characters of names in it."""
    _show_names_plainly()
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
    # "Seed set to 0", "GPU available: False, used: False" and tips; the engine prints its own header.
    for name in ("lightning.fabric.utilities.seed", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Exported octave networks split constant weights, which it says it leaves as they are, a line each.
    logging.getLogger("onnxscript.optimizer._constant_folding").setLevel(logging.ERROR)


def _show_names_plainly() -> None:
    make = logging.getLogRecordFactory()
    if getattr(make, "plain", False):
        return

    def make_plain(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.levelno >= logging.WARNING:
            record.msg, record.args = shown(record.getMessage(), lines=True), ()
        return record

    make_plain.plain = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_plain)
    show = warnings.showwarning

    def show_plain(message: Any, category: type[Warning], *args: Any) -> None:
        show(shown(message, lines=True), category, *args)

    warnings.showwarning = show_plain  # type: ignore[assignment]
