"""`octvideo fit --help` and its siblings: the options that people use; `--help all` lists every one."""

import textwrap

from octvideo.cli.ahead import option_parser

_OTHERS = {
    "config": "a configuration file, or the name of one of octvideo's: kinetics400/oct_i3d_r50; several add up",
    "trainer.devices": "GPUs, or processes on a CPU",
    "trainer.accelerator": "auto, gpu or cpu",
    "trainer.precision": "32-true, bf16-mixed or 16-mixed",
    "trainer.max_epochs": "epochs of the whole training",
    "trainer.default_root_dir": "the run folder, runs/MODEL by default",
    "quiet": "say nothing but the result",
    "json": "the result as JSON, and nothing else, on the standard output",
}
_RUN = ("trainer.accelerator", "trainer.devices", "trainer.default_root_dir", "quiet", "json")
_NETWORK = ("model.name", "model.alpha")
_VIDEOS = ("data.root", "data.class_list")
_SCORED = (*_VIDEOS, *_NETWORK, "data.num_workers", *_RUN)
FEW = {
    "fit": (
        *("config", "data.train_csv", "data.val_csv", *_VIDEOS, *_NETWORK, "model.alphas"),
        *("model.checkpoint", "model.lr", "data.batch_size", "data.num_workers", "trainer.max_epochs"),
        *("trainer.precision", "ckpt_path", *_RUN),
    ),
    "validate": ("config", "ckpt_path", "data.val_csv", *_SCORED),
    "test": (
        "config",
        "ckpt_path",
        "exported",
        "data.test_csv",
        "data.num_clips",
        "data.num_crops",
        "budget_ms",
        "cascade",
        *_SCORED,
    ),
    "predict": (
        *("config", "ckpt_path", "exported", "data.predict_paths", "window_s", "hop_s", "save_video"),
        *("budget_ms", "cascade"),
        *("data.class_list", *_NETWORK, "data.num_workers", *_RUN),
    ),
}
_USAGE = {
    "fit": "octvideo fit --config FILE [options]",
    "validate": "octvideo validate FILE.ckpt --data.val_csv LIST.csv [options]",
    "test": "octvideo test FILE.ckpt --data.test_csv LIST.csv [options]",
    "predict": "octvideo predict FILE.ckpt VIDEO FOLDER 'GLOB' ... [options]",
}


def show_help(command: str, *, every: bool) -> None:
    """Prints the options of a command: those of `FEW`, or every one."""
    parser = option_parser(command)
    if every:
        parser.prog = f"octvideo {command}"
        print(parser.format_help(), end="")
        return
    texts = {action.dest: action.help for action in parser._actions}
    texts |= {f"{action.dest}.": action.default for action in parser._actions}
    print(f"usage: {_USAGE[command]}\n\noptions:")
    for name in FEW[command]:
        text = _OTHERS.get(name) or str(texts[name])
        default = texts.get(f"{name}.")
        if default not in (None, False, "==SUPPRESS==") and name not in _OTHERS:
            text = f"{text.rstrip('.')} (default: {default})"
        lines = textwrap.wrap(text, 84)
        print(f"  --{name:<24} {lines[0]}", *(f"{'':29}{line}" for line in lines[1:]), sep="\n")
    print(
        f"\nEach is also a value of a configuration file. octvideo {command} --help all lists all "
        f"{sum('--' in ''.join(action.option_strings) for action in parser._actions)} options."
    )
