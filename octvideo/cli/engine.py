"""`octvideo fit|validate|test|predict`: Lightning's CLI with one model class and one data class.

What it adds: the model's and the data's settings come out of a checkpoint where they are not given, one run folder
holds everything a run writes, and results are printed and written by `octvideo.evaluation`.
"""

import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only

from octvideo.classifier import VideoClassifier
from octvideo.cli import predictions, results, screen
from octvideo.cli.alphas import cascade_line, choose_alpha
from octvideo.cli.claim import check_unused, claimed, run_folder
from octvideo.cli.logged import log_results
from octvideo.cli.options import NUMBERS, OPTIONS, check_trainer
from octvideo.cli.resolve import resolve
from octvideo.cli.run_folder import RunLogger, tensorboard
from octvideo.cli.weights import no_checkpoint
from octvideo.data import KineticsDataModule, read_class_list
from octvideo.data.windows import Window, plan_windows
from octvideo.evaluation.partial import KeepScores, PartialScores, fingerprint
from octvideo.files import replacing
from octvideo.heap import keep_freed_memory
from octvideo.limits import check_numbers
from octvideo.models import MODELS
from octvideo.models.weights import Weights, network_card, read_weights
from octvideo.text import shown
from octvideo.training.checkpoint import AtomicCheckpointIO, RunCheckpoint
from octvideo.training.progress import LogInterval, with_progress
from octvideo.training.ranks import deaths_named


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

    OneCommand(args=[command, *args])


class EngineCLI(LightningCLI):
    """Lightning's CLI for VideoClassifier and KineticsDataModule."""

    COMMAND = ""

    def __init__(self, args: list[str]) -> None:
        self.console = screen.notes()
        self.checkpoint_file: Path | None = None  # that a training goes on from
        self.asked_for_last = False
        self.weights: Weights | None = None  # to be scored, until the network is built of them
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
        section, given = self.config[command], self.given.get(command, {})
        check_trainer(command, section.trainer)
        check_numbers({name: section.get(name) for name in NUMBERS}, prefix="--")
        source = self._weights(command, section)
        weights, settings_said = read_weights(source) if source else None, _said(given)
        if weights and command == "fit":
            self.checkpoint_file = weights.file
            section.ckpt_path = str(weights.file)
            section.model.checkpoint = section.model.image_checkpoint = (
                None  # what that training started from
            )
        elif weights:
            said = given.get("model") or {}
            if not said.get("network"):  # or it is not known what they are of
                network_card(weights, {"name": said.get("name")})
            self.weights = weights
            section.model.checkpoint, section.ckpt_path = str(source), None
            section.model.image_checkpoint = section.model.alphas = None
            if told := choose_alpha(section, settings_said, weights):
                self._say(told)
        listed = section.data.get("class_list")
        settings = resolve(
            settings_said,
            section,
            weights.card.to_dict() if weights and weights.card else None,
            {name: spec.card.recipe for name, spec in MODELS.items()},
            command=command,
            weights=weights.file if weights else None,
            exported=bool(weights and weights.exported),
            num_listed=len(read_class_list(listed)) if listed else None,
        )
        for group in ("model", "data", "trainer"):
            for key, value in getattr(settings, group).items():
                section[group][key] = value
        for note in settings.notes:
            self._say(note)

    def _weights(self, command: str, section: Any) -> str | None:
        """What a training goes on from, or an evaluation scores: a file or a name; None for a training that starts."""
        asked = section.get("ckpt_path")
        self.asked_for_last = asked == "last"
        if asked in ("best", "last"):
            folder = run_folder(section.trainer.get("default_root_dir"), section.model.name)
            file = (folder / "checkpoints" / f"{asked}.ckpt").absolute()
            if command == "fit" and not file.is_file():
                self._say(f"no {file} yet: training starts from the beginning")
                section.ckpt_path = None
                return None
            return str(file)
        if command == "fit":
            return asked
        source = section.get("exported") or asked or section.model.get("checkpoint")
        if source is None:
            raise no_checkpoint(command)
        return source

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
        else:
            callbacks = [*callbacks, LogInterval(config.get("log_every_n_steps"))]
        trainer = super()._instantiate_trainer(config, with_progress(config, callbacks, screen.is_quiet()))
        if trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        elif config.get("benchmark") is None and not config.get("deterministic"):
            # Crops are of one size all the time: let cuDNN look for its best kernels.
            torch.backends.cudnn.benchmark = True
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
        self.weights = None
        if self.model.start_report:
            self._say(self.model.start_report)

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
        results.after_fit(self.run_folder, self.trainer)

    def validate(self, **kwargs: Any) -> None:
        metrics = dict(self.trainer.validate(**kwargs)[0])
        if self.trainer.is_global_zero:
            results.after_validate(metrics)

    def test(self, **kwargs: Any) -> None:
        start = time.perf_counter()
        with self._continued("test", self.datamodule) as data:
            self.trainer.test(**{**kwargs, "datamodule": data})
            if not self.trainer.is_global_zero:
                return
            assert self.model.test_result is not None
            self.model.test_result.check_any()
            results.after_test(self.run_folder, self.model, data, wall_seconds=time.perf_counter() - start)
            log_results(self.trainer.loggers, self.run_folder, self.trainer.global_step)

    @contextmanager
    def _continued(self, stage: str, data: KineticsDataModule) -> Iterator[KineticsDataModule]:
        """Gives what of the data an interrupted run of the same command has not scored.

        Scores are kept in the run folder as they come, and go at the end: what is done with them is done by then.
        """
        if self._is_smoke_test():
            yield data
            return
        manifest = data.manifest(stage)
        settings = {
            "videos": [list(manifest.paths), list(manifest.labels)],
            "windows": [list(window) for window in data.windows or ()],
            "data": {
                **data.card.recipe,
                "class_names": data.class_names,
                "repeat_first_frame": data.repeat_first_frame,
                "decoder": data.decoder,
            },
            "model": [
                self.model.name,
                self.model.alpha,
                self.model.channel_multiple,
                self.model.layer_alphas,
                self.model.cascade,
                str(self.trainer.precision),
            ],
        }
        kept = PartialScores(
            self.run_folder,
            fingerprint(self.model.load_report.file, settings),
            self.model.num_classes,
            multi_label=self.model.multi_label and stage == "test",
        )
        keep = KeepScores(kept)
        self.trainer.callbacks.append(keep)  # type: ignore[attr-defined]
        num_rows = len(data.windows or manifest.paths)
        scored = {video for video, *_ in keep.earlier}
        if scored:
            what = "windows" if data.windows else "videos"
            self._say(f"continuing: {len(scored)} of {num_rows} {what} were scored before")
            # At least one, since the trainer passes over an empty loader without a word.
            data = data.part(rows=[row for row in range(num_rows) if row not in scored] or [num_rows - 1])
        yield data
        if self.trainer.is_global_zero:
            kept.remove()

    def predict(self, **kwargs: Any) -> None:
        section = self.config.predict
        data, paths = self.datamodule, self.datamodule.paths("predict")
        if section.window_s is not None:
            hop = section.window_s / 2 if section.hop_s is None else section.hop_s
            data = data.part(windows=plan_windows(paths, section.window_s, hop))
        # Predictions are in predict_result, of all processes.
        kwargs["return_predictions"] = False
        error = None
        with self._continued("predict", data) as data:
            self.trainer.predict(**{**kwargs, "datamodule": data})
            if self.trainer.is_global_zero:
                error = predictions.after_predict(
                    predictions.new_folder(self.run_folder),
                    self.model.predict_result,
                    paths,
                    data.windows or [Window(video) for video in range(len(paths))],
                    data.class_names or self.model.card.class_names,
                    save_video=section.save_video,
                )
        if self.model.cascade is not None and self.trainer.is_global_zero:
            self._say(cascade_line(self.model, self.model.predict_result))
        if error:
            raise error


def _is_first_process() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0  # also before there is a trainer


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _said(section: Any) -> dict[str, dict[str, Any]]:
    """Settings that are not None, by group."""
    groups = {group: section.get(group) or {} for group in ("model", "data", "trainer")}
    return {
        group: {key: value for key, value in vars(of).items() if value is not None} if of else {}
        for group, of in groups.items()
    }


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
