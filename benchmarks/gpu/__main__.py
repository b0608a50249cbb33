"""`python -m benchmarks.gpu`: everything that is to be known from a GPU, in one call of nine and a half minutes.

Needs Python and torch on the machine; what else octvideo needs comes with `--kit`, which `make gpu-wheels` fills.
Writes results.jsonl (a line a finding), log.txt (what the steps printed), table.txt and the compiler's caches.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import kit, plan
from benchmarks.gpu.results import Results


def main(args: Sequence[str] | None = None) -> int:
    start = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=plan.CHECKOUT / "runs" / "gpu", help="folder for all results"
    )
    parser.add_argument(
        "--kit", type=Path, help="folder of `make gpu-wheels`: wheels, clips, caches, older results"
    )
    parser.add_argument("--only", nargs="+", metavar="STEP", help=", ".join(step.name for step in plan.STEPS))
    parser.add_argument("--again", action="store_true", help="also run what the results file has")
    parser.add_argument("--rehearse", action="store_true", help="the same code on the CPU, with tiny sizes")
    parser.add_argument("--seconds", type=float, default=plan.SECONDS, help="of the whole run")
    options = parser.parse_args(args)
    try:
        steps = plan.choose(options.only)
        out = options.out.absolute()
        out.mkdir(parents=True, exist_ok=True)
        environment = kit.unpack(options.kit.absolute() if options.kit else None, out)
    except (plan.UnknownStepError, kit.KitError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.rehearse:  # the compiler takes minutes on a CPU, whatever the size; all else is as on the GPU
        environment["TORCHDYNAMO_DISABLE"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the step that runs is ended, too
    results = Results(out, rehearsal=options.rehearse)
    print(f"ready after {time.monotonic() - start:.0f} s", flush=True)
    plan.run(
        steps,
        results,
        deadline=start + options.seconds,
        command=lambda step: step.command(out, options.rehearse, options.again),
        environment=environment,
        again=options.again,
        say=lambda text: print(text, flush=True),
    )
    table = results.table()
    (out / "table.txt").write_text(table + "\n")
    print(table)
    print(f"{time.monotonic() - start:.0f} s; wrote {out}")
    ended = {
        line["step"]: line["state"] for line in results.lines() if line.get("state") and not line.get("part")
    }
    return 0 if all(ended.get(step.name) == "done" for step in steps) else 1


if __name__ == "__main__":
    sys.exit(main())
