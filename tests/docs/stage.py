"""A folder in which the documentation's commands run as they are typed: what they name is there, in small."""

import shutil
from pathlib import Path
from typing import Any

import torch

from octvideo.cli import main
from octvideo.models import create_model
from tests.cli_videos import shrink
from tests.docs.commands import CHECKOUT

CLASSES = ("left", "right")
TINY = {"model.name": "i3d_tiny", "data.num_frames": "4", "data.frame_stride": "2"}


def shrunk(words: list[str], dataset: Path) -> list[str]:
    """The options that make `octvideo COMMAND …` small, but for those that the command gives itself."""
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    options = shrink(dataset, Path("unused")) + [f"--{key}={value}" for key, value in TINY.items()]
    # A run folder is the command's business, and so is what a checkpoint knows.
    own = {"--trainer.default_root_dir"}
    if words[0] != "fit" and "--config" not in words:
        own |= {option.partition("=")[0] for option in options if option.startswith(("--model.", "--data."))}
        own -= {"--data.num_workers"}
    if "--model.name" in given and "--data.class_list" not in given:
        options.append("--model.num_classes=2")  # of the stand-in for someone else's weights
        own.discard("--model.num_classes")
    return [option for option in options if option.partition("=")[0] not in given | own]


def build(folder: Path, make_video: Any) -> Path:
    """Makes the folder; returns it."""
    (folder / "configs").symlink_to(CHECKOUT / "configs")
    names = _kinetics(folder, make_video)
    _action_sets(folder)
    make_video(folder / "my_video.mp4", num_frames=40, size=(48, 64), fps=15)
    (folder / "more").mkdir()
    shutil.copy(folder / "my_video.mp4", folder / "more" / "another.mp4")
    (folder / "data").mkdir()
    for file, num_classes in (("I3D_8x8_R50.pyth", 2), ("data/I3D_8x8_R50.pyth", 5)):
        state = create_model("i3d_tiny", num_classes=num_classes).state_dict()
        torch.save({"model_state": state}, folder / file)
    _runs(folder, names)
    return folder


def _kinetics(folder: Path, make_video: Any) -> list[str]:
    """VIDEOS, VIDEOS_256, LISTS, data/mine's future source, and the annotation files."""
    names = []
    for index in range(10):
        label, identity = CLASSES[index % 2], f"video_{index:05d}"
        name = f"{label}/{identity}_000000_000010.mp4"
        make_video(folder / "VIDEOS" / name, num_frames=20, size=(48, 64), fps=15)
        names.append(name)
    shutil.copytree(folder / "VIDEOS", folder / "VIDEOS_256")
    (folder / "LISTS").mkdir()
    (folder / "LISTS" / "classes.txt").write_text("left\nright\n")
    for split, chosen in (("train", names[:6]), ("val", names[6:])):
        rows = [f"{name} {CLASSES.index(name.split('/')[0])}\n" for name in chosen]
        (folder / "LISTS" / f"{split}.csv").write_text("".join(rows))
        lines = [f"{name.split('/')[0]},{name.split('/')[1][:11]},0,10,{split}\n" for name in chosen]
        header = "label,youtube_id,time_start,time_end,split\n"
        (folder / f"{split}.csv").write_text(header + "".join(lines))
    return names


def _action_sets(folder: Path) -> None:
    """UCF101 and HMDB51, with their official split files; the videos are empty."""
    lists = folder / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n2 Bowling\n")
    for split, group in (("train", "g08"), ("test", "g01")):
        rows = []
        for number, name in enumerate(("Archery", "Bowling"), start=1):
            file = f"{name}/v_{name}_{group}_c01.avi"
            (folder / "UCF-101" / name).mkdir(parents=True, exist_ok=True)
            (folder / "UCF-101" / file).touch()
            rows.append(f"{file} {number}\n" if split == "train" else f"{file}\n")
        (lists / f"{split}list01.txt").write_text("".join(rows))
    lists = folder / "testTrainMulti_7030_splits"
    lists.mkdir()
    for name in ("wave", "jump"):
        (folder / "hmdb51" / name).mkdir(parents=True)
        files = [f"{source}_{name}_f_cm_np1_fr_med_0.avi" for source in ("One", "Two")]
        for file in files:
            (folder / "hmdb51" / name / file).touch()
        (lists / f"{name}_test_split1.txt").write_text(f"{files[0]} 1 \n{files[1]} 2 \n")


def _runs(folder: Path, names: list[str]) -> None:
    """A short training of the tiny network, as if it were the run of several configurations."""
    data = folder / "runs" / "demo" / "data"
    shutil.copytree(folder / "VIDEOS", data)
    rows = "".join(f"{name} {CLASSES.index(name.split('/')[0])}\n" for name in names[:4])
    for file in ("all.csv", "train.csv", "val.csv", "test.csv"):
        (data / file).write_text(rows)
    shutil.copy(folder / "LISTS" / "classes.txt", data)
    run = folder / "runs" / "demo"
    arguments = ["fit", "--trainer.default_root_dir", str(run), "--model.alpha", "0.25"]
    assert main([*arguments, *shrunk(arguments, data)]) == 0
    every = folder / "runs" / "every"
    arguments = ["fit", "--trainer.default_root_dir", str(every), "--model.alphas", "[0, .25, .5]"]
    assert main([*arguments, *shrunk(arguments, data)]) == 0
    for name in ("again", "finetune", "kinetics400/oct_i3d_r50"):
        shutil.copytree(run / "checkpoints", folder / "runs" / name / "checkpoints")
    test = ["test", str(run / "checkpoints" / "best.ckpt"), "--data.test_csv", str(data / "test.csv")]
    for out in (run, run / "first_frame"):
        options = [*test, "--trainer.default_root_dir", str(out)]
        assert main([*options, *shrunk(options, data)]) == 0
