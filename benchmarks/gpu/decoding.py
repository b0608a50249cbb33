"""NVDEC: its tests, and clips a second beside the CPU's."""

from functools import partial

from benchmarks.gpu.correctness import tests
from benchmarks.gpu.lab import Lab
from benchmarks.views import synthetic
from octvideo.bench.decoding import bench_decode


def rates(lab: Lab) -> None:
    """`octvideo bench decode` of a rendered video, as Kinetics copies are: 340 x 256, 10 s, H.264."""
    video = str(synthetic(lab.scratch / "video.mp4"))
    found = bench_decode(
        [video], num_clips=lab.pick(40, 1), rounds=lab.pick(5, 1), devices=lab.pick(("cpu", "cuda"), ("cpu",))
    )
    for rate in found:
        what = f"{rate.decoder} on {rate.device}"
        if rate.why_not:
            lab.note(what, why_not=rate.why_not)
        else:
            lab.note(what, clips_per_s=rate.clips_per_second, ratio=rate.ratio, failed=rate.num_failed)


PARTS = {"tests": partial(tests, file="decoding"), "rates": rates}
