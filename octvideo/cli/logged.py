"""Result files on their way to the loggers of a test: the confusion matrix as a picture, the report as it is."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger


def log_results(loggers: Iterable[Logger], folder: Path, step: int) -> None:
    """Gives `confusion.png` and `report.html` of a run folder, where they are there, to the loggers that take such.

    Weights & Biases and MLflow take both, TensorBoard pictures alone; other loggers have the numbers.

    Args:
        step: of the training that the checkpoint is of.
    """
    picture, report = folder / "confusion.png", folder / "report.html"
    for logger in loggers:
        if isinstance(logger, MLFlowLogger):
            for file in (picture, report):
                if file.is_file():
                    logger.experiment.log_artifact(logger.run_id, str(file))
        if isinstance(logger, WandbLogger):
            import wandb

            if picture.is_file():
                logger.log_image("test/confusion", [str(picture)])
            if report.is_file():
                logger.experiment.log({"test/report": wandb.Html(str(report), inject=False)})
        if isinstance(logger, TensorBoardLogger) and picture.is_file():
            from PIL import Image

            pixels = np.asarray(Image.open(picture).convert("RGB"))
            logger.experiment.add_image("test/confusion", pixels, step, dataformats="HWC")
            logger.save()
