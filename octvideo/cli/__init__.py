"""The `octvideo` command.

This module answers `--help` and `--version` itself, without torch; the rest is imported when it is needed.
"""

import os
import sys
from collections.abc import Sequence

import octvideo

HELP = """\
usage: octvideo COMMAND [options]

3D video action recognition with octave convolution.

commands:
  fit        train:                  octvideo fit --config configs/kinetics400/oct_i3d_r50.yaml
  validate   score with one view:    octvideo validate --config RUN.yaml --ckpt_path best
  test       score with many views:  octvideo test --config RUN.yaml --ckpt_path best
                                     octvideo test FILE.ckpt --data.test_csv LIST.csv
  predict    name the actions:       octvideo predict FILE.ckpt VIDEO FOLDER 'GLOB' ...
  export     write ONNX or .pt2:     octvideo export FILE.ckpt OUT.onnx
  adapt      dense weights to an octave checkpoint, without labels:
                                     octvideo adapt WEIGHTS --alpha .25 --videos FOLDER --out oct.ckpt
  features   what a layer gives, in a file: octvideo features FILE.ckpt VIDEOS --out features.npz
  probe      a linear classifier of such features:  octvideo probe TRAIN.npz TEST.npz
  compare    several tests side by side: octvideo compare RUN_FOLDER RUN_FOLDER ...
  weights    weights by name:        octvideo weights i3d_r50, then octvideo predict i3d_r50 VIDEO
  models     list the models, with parameters and GFLOPs
  bench      time a model and its octave twins here:  octvideo bench model i3d_r50
  doctor     which decoders and devices work here, and why not

options:
  -h, --help     this text; `octvideo COMMAND --help` lists the options of a command
  --version      the version

Any value of a YAML file can be given on the command line: --model.alpha 0.25 --data.batch_size 16
--trainer.max_epochs 10. Results go to the run folder, --trainer.default_root_dir (runs/MODEL by default).
OCTVIDEO_TRACEBACK=1 shows the stack trace of an error.

exit codes:
  0      done
  1      a failure: out of memory, a process that died, or an error in octvideo (with its stack trace)
  2      what was asked cannot be done; one line says why
  130    interrupted; a training stopped by a signal has kept a checkpoint and ends with 128 + its number
"""

ENGINE_COMMANDS = ("fit", "validate", "test", "predict")
COMMANDS = (
    *ENGINE_COMMANDS,
    "adapt",
    "features",
    "probe",
    "compare",
    "export",
    "weights",
    "models",
    "bench",
    "doctor",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; `argv` without the program's name, `sys.argv[1:]` by default.

    Returns:
        0; 2 for what cannot be done as it was asked (one line on stderr says why); 1 for failures; 130 after Ctrl-C,
        128 + its number for another signal that has stopped a training.
    """
    from octvideo.cli.errors import explain
    from octvideo.text import shown

    args = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(args)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code in (0, None):
            return 0
        if os.environ.get("OCTVIDEO_TRACEBACK") == "1" and not isinstance(error, KeyboardInterrupt):
            raise
        code, line = explain(error)
        if line is None:
            raise
        if line:
            print(f"octvideo: {shown(line)}", file=sys.stderr)
        return code


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if args else 2
    if args[0] == "--version":
        print(f"octvideo {octvideo.__version__}")
        return 0
    command = args[0]
    if command not in COMMANDS:
        from octvideo.cli.errors import UsageError

        raise UsageError(f"unknown command {command!r}, allowed: {', '.join(COMMANDS)}")

    from octvideo.cli.quiet import silence_known_noise

    silence_known_noise()
    if command == "models":
        from octvideo.cli.models_table import models_command

        return models_command(args[1:])
    if command == "export":
        from octvideo.cli.export import export_command

        return export_command(args[1:])
    if command == "adapt":
        from octvideo.cli.adapt import adapt_command

        return adapt_command(args[1:])
    if command in ("features", "probe"):
        from octvideo.cli.features import features_command, probe_command

        return features_command(args[1:]) if command == "features" else probe_command(args[1:])
    if command == "weights":
        from octvideo.cli.pretrained import weights_command

        return weights_command(args[1:])
    if command == "compare":
        from octvideo.cli.compare import compare_command

        return compare_command(args[1:])
    if command == "bench":
        from octvideo.cli.bench import bench_command

        return bench_command(args[1:])
    if command == "doctor":
        from octvideo.cli.doctor import doctor_command

        return doctor_command(args[1:])
    rest = args[1:]
    if command != "fit":
        from octvideo.cli.shorthand import expand

        rest = expand(command, rest)
    from octvideo.cli.engine import run_engine

    run_engine(command, rest)
    return 0
