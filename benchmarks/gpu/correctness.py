"""The tests marked gpu, a part a file, and the layout of every map. The tests of decoding are another step's."""

import os
from functools import partial

import pytest
import torch

from benchmarks.gpu.lab import Lab
from benchmarks.gpu.plan import CHECKOUT
from octvideo.models import create_model, optimize

# What a rehearsal runs of a file: one test, since all of them would take minutes on a CPU.
SAMPLES = {
    "layers": "test_layer_and_gradients[spatial-0.25-float32]",
    "networks": "test_network[i3d_tiny-inference]",
    "data": "test_views_are_cut_alike",
    "training": "test_training_is_the_cpus[plain]",
    "engines": "test_triton_is_torch[pointwise-0.25]",
    "decoding": "test_frames_are_those_of_the_cpu[h264]",
}


class Lines:
    """Writes what became of each test; a plugin of pytest's."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.count = lab, {"passed": 0, "failed": 0, "skipped": 0}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        self.count[report.outcome] += 1
        why = {} if report.outcome == "passed" else {"why": _last_line(report)}
        what = report.nodeid.rpartition("::")[2]
        self.lab.note(what, outcome=report.outcome, took_s=round(report.duration, 2), **why)


def tests(lab: Lab, *, file: str) -> None:
    """Run a file of tests/gpu, on the CPU in a rehearsal.

    Raises:
        RuntimeError: a test failed, or none ran.
    """
    os.environ["OCTVIDEO_REHEARSE_GPU" if lab.rehearse else "OCTVIDEO_REQUIRE_GPU"] = "1"
    path = f"{CHECKOUT}/tests/gpu/test_{file}.py" + lab.pick("", f"::{SAMPLES[file]}")
    lines = Lines(lab)
    options = [
        "-q",
        "-m",
        "gpu",
        "--rootdir",
        str(CHECKOUT),
        "-c",
        str(CHECKOUT / "setup.cfg"),
        "-p",
        "no:cacheprovider",
    ]
    code = pytest.main([*options, path], plugins=[lines])
    lab.note("tests", **lines.count)
    if code != 0:
        raise RuntimeError(
            f"{lines.count['failed']} of {sum(lines.count.values())} failed; exit code {int(code)}"
        )


def layout(lab: Lab) -> None:
    """Maps that are not channels-last, from stem to head: each makes copies of all that follow."""
    name, side = lab.pick(("i3d_r50", 224), ("i3d_tiny", 32))
    clip = torch.randn(2, 3, 8, side, side, device=lab.device).to(memory_format=torch.channels_last_3d)
    for alpha in (0.0, 0.25):
        model = create_model(name, alpha=alpha).eval().to(lab.device, memory_format=torch.channels_last_3d)
        for kind, network in (("as trained", model), ("optimised", optimize(model))):
            with torch.autocast(lab.device, torch.bfloat16):
                strays = stray_maps(network, clip)
            lab.note(f"alpha {alpha:g}, {kind}", strays=len(strays), first=strays[:3])


def stray_maps(network: torch.nn.Module, clip: torch.Tensor) -> list[str]:
    """Paths of the modules whose maps are not channels-last, in the order in which they run."""
    strays: list[str] = []

    def look(path: str, module: torch.nn.Module, inputs: object, output: object) -> None:
        for part in output if isinstance(output, tuple) else [output]:
            if (
                not isinstance(part, torch.Tensor)
                or part.dim() != 5
                or min(part.shape[1], part[0, 0].numel()) == 1
            ):
                continue
            if not part.is_contiguous(memory_format=torch.channels_last_3d):
                strays.append(path)

    hooks = [module.register_forward_hook(partial(look, path)) for path, module in network.named_modules()]
    with torch.no_grad():
        network(clip)
    for hook in hooks:
        hook.remove()
    return strays


def _last_line(report: pytest.TestReport) -> str:
    lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
    return (lines or report.longreprtext.splitlines() or [""])[0][:200]


PARTS = {
    "layers": partial(tests, file="layers"),
    "layout": layout,
    "data": partial(tests, file="data"),
    "networks": partial(tests, file="networks"),
    "training": partial(tests, file="training"),
}
