"""No step of a training waits for its device, but where it logs.

The device is torch's `meta`, on which tensors have no numbers: whoever looks at one fails. What is copied to it from
the host while the host waits (numbers, lists, pageable memory) is counted.
"""

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
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


class _MadeThere(TorchFunctionMode):
    """Tensors made of Python's numbers on a device: the host waits until they are there."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = func in (torch.tensor, torch.as_tensor, torch.scalar_tensor)
        if made and torch.device(kwargs.get("device") or "cpu").type != "cpu":
            self.found.append(f"{func.__name__}{args}")
        return func(*args, **kwargs)


class _Copied(TorchDispatchMode):
    """Copies from the host for which it waits."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name in ("_to_copy", "copy_") and not (kwargs or {}).get("non_blocking"):
            here = (args[1] if name == "copy_" else args[0]).device.type
            if (here, out.device.type) == ("cpu", "meta"):
                self.found.append(f"{name} of {tuple(out.shape)}")
        return out


class Watch(Callback):
    """Looks at whole steps, from before a batch is moved to the device to after the last callback."""

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.steps = 0
        self._modes: list[Any] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx == WARM_UP:
            self._modes = [_MadeThere(self.waits), _Copied(self.waits)]
            for mode in self._modes:
                mode.__enter__()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.steps += 1
        if self.steps == STEPS:
            raise Enough

    def on_exception(self, trainer, pl_module, exception) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(None, None, None)


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
def test_no_step_waits_for_the_device(settings, tmp_path):
    of_model, augment = SETTINGS[settings]
    watch = Watch()
    trainer = Trainer(
        accelerator="cpu",
        strategy=SingleDeviceStrategy(device=torch.device("meta"), accelerator=CPUAccelerator()),
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        log_every_n_steps=50,
        default_root_dir=tmp_path,
        plugins=[AtomicCheckpointIO()],
        callbacks=[Bar(), watch],
    )
    with pytest.raises(Enough):
        trainer.fit(small_model(**of_model), datamodule=Data(num_classes=NUM_CLASSES, augment=augment))
    assert watch.steps == STEPS
    assert watch.waits == []
