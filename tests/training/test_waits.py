"""No step of a training waits for its device, but where it logs.

The device is torch's `meta`, on which tensors have no numbers. Every look at one, and every copy to or from it for
which the host would wait (numbers, lists, pageable memory), is counted.
"""

import traceback
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.loops import evaluation_loop, fit_loop
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from octvideo.data import KineticsDataModule
from octvideo.data.augment import Augmentation
from octvideo.training.checkpoint import AtomicCheckpointIO
from octvideo.training.progress import Bar
from tests.training.runs import NUM_CLASSES, small_model

WARM_UP, STEPS = 3, 8  # steps, the first of which may bring constants to the device


class Enough(Exception):
    """The steps that were to be watched are done."""


class Waits:
    """What was waited for, and by which line."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def note(self, what: str) -> None:
        ours = [f for f in traceback.extract_stack() if "octvideo" in f.filename or "lightning" in f.filename]
        self.found.append(f"{what}: {ours[-1].filename}, {ours[-1].lineno}" if ours else what)


class Made(TorchFunctionMode):
    """Tensors made of Python's numbers on the device: the host waits until they are there."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = func in (torch.tensor, torch.as_tensor, torch.scalar_tensor)
        if made and torch.device(kwargs.get("device") or "cpu").type == "meta":
            self.waits.note("numbers put there")
        return func(*args, **kwargs)


class Moved(TorchDispatchMode):
    """Numbers looked at, which are 1 here, and copies that are waited for."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        if name == "_local_scalar_dense" and args[0].device.type == "meta":
            self.waits.note("a number looked at")
            return torch.ones((), dtype=args[0].dtype).item()
        if (
            name == "_to_copy"
            and args[0].device.type == "meta"
            and torch.device(kwargs.get("device", "meta")).type == "cpu"
        ):
            self.waits.note("numbers fetched")
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if name == "copy_" and (args[0].device.type, args[1].device.type) == ("cpu", "meta"):
            self.waits.note("numbers fetched")
            return args[0]
        out = func(*args, **kwargs)
        if name in ("_to_copy", "copy_") and not kwargs.get("non_blocking"):
            here = args[1] if name == "copy_" else args[0]
            if (here.device.type, out.device.type) == ("cpu", "meta"):
                self.waits.note("numbers put there")
        return out


class Meta(CPUAccelerator):
    """Lightning's host, whose device has no numbers."""

    def setup_device(self, device: torch.device) -> None:
        pass


class Watch(Callback):
    """Forgets what the first steps waited for, and ends the training some steps later."""

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self.steps = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx == WARM_UP:
            assert self.waits.found, "nothing is seen"
            self.waits.found.clear()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.steps += 1
        if self.steps == STEPS:
            self.of_steps = list(self.waits.found)
            raise Enough


class Data(KineticsDataModule):
    """Clips as decoding gives them, without videos."""

    def setup(self, stage: str) -> None:
        pass

    def train_dataloader(self) -> Any:
        clip = torch.randint(256, (3, 4, 32, 32), dtype=torch.uint8)
        items = [{"clip": clip, "label": number % NUM_CLASSES, "video": number} for number in range(64)]
        return torch.utils.data.DataLoader(items, batch_size=2)  # type: ignore[arg-type]


SETTINGS: dict[str, tuple[dict[str, Any], Augmentation]] = {
    "plain": ({}, Augmentation()),
    "averaged": ({"alpha": 0.25, "ema_decay": 0.9, "label_smoothing": 0.1}, Augmentation()),
    "adamw, mixed": ({"alpha": 0.25, "optimizer": "adamw"}, Augmentation(erasing=0.5, mixup=0.8, cutmix=1.0)),
}


@pytest.mark.parametrize("settings", SETTINGS)
def test_no_step_waits_for_the_device(settings, tmp_path, monkeypatch):
    for loop in (fit_loop, evaluation_loop):
        monkeypatch.setattr(loop, "has_len_all_ranks", lambda *_: True)  # compares with 0
    of_model, augment = SETTINGS[settings]
    waits = Waits()
    watch = Watch(waits)
    trainer = Trainer(
        strategy=SingleDeviceStrategy(device=torch.device("meta"), accelerator=Meta()),
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        log_every_n_steps=50,
        default_root_dir=tmp_path,
        plugins=[AtomicCheckpointIO()],
        callbacks=[Bar(), watch],
    )
    with pytest.raises(Enough), Made(waits), Moved(waits):
        trainer.fit(small_model(**of_model), datamodule=Data(num_classes=NUM_CLASSES, augment=augment))
    assert watch.of_steps == []
