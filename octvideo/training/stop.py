"""Signals that ask a training to stop: it finishes its step, keeps a checkpoint and ends."""

import os
import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Trainer

from octvideo.errors import OctvideoError

# Ctrl-C; a scheduler's, since the end is near or the job is to be queued again; and that of a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
STEPS_A_LOOK = 10  # several processes have to agree, which costs them a wait


class Stopped(OctvideoError):
    """A signal has stopped the training.

    Attributes:
        exit_code: 128 + the signal's number, as a shell says it.
    """

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(signum).name} after step {step}; --ckpt_path last goes on from there"
        )
        self.exit_code = 128 + signum


class StopSignals:
    """Listens to `SIGNALS` between `listen` and `restore`; a second Ctrl-C interrupts at once.

    A hang-up that is ignored, as `nohup` has it, stays so.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            signals = [signum for signum in SIGNALS if not (ignored and signum == signal.SIGHUP)]
            self._before = {signum: signal.signal(signum, self._note) for signum in signals}

    def restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT:
            if self.received == signal.SIGINT:
                raise KeyboardInterrupt
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once, without a checkpoint\n")
        self.received = signum

    def agreed(self, trainer: Trainer, batch_idx: int) -> int:
        """The signal that any of the processes has received, the same for all of them; 0 is none."""
        if trainer.world_size == 1:
            return self.received
        if (batch_idx + 1) % STEPS_A_LOOK:
            return 0
        asked = trainer.strategy.reduce_boolean_decision(self.received != 0, all=False)
        return (self.received or signal.SIGTERM) if asked else 0
