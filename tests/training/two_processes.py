"""One of several processes of a training, for test_distributed.py.

    torchrun --nproc-per-node N tests/training/two_processes.py OUT CSV BATCH_SIZE ALPHAS [CHECKPOINT]

Writes OUT/rank-R.json (videos of each step) and, by the first one, OUT/gradient.pt and OUT/weights.pt.
"""

import json
import os
import sys
from pathlib import Path

import torch

from octvideo.training.checkpoint import RunCheckpoint
from tests.training.runs import Record, small_data, small_model, small_trainer


def main(out: str, csv: str, batch_size: str, alphas: str, checkpoint: str | None = None) -> None:
    record, processes = Record(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    # Batch statistics are of a process's own clips, so norms keep theirs; no dropout, which has other numbers.
    # Those of several alphas are trained in any case.
    several = json.loads(alphas)
    model = small_model(freeze_norms=not several, zero_init_norms=False, dropout=0.0, alphas=several)
    gradients: list[dict[str, torch.Tensor]] = []

    def keep_gradients(optimizer: torch.optim.Optimizer) -> None:
        if not gradients:
            gradients.append({name: p.grad.clone() for name, p in model.network.named_parameters()})

    model.on_before_optimizer_step = keep_gradients
    trainer = small_trainer(
        Path(out),
        [record, RunCheckpoint(every_n_steps=1, keep_newest=9)],
        devices=processes,
        strategy="ddp" if "LOCAL_WORLD_SIZE" in os.environ else "auto",
        max_epochs=3,
    )
    data = small_data(Path(csv), batch_size=int(batch_size))
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    (Path(out) / f"rank-{trainer.global_rank}.json").write_text(json.dumps(record.videos))
    if trainer.is_global_zero:
        torch.save(gradients[0], Path(out) / "gradient.pt")
        torch.save(model.state_dict(), Path(out) / "weights.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
