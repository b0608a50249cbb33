"""How fast each decoder reads one's own clips: the facts behind `octvideo bench decode`.

Rounds are interleaved, so that a busy machine slows all decoders alike, and compared as ratios.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from octvideo.data.dataset import ClipSpec
from octvideo.data.decode import VideoDecodeError, cpu_failure, cuda_failure, open_video
from octvideo.data.sampling import random_start, video_seconds
from octvideo.errors import InputError


@dataclass(frozen=True)
class DecodeRate:
    """One decoder on one device.

    Attributes:
        decoder, device: as given to `open_video`.
        clips_per_second: median over the rounds, opening included; 0 if it does not work.
        spread: (least, most) of the rounds.
        ratio: times the first decoder's rate, median of the rounds' ratios.
        num_failed: clips of a round that could not be decoded; the others make the rate.
        why_not: why it does not work here, or empty.
    """

    decoder: str
    device: str
    clips_per_second: float = 0.0
    spread: tuple[float, float] = (0.0, 0.0)
    ratio: float = 0.0
    num_failed: int = 0
    why_not: str = ""


def bench_decode(
    paths: Sequence[str],
    *,
    spec: ClipSpec | None = None,
    num_clips: int = 20,
    rounds: int = 5,
    decoders: Sequence[str] = ("auto", "decord", "torchcodec", "pyav"),
    devices: Sequence[str] = ("cpu",),
    seed: int = 0,
) -> list[DecodeRate]:
    """Decodes the same random clips with each decoder, in one thread.

    Args:
        paths: videos, taken in turn.
        spec: the clips; None is 8 frames at stride 8 and 30 fps.
        num_clips: clips a round.
        rounds: rounds; a first one to warm up is not counted.
        decoders, devices: what is compared; the first combination is the ratios' 1.

    Raises:
        ValueError: no paths, or num_clips or rounds below 1.
    """
    for name, value in (("paths", len(paths)), ("num_clips", num_clips), ("rounds", rounds)):
        if value < 1:
            raise InputError(f"{name} is {value}, allowed is 1 or more")
    contenders = [(decoder, device) for device in devices for decoder in decoders]
    why_not = {contender: _why_not(*contender) for contender in contenders}
    working = [contender for contender in contenders if not why_not[contender]]
    rates: dict[tuple[str, str], list[float]] = {contender: [] for contender in working}
    failed = dict.fromkeys(working, 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number in range(rounds + 1):
            for contender in working:
                rate, failed[contender] = _round(paths, spec or ClipSpec(), num_clips, seed, *contender)
                if number > 0:
                    rates[contender].append(rate)
    finally:
        torch.set_num_threads(threads)
    first = rates[working[0]] if working else []
    return [
        DecodeRate(*contender, why_not=why_not[contender])
        if contender not in rates
        else DecodeRate(
            *contender,
            clips_per_second=median(rates[contender]),
            spread=(min(rates[contender]), max(rates[contender])),
            ratio=median(
                mine / other if other else 0.0 for mine, other in zip(rates[contender], first, strict=True)
            ),
            num_failed=failed[contender],
        )
        for contender in contenders
    ]


def _why_not(decoder: str, device: str) -> str:
    failure = cpu_failure if torch.device(device).type == "cpu" else cuda_failure
    if decoder != "auto":
        return failure(decoder) or ""
    if torch.device(device).type == "cpu":
        return ""
    reasons = [f"{name}: {failure(name)}" for name in ("decord", "torchcodec") if failure(name)]
    return "; ".join(reasons) if len(reasons) == 2 else ""


def _round(
    paths: Sequence[str], spec: ClipSpec, num_clips: int, seed: int, decoder: str, device: str
) -> tuple[float, int]:
    """(clips a second, clips that failed); the same clips for every decoder."""
    failed = 0
    began = time.perf_counter()
    for number in range(num_clips):
        try:
            with open_video(paths[number % len(paths)], decoder=decoder, device=device) as video:
                rng = np.random.default_rng((seed, number))
                start = random_start(video_seconds(video.pts_seconds), spec.seconds, rng)
                video.frames_at(spec.frames(video, start))
        except VideoDecodeError:
            failed += 1
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return (num_clips - failed) / (time.perf_counter() - began), failed
