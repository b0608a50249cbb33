"""`octvideo features` and `octvideo probe`: features of videos in a file, and a linear classifier of such."""

import argparse
from pathlib import Path

import numpy as np

from octvideo.cli import network as own
from octvideo.cli import screen
from octvideo.cli.ahead import check_videos
from octvideo.cli.errors import UsageError
from octvideo.cli.weights import check_file, check_weights
from octvideo.data import read_class_list
from octvideo.limits import check_numbers
from octvideo.parser import Parser
from octvideo.text import shown


def features_command(args: list[str]) -> int:
    """Writes the features of videos."""
    parser = Parser(
        prog="octvideo features",
        description="Writes what a layer gives for videos, averaged over time and space: an .npz file of "
        "features (N, D), views (N, V, D), labels, paths and layer.",
        epilog=own.HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="of octvideo fit, or another project's weights")
    parser.add_argument(
        "videos", metavar="VIDEO", nargs="+", help="files, folders, and manifests, whose labels are kept"
    )
    parser.add_argument("--out", required=True, help="the file to write, .npz")
    parser.add_argument("--layer", help="path of a layer; what the classifying layer is given by default")
    parser.add_argument("--model.name", dest="name", help="the network, where the checkpoint does not say it")
    parser.add_argument(
        "--model.alpha", dest="alpha", type=float, help="octave ratio, the checkpoint's by default"
    )
    parser.add_argument("--class_list", help="the classes that the manifests' labels are names of")
    parser.add_argument("--root", help="folder that the manifests' paths are relative to")
    parser.add_argument("--num_clips", type=int, help="clips a video, the checkpoint's by default")
    parser.add_argument("--num_crops", type=int, help="crops a clip, the checkpoint's by default")
    parser.add_argument("--num_workers", type=int, help="decoding processes, one a CPU core by default")
    parser.add_argument("--device", help="cpu, cuda or cuda:N")
    args, of_network = own.split_off(args)
    options = parser.parse_args(args)
    numbers = {name: getattr(options, name) for name in ("alpha", "num_clips", "num_crops", "num_workers")}
    check_numbers({name: value for name, value in numbers.items() if value is not None}, prefix="--")
    if Path(options.out).suffix != ".npz":
        raise UsageError(f"{Path(options.out).absolute()}: the name must end in .npz")
    check_weights(options.checkpoint)
    names = read_class_list(options.class_list) if options.class_list else None
    either = not any("|" in name for name in names or ())  # one class a video, or several: the network says
    check_videos(options.videos, class_names=names, root=options.root, multi_label=either)

    from octvideo.inference import features
    from octvideo.inference.videos import classifier_of

    changes = {"name": options.name, "alpha": options.alpha, "network": own.build(of_network)}
    changes = {key: value for key, value in changes.items() if value is not None}
    names = ("class_list", "root", "num_clips", "num_crops", "num_workers")
    settings = {key: getattr(options, key) for key in names if getattr(options, key) is not None}
    classifier = classifier_of(options.checkpoint, options.device, **changes)
    found = features(options.videos, classifier, layer=options.layer, **settings)
    file = Path(options.out).expanduser().absolute()
    found.save(file)
    num_videos, num_views, size = found.views.shape
    if screen.wants_json():
        counts = {"num_videos": num_videos, "num_views": num_views, "num_features": size}
        screen.write_json(
            {"file": str(file), "layer": found.layer, **counts, "unreadable": list(found.errors)}
        )
        return 0
    print(shown(f"{file}: {num_videos} videos, {num_views} views each, {size} features of {found.layer}"))
    for error in found.errors:
        print(shown(f"unreadable, left out: {error}"))
    return 0


def probe_command(args: list[str]) -> int:
    """Fits a linear classifier to features and scores it on others."""
    parser = Parser(
        prog="octvideo probe",
        description="Fits a linear classifier to the features of TRAIN and scores it on those of TEST, files of "
        "octvideo features on manifests with labels.",
    )
    parser.add_argument("train", metavar="TRAIN")
    parser.add_argument("test", metavar="TEST")
    parser.add_argument("--weight_decay", type=float, default=1e-3, help="of the classifier (%(default)s)")
    options = parser.parse_args(args)
    for file in (options.train, options.test):
        check_file(file, "feature")

    from octvideo.errors import InputError
    from octvideo.evaluation.metrics import confusion_matrix, mean_class_accuracy
    from octvideo.evaluation.scores import VideoScores, accuracy_at
    from octvideo.inference import fit_probe, read_features

    train, test = read_features(options.train), read_features(options.test)
    if train.layer != test.layer or train.views.shape[2] != test.views.shape[2]:
        raise InputError(
            f"{options.test} is of the layer {test.layer}, allowed is {train.layer}, as in {options.train}"
        )
    probe = fit_probe(train.videos, train.labels, weight_decay=options.weight_decay)
    if test.labels.max() >= len(probe.bias):
        raise InputError(
            f"{options.test} has class {test.labels.max()}, {options.train} has 0 to {len(probe.bias) - 1}"
        )
    scores = VideoScores(np.arange(len(test.paths)), test.labels, probe.probabilities(test.videos))
    mean = mean_class_accuracy(confusion_matrix(scores))
    top1, top5 = accuracy_at(scores, 1), accuracy_at(scores, 5)
    if screen.wants_json():
        counts = {"videos_learnt": len(train.paths), "videos_scored": len(test.paths)}
        screen.write_json({**counts, "top1": top1, "top5": top5, "mean_class_accuracy": mean})
        return 0
    print(
        f"{len(train.paths)} videos to learn from, {len(test.paths)} to score: top-1 {top1:.2%}, "
        f"top-5 {top5:.2%}, mean of the classes {mean:.2%}"
    )
    return 0
