"""`octvideo fit|validate|test|predict`: Lightning's CLI with one model class and one data class.

What it adds: the model's and the data's settings come out of a checkpoint where they are not given, one run folder
holds everything a run writes, and results are printed and written by `octvideo.evaluation`.
"""

import inspect
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import nn

from octvideo.classifier import VideoClassifier
from octvideo.cli import predictions, results
from octvideo.cli.claim import check_unused, claimed
from octvideo.cli.errors import UsageError
from octvideo.cli.options import check_config_files, check_trainer
from octvideo.cli.run_folder import RunLogger, tensorboard
from octvideo.data import KineticsDataModule, read_class_list
from octvideo.data.windows import Window, plan_windows
from octvideo.evaluation.files import replacing
from octvideo.evaluation.partial import PartialScores, fingerprint
from octvideo.heap import keep_freed_memory
from octvideo.limits import check_numbers
from octvideo.models import MODELS, kinetics400_names, model_card
from octvideo.models.card import MADE_OF, REORDERED, card_of, class_order, reorder_classes, settings_of
from octvideo.models.checkpoints import CheckpointError, LoadReport, read_checkpoint
from octvideo.models.exported import Reordered, load_exported
from octvideo.text import shown
from octvideo.training.checkpoint import AtomicCheckpointIO, RunCheckpoint
from octvideo.training.ranks import deaths_named

# What a checkpoint's card fills in of the data's settings: everything that changes the pixels of an evaluation, and
# those of the training, which a result states too.
CARD_TO_DATA = (
    "short_side",
    "crop",
    "num_frames",
    "frame_stride",
    "fps",
    "test_short_side",
    "test_crop",
    "mean",
    "std",
    "num_clips",
    "num_crops",
)

_EXPORTED = ("exported", str | None, None, "a network that octvideo export wrote, instead of a checkpoint")

# What a command has beside the trainer's, the model's and the data's options: name, type, default, help.
OPTIONS: dict[str, tuple[tuple[str, Any, Any, str], ...]] = {
    "test": (_EXPORTED,),
    "predict": (
        _EXPORTED,
        (
            "window_s",
            float | None,
            10.0,
            "long videos are scored in windows of so many seconds; null: as a whole",
        ),
        ("hop_s", float | None, None, "from one window's start to the next's, seconds; null: half a window"),
        ("save_video", bool, False, "also write every video with its top labels drawn on it, without sound"),
    ),
}


def run_engine(command: str, args: list[str]) -> None:
    """Runs one command to its end.

    Raises:
        jsonargparse.ArgumentError, OctvideoError, OSError: what was asked cannot be done.
    """

    class OneCommand(EngineCLI):
        COMMAND = command

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            # One parser instead of four: each takes a second to build.
            return {command: EngineCLI.subcommands()[command]}

    check_config_files(args)
    OneCommand(args=[command, *args])


class EngineCLI(LightningCLI):
    """Lightning's CLI for VideoClassifier and KineticsDataModule."""

    COMMAND = ""

    def __init__(self, args: list[str]) -> None:
        self.console = Console()
        self.checkpoint_file: Path | None = None
        self.checkpoint_card: dict[str, Any] = {}
        self.asked_for_last = False
        self.exported: nn.Module | None = None
        self.exported_file: Path | None = None
        quiet = {"exit_on_error": False}
        super().__init__(
            VideoClassifier,
            KineticsDataModule,
            save_config_callback=RunConfig,
            seed_everything_default=0,
            trainer_defaults={"enable_model_summary": False},
            parser_kwargs={**quiet, **{name: dict(quiet) for name in self.subcommands()}},
            auto_configure_optimizers=False,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands, and the arguments of the trainer's methods that are not options here."""
        ours = {"model", "datamodule", "weights_only"}
        evaluation = ours | {"dataloaders", "verbose"}
        return {
            "fit": ours | {"train_dataloaders", "val_dataloaders"},
            "validate": evaluation,
            "test": evaluation,
            "predict": evaluation | {"return_predictions"},
        }

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name, kind, default, text in OPTIONS.get(self.COMMAND, ()):
            parser.add_argument(f"--{name}", type=kind, default=default, help=text)
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        # 1 is one batch and 1.0 all of them. typing remembers a union in the order in which any library wrote it first,
        # so that 1 could be read as 1.0; unions by | have the order in which they stand.
        for action in parser._actions:
            if getattr(action, "_typehint", None) == int | float | None:
                action._typehint = int | float | None  # type: ignore[attr-defined]

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)
        self.given = parser.parse_args(args, defaults=False)

    # Settings that come from elsewhere than the options

    def _parse_ckpt_path(self) -> None:
        """Lightning calls this between parsing and building; its own version lets a checkpoint override options."""
        command = self.config.subcommand
        section = self.config[command]
        check_trainer(command, section.trainer)
        check_numbers({name: section.get(name) for name in ("window_s", "hop_s")}, prefix="--")
        self._choose_run_folder(section)
        if section.get("exported"):
            self._find_exported(section)
        else:
            self._find_checkpoint(command, section)
        self._choose_classes(section)
        self._choose_recipe(section)
        if section.trainer.get("default_root_dir") is None:
            section.trainer.default_root_dir = str(Path("runs") / section.model.name)

    def _is_given(self, key: str) -> bool:
        return self.given.get(f"{self.config.subcommand}.{key}") is not None

    def _choose_run_folder(self, section: Any) -> None:
        folder = section.trainer.get("default_root_dir")
        file = section.get("ckpt_path")
        if folder is None and file and Path(file).parent.name == "checkpoints":
            section.trainer.default_root_dir = str(Path(file).parent.parent)

    def _find_checkpoint(self, command: str, section: Any) -> None:
        asked = section.get("ckpt_path")
        self.asked_for_last = asked == "last"
        if asked is None:
            if command != "fit" and not section.model.get("checkpoint"):
                raise UsageError(f"octvideo {command} needs a checkpoint: --ckpt_path FILE, or best, or last")
            return
        file = Path(asked)
        if asked in ("best", "last"):
            folder = section.trainer.get("default_root_dir") or Path("runs") / section.model.name
            file = Path(folder) / "checkpoints" / f"{asked}.ckpt"
            if command == "fit" and not file.is_file():
                self._say(f"no {file.absolute()} yet: training starts from the beginning")
                section.ckpt_path = None
                return
        checkpoint = read_checkpoint(file)
        settings = settings_of(checkpoint, file.absolute())
        if command != "fit" and not settings:
            # Someone else's weights: which network they are of has to be said.
            if not self._is_given("model.name"):
                names = ", ".join(MODELS)
                raise UsageError(
                    f"{file.absolute()} does not say what it is of: --model.name, one of {names}"
                )
            section.model.checkpoint, section.ckpt_path = str(file.absolute()), None
            return
        self.checkpoint_file = file.absolute()
        self.checkpoint_card = card_of(checkpoint, self.checkpoint_file)
        section.ckpt_path = str(self.checkpoint_file)
        section.model.checkpoint = section.model.image_checkpoint = None  # what that training started from
        if command != "fit":
            self._take_from("model", section.model, {key: settings.get(key) for key in MADE_OF})
            self._take_from("data", section.data, {k: self.checkpoint_card.get(k) for k in CARD_TO_DATA})

    def _find_exported(self, section: Any) -> None:
        """The card of an exported network says what it is and what it takes; options can't change the former."""
        self.exported, self.checkpoint_card = load_exported(section.exported)
        self.exported_file = Path(section.exported).expanduser().absolute()
        self.checkpoint_card.setdefault("channel_multiple", 1)  # files from before it was an option
        for key in MADE_OF:
            if self._is_given(f"model.{key}") and section.model[key] != self.checkpoint_card[key]:
                theirs = self.checkpoint_card[key]
                raise UsageError(
                    f"model.{key} is {section.model[key]}, {self.exported_file} was exported with {theirs}"
                )
            section.model[key] = self.checkpoint_card[key]
        self._take_from("data", section.data, {k: self.checkpoint_card.get(k) for k in CARD_TO_DATA})
        for key in ("num_frames", "test_crop"):
            if section.data[key] != self.checkpoint_card[key]:
                raise UsageError(
                    f"data.{key} is {section.data[key]}, {self.exported_file} takes {self.checkpoint_card[key]} alone"
                )

    def _take_from(self, group: str, settings: Any, stored: dict[str, Any]) -> None:
        """Settings not given come from the checkpoint; those given win, and are said aloud where they differ."""
        for key, value in stored.items():
            if key not in settings or value is None or key == "checkpoint":
                continue
            if not self._is_given(f"{group}.{key}"):
                settings[key] = value
            elif _plain(settings[key]) != _plain(value) and key in _CHANGES_RESULT:
                self._say(f"note: {group}.{key} is {settings[key]}, the checkpoint's is {value}")

    def _choose_classes(self, section: Any) -> None:
        """One number of classes: the one given, else the class list's, else the checkpoint's or the default."""
        if not self._is_given("model.num_classes") and not section.get("exported"):
            if section.data.get("class_list"):
                section.model.num_classes = len(read_class_list(section.data.class_list))
            elif self._is_given("data.num_classes"):
                section.model.num_classes = section.data.num_classes
        if not self._is_given("data.num_classes"):
            section.data.num_classes = section.model.num_classes

    def _choose_recipe(self, section: Any) -> None:
        """The clip and its pixels: as given, else the checkpoint's, else what the network was published with."""
        spec = MODELS.get(section.model.name)
        for key, value in (spec.recipe if spec else {}).items():
            if not self._is_given(f"data.{key}") and self.checkpoint_card.get(key) is None:
                section.data[key] = value

    # Building and running

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        settings = self._get(self.config_init, "trainer")
        folder = Path(settings["default_root_dir"])
        logger = settings.get("logger")
        loggers = [] if isinstance(logger, bool) else _as_list(logger)
        if self.subcommand == "fit":
            kwargs["plugins"] = [*_as_list(settings.get("plugins")), AtomicCheckpointIO()]
            if SLURMEnvironment.detect():
                # Lightning's own way to be queued again goes on from a file that nobody asked for.
                kwargs["plugins"].append(SLURMEnvironment(auto_requeue=False))
        if self.subcommand == "fit" and logger is not False:
            if not loggers:
                loggers = tensorboard(folder)
            kwargs["logger"] = [*loggers, RunLogger(folder, keep=self.checkpoint_file is not None)]
        elif self.subcommand != "fit":
            kwargs["logger"] = loggers or False
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        if self.subcommand != "fit":  # checkpoints are kept while training only
            callbacks = [callback for callback in callbacks if not isinstance(callback, RunCheckpoint)]
        trainer = super()._instantiate_trainer(config, callbacks)
        if trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        return trainer

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        if subcommand in ("validate", "test"):
            kwargs["verbose"] = False
        if subcommand != "predict" or kwargs.get("ckpt_path"):
            method = getattr(Trainer, subcommand)
            if "weights_only" in inspect.signature(method).parameters:
                kwargs["weights_only"] = True
        return kwargs

    @property
    def run_folder(self) -> Path:
        return Path(self.trainer.default_root_dir)

    def _is_smoke_test(self) -> bool:
        return bool(getattr(self.trainer, "fast_dev_run", False))  # absent from the trainer's type hints

    def after_instantiate_classes(self) -> None:
        if self.exported is not None:
            order = class_order(
                self.checkpoint_card.get("class_names"), self.datamodule.class_names, str(self.exported_file)
            )
            self.model.network = Reordered(self.exported, order) if order else self.exported
            self.model.card = dict(self.checkpoint_card)
            self._say(f"{self.exported_file}: {self.model.name}, alpha {self.model.alpha:g}")
            if order:
                self._say(REORDERED)
        report = self.model.load_report
        if report:
            self._match_classes(report)
        if report and report.replaced and self.subcommand != "fit":
            raise CheckpointError(
                f"{report.file} has another number of classes than model.num_classes, {self.model.num_classes}"
            )
        if self.model.start_report:
            self._say(self.model.start_report)

    def _match_classes(self, report: LoadReport) -> None:
        """Weights of other projects: their head's classes are the file's, or Kinetics-400's in the published order."""
        ours, theirs = self.datamodule.class_names, report.class_names
        published = MODELS[self.model.name].published and self.model.num_classes == 400
        if theirs is None and published and (not ours or set(ours) == set(kinetics400_names())):
            theirs = kinetics400_names()
        if report.replaced or theirs is None:
            return
        if ours and set(ours) != set(theirs) and self.subcommand == "fit":
            self._say("the head's classes have other names: it starts as it is, and learns the new ones")
            return
        order = class_order(theirs, ours, report.file)
        if order:
            self.model.network.load_state_dict(reorder_classes(self.model.network.state_dict(), order))
            self._say(REORDERED)
        card = {} if report.class_names else model_card(self.model.name, alpha=self.model.alpha)
        self.model.card = {**card, "class_names": list(ours or theirs)}

    def _weights_file(self) -> Path | None:
        if self.checkpoint_file or self.exported_file:
            return self.checkpoint_file or self.exported_file
        return Path(self.model.load_report.file) if self.model.load_report else None

    def _say(self, text: str) -> None:
        if _is_first_process():
            self.console.print(shown(text), soft_wrap=True, highlight=False, markup=False)

    def _run_subcommand(self, subcommand: str) -> None:
        with deaths_named(self.trainer):
            super()._run_subcommand(subcommand)

    def before_fit(self) -> None:
        self._say(results.model_line(self.model, self.datamodule))
        self._say(f"run folder {self.run_folder.absolute()}")

    def fit(self, **kwargs: Any) -> None:
        if self._is_smoke_test():  # leaves nothing
            self.trainer.fit(**kwargs)
            return
        with claimed(self.run_folder) if _is_first_process() else nullcontext():
            # By every process, before any of them writes: all stop, and none waits for the others.
            folders = [c.dirpath for c in self.trainer.checkpoint_callbacks if isinstance(c, RunCheckpoint)]
            check_unused(
                self.run_folder,
                Path((folders and folders[0]) or self.run_folder / "checkpoints"),
                goes_on_from=self.checkpoint_file,
                asked_for_last=self.asked_for_last,
            )
            self.trainer.fit(**kwargs)

    def after_fit(self) -> None:
        if self._is_smoke_test() or not self.trainer.is_global_zero:
            return
        results.after_fit(self.run_folder, self.trainer, self.console)

    def validate(self, **kwargs: Any) -> None:
        metrics = dict(self.trainer.validate(**kwargs)[0])
        if self.trainer.is_global_zero:
            results.after_validate(metrics, self.console)

    def test(self, **kwargs: Any) -> None:
        start = time.perf_counter()
        self._continue("test")
        self.trainer.test(**kwargs)
        if self.trainer.is_global_zero:
            assert self.model.test_result is not None
            self.model.test_result.check_any()
            results.after_test(
                self.run_folder,
                self.model,
                self.datamodule,
                self.console,
                checkpoint=self._weights_file(),
                wall_seconds=time.perf_counter() - start,
            )
            if self.model.partial:
                self.model.partial.remove()

    def _continue(self, stage: str, windows: Sequence[Window] | None = None) -> None:
        """Scores are kept as they come; what an interrupted run of the same command has scored is left out."""
        file = self._weights_file()
        if file is None or self._is_smoke_test():
            return
        manifest, data = self.datamodule.manifest(stage), self.datamodule
        settings = {
            "videos": [list(manifest.paths), list(map(int, manifest.labels))],
            "windows": [list(window) for window in windows or ()],
            "data": {
                **data.preprocessing,
                "repeat_first_frame": data.repeat_first_frame,
                "decoder": data.decoder,
            },
            "model": [
                self.model.name,
                self.model.alpha,
                self.model.channel_multiple,
                str(self.trainer.precision),
            ],
        }
        self.model.partial = PartialScores(
            self.run_folder, fingerprint(file, settings), self.model.num_classes
        )
        rows = len(windows or manifest.paths)
        scored = {video for video, *_ in self.model.partial.read()}
        if scored:
            self._say(
                f"continuing: {len(scored)} of {rows} {'windows' if windows else 'videos'} were scored before"
            )
            # At least one, since the trainer passes over an empty loader without a word.
            data.only = [row for row in range(rows) if row not in scored] or [rows - 1]

    def predict(self, **kwargs: Any) -> None:
        section = self.config.predict
        data, paths = self.datamodule, self.datamodule.paths("predict")
        if section.window_s is not None:
            hop = section.window_s / 2 if section.hop_s is None else section.hop_s
            data.windows = plan_windows(paths, section.window_s, hop)
        self._continue("predict", data.windows)
        kwargs["return_predictions"] = False  # they are in predict_result, of all processes
        self.trainer.predict(**kwargs)
        if self.trainer.is_global_zero:
            names = data.class_names or self.model.card.get("class_names")
            windows = data.windows or [Window(video) for video in range(len(paths))]
            error = predictions.after_predict(
                self.run_folder,
                self.model.predict_result,
                paths,
                windows,
                names,
                self.console,
                save_video=section.save_video,
            )
            if self.model.partial:
                self.model.partial.remove()
            if error:
                raise error


def _is_first_process() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0  # also before there is a trainer


# Settings that change a result; a different value than the checkpoint's is worth a line.
_CHANGES_RESULT = {"name", "alpha", "channel_multiple", "num_classes", *CARD_TO_DATA}


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


class RunConfig(SaveConfigCallback):
    """Writes the effective configuration into the run folder, whatever the loggers do."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.already_saved or not trainer.is_global_zero:
            return
        command = trainer.state.fn.value if trainer.state.fn else stage
        name = "config.yaml" if command == "fit" else f"{command}_config.yaml"
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / name) as temporary:
            self.parser.save(self.config, temporary, skip_none=False, overwrite=True)
        self.already_saved = True


def versions() -> dict[str, str]:
    import lightning

    import octvideo

    return {"octvideo": octvideo.__version__, "torch": torch.__version__, "lightning": lightning.__version__}
