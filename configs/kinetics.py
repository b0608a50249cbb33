"""Writes the files of kinetics400/ and kinetics600/, complete as they are, out of one: `python configs/kinetics.py`.

A network is trained by the schedule that PySlowFast published it with; what differs from one to another is `NETWORKS`.
A test holds that the files are what this writes.
"""

from pathlib import Path
from string import Template
from typing import Any, NamedTuple


class Network(NamedTuple):
    """A row of the table.

    Attributes:
        title: of the dense network.
        source: PySlowFast's file, below configs/Kinetics.
        octave: the ratio of its octave twin and why that one; none without.
        from_images: whether there is a recipe from an ImageNet network, too.
        changes: what differs from `DEFAULTS`.
    """

    title: str
    source: str
    octave: str = ""
    from_images: bool = False
    changes: dict[str, Any] = {}  # noqa: RUF012  read alone


# The paper's ratio leaves numbers of low channels that kernels of 8 and 16 channels fill badly.
_EIGHTS = "8 # low channels come in what tensor cores take at once; 1 is the paper's rule, 6 of 64"
_TABLE_8 = (
    f"0.1 # share of channels at half resolution (arXiv 1904.05049, table 8)\n  channel_multiple: {_EIGHTS}"
)
_SLOW = (
    "0.125 # share of channels at half resolution\n"
    "  layer_alphas: # the fast pathway's 8 to 32 channels stay dense: splitting off one or two costs more\n"
    '    "*.multipathway_blocks.1.*": 0'
)
_SLOWFAST = {"num_frames": "32 # the slow pathway takes every fourth", "frame_stride": 2}
_X3D = {
    "max_epochs": 300,
    "warmup_epochs": 35,
    "clips": 128,
    "batch_size": 16,
    "weight_decay": "5.0e-5 # not of norms",
}
_X3D_S = {
    **_X3D,
    "short_side": "[182, 228]",
    "crop": 160,
    "test_side": 182,
    "num_frames": 13,
    "frame_stride": 6,
}

DEFAULTS: dict[str, Any] = {
    "alpha": "0.0 # dense",
    "max_epochs": 196,
    "val_epochs": 4,
    "warmup_epochs": 34,
    "clips": 64,
    "weight_decay": "1.0e-4 # of kernels; not of norms and biases",
    "num_frames": 8,
    "frame_stride": 8,
    "short_side": "[256, 320]",
    "crop": 224,
    "test_side": 256,
    "batch_size": 8,
}
NETWORKS = {
    "c2d_r50": Network("C2D with a ResNet-50", "C2D_8x8_R50", _TABLE_8, True),
    "i3d_r50": Network("I3D with a ResNet-50", "I3D_8x8_R50", _TABLE_8, True),
    "i3d_nl_r50": Network(
        "I3D with a ResNet-50 and five non-local blocks", "I3D_NLN_8x8_R50", _TABLE_8, True
    ),
    "slow_r50": Network("Slow R50 8x8", "SLOW_8x8_R50"),
    "slowfast_r50": Network("SlowFast R50 8x8", "SLOWFAST_8x8_R50", _SLOW, changes=_SLOWFAST),
    "slowfast_r101": Network("SlowFast R101 8x8", "pytorchvideo/SLOWFAST_8x8_R101", changes=_SLOWFAST),
    "csn_r101": Network(
        "CSN R101 32x2", "pytorchvideo/CSN_32x2_R101", changes={"num_frames": 32, "frame_stride": 2}
    ),
    "r2plus1d_r50": Network(
        "R(2+1)D R50 16x4", "pytorchvideo/R2PLUS1D_16x4_R50", changes={"num_frames": 16, "frame_stride": 4}
    ),
    "x3d_s": Network("X3D-S", "X3D_S", changes=_X3D_S),
    "x3d_m": Network("X3D-M", "X3D_M", changes={**_X3D, "num_frames": 16, "frame_stride": 5}),
}

_SCRATCH = Template("""\
  lr: 0.1
  lr_batch_size: $clips # what lr belongs to; another batch or number of GPUs scales it
  warmup_epochs: $warmup_epochs
  warmup_start_lr: 0.01
""")
_IMAGES = Template("""\
  # https://download.pytorch.org/models/resnet50-0676ba61.pth (torchvision's ResNet50_Weights.IMAGENET1K_V1)
  image_checkpoint: data/imagenet/resnet50-0676ba61.pth
  lr: 0.01
  schedule: step
  drop_epochs: [44, 88]
  lr_batch_size: $clips # what lr belongs to; another batch or number of GPUs scales it
""")
_FILE = Template("""\
# $title on Kinetics-$classes, from $start.
#
#   octvideo fit  --config configs/kinetics$classes/$file.yaml
#   octvideo test --config configs/kinetics$classes/$file.yaml --ckpt_path best
#
# The schedule of PySlowFast's configs/Kinetics/$source.yaml$otherwise.

seed_everything: 0

trainer:
  default_root_dir: runs/kinetics$classes/$file # checkpoints, curves, results
  accelerator: gpu
  devices: 8
  strategy: ddp
  precision: bf16-mixed # before Ampere: 16-mixed
  max_epochs: $max_epochs
  check_val_every_n_epoch: $val_epochs
  log_every_n_steps: 50

model:
  name: $name
  alpha: $alpha
  num_classes: $classes
$schedule\
  weight_decay: $weight_decay
  precise_norm_batches: 200
  view_batch_size: 10 # test: views in memory at a time

data:
  train_csv: data/kinetics$classes/train.csv # `path label` lines, or Kinetics' own annotation CSV
  val_csv: data/kinetics$classes/val.csv
  test_csv: data/kinetics$classes/val.csv # Kinetics is reported on its validation set
  num_frames: $num_frames
  frame_stride: $frame_stride
  short_side: $short_side
  crop: $crop
  test_short_side: $test_side
  test_crop: $test_side
  num_clips: 10
  num_crops: 3
  batch_size: $batch_size # clips a GPU
  num_workers: 8 # decoding processes a GPU
""")


def files() -> dict[str, str]:
    """The text of each, by its path below configs/."""
    found = {}
    for name, network in NETWORKS.items():
        for octave in (False, True) if network.octave else (False,):
            for images in (False, True) if network.from_images else (False,):
                for classes in (400, 600):
                    path, text = _recipe(name, network, octave, images, classes)
                    found[path] = text
    return found


def _recipe(name: str, network: Network, octave: bool, images: bool, classes: int) -> tuple[str, str]:
    file = f"{'oct_' if octave else ''}{name}{'_imagenet' if images else ''}"
    measured = " and ".join(["the dense network"] * octave + ["Kinetics-400"] * (classes != 400))
    values = {**DEFAULTS, **network.changes, "classes": classes, "name": name, "file": file}
    values |= {"alpha": network.octave} if octave else {}
    values |= {"max_epochs": 118, "val_epochs": 2} if images else {}
    text = _FILE.substitute(
        values,
        title=f"{'Octave ' if octave else ''}{network.title}",
        start="an ImageNet network" if images else "scratch",
        source=f"{network.source}{'_IN1K' if images else ''}",
        otherwise=f", which is for {measured}" if measured else "",
        schedule=(_IMAGES if images else _SCRATCH).substitute(values),
    )
    return f"kinetics{classes}/{file}.yaml", text


if __name__ == "__main__":
    for path, text in files().items():
        (Path(__file__).parent / path).write_text(text, encoding="utf-8")
