"""Networks side by side, for the steps `eager` and `compiled`: candidates, and what is written of each."""

import copy
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.gpu.lab import Lab
from octvideo.bench.calls import inference, resident_bytes, training_bytes, training_step
from octvideo.bench.model import Setting, networks
from octvideo.bench.plain import plain
from octvideo.models import for_training
from octvideo.timing import interleave, ratio

ALPHAS = (0.25, 0.5)


@dataclass(frozen=True)
class Candidate:
    """A network, and whether it is run octvideo's way, or as it comes."""

    name: str
    network: nn.Module
    is_ours: bool = True


@cache
def twins(rehearse: bool) -> dict[float, nn.Module]:
    """I3D R50 and its octave twins, on the device; made once for all parts of a step."""
    name, frames, crop = ("i3d_tiny", 2, 32) if rehearse else ("i3d_r50", None, None)
    alphas = ALPHAS[:1] if rehearse else ALPHAS
    return networks(Setting(name, alphas, 1, frames, crop, "cpu" if rehearse else "cuda", 1))


def ours(lab: Lab) -> list[Candidate]:
    return [Candidate(_name(alpha), network) for alpha, network in twins(lab.rehearse).items()]


def others(lab: Lab) -> list[Candidate]:
    """pytorchvideo's own network, untouched, and our octave network with its layers as they are usually written."""
    from pytorchvideo.models import hub

    from octvideo.models.tiny import i3d_tiny

    stock = i3d_tiny(model_num_class=400) if lab.rehearse else hub.i3d_r50(pretrained=False)
    return [
        Candidate("stock pytorchvideo", stock.eval().to(lab.device), is_ours=False),
        *(
            Candidate(f"{_name(alpha)}, layer as usually written", plain(network), is_ours=False)
            for alpha, network in twins(lab.rehearse).items()
            if alpha == ALPHAS[0] and not lab.rehearse  # CPUs pool no volumes of bfloat16
        ),
    ]


def _name(alpha: float) -> str:
    return f"alpha {alpha:g}" if alpha else "dense"


def batch(lab: Lab, clips: int) -> Tensor:
    shape = lab.pick((clips, 3, 8, 224, 224), (1, 3, 2, 32, 32))
    return torch.randn(shape, device=lab.device).to(memory_format=torch.channels_last_3d)


def call(candidate: Candidate, clips: Tensor, task: str, mode: str) -> Callable[[], object]:
    """Inference in bfloat16, or a training step in its autocast."""
    if not candidate.is_ours:
        clips = clips.contiguous()  # as these networks get their clips
    if task == "inference":
        return inference(candidate.network, clips.to(torch.bfloat16), mode, optimized=candidate.is_ours)
    student = copy.deepcopy(candidate.network).train()
    network = for_training(student) if candidate.is_ours else student
    return training_step(network, clips, torch.bfloat16, mode)


def compare(
    lab: Lab, candidates: Iterable[Candidate], *, task: str, mode: str, clips: int, rounds: int
) -> None:
    """Time the candidates, each alone as soon as it runs, then all in interleaved rounds, as ratios to the first.

    One that fails is written down and left out.
    """
    x = batch(lab, clips)
    if lab.rehearse:
        mode = mode.replace("compiled_graphs", "compiled").replace("graphs", "eager")
    runs: dict[str, Callable[[], object]] = {}
    facts: dict[str, dict[str, float]] = {}
    for candidate in candidates:
        name = candidate.name
        try:
            start, resident = time.perf_counter(), resident_bytes(lab.device)
            run = call(candidate, x, task, mode)
            run()
            lab.wait()
            facts[name] = {"first_s": time.perf_counter() - start}
            if task == "training" and not mode.endswith("graphs"):
                network = candidate.network
                memory = training_bytes(run, network.parameters(), lab.device, resident)
                facts[name]["peak_gb"] = memory / 1e9
            alone = interleave({name: run}, rounds=min(rounds, 5), warmup=2, device=lab.device)[name]
        except Exception as error:  # another candidate may do better
            text = (str(error).strip().splitlines() or [""])[0]
            lab.note(name, error=f"{type(error).__name__}: {text}"[:300])
            continue
        lab.note(name, ms=1e3 * alone.median, clips_per_s=len(x) / alone.median, alone=True, **facts[name])
        runs[name] = run
    timings = interleave(runs, rounds=rounds, warmup=1, device=lab.device)
    for name, timing in timings.items():
        reference = next(iter(timings))
        memory = facts[name].get("peak_gb", 0.0) / (facts[reference].get("peak_gb", 0.0) or 1.0)
        lab.note(
            name,
            ms=1e3 * timing.median,
            time=str(ratio(timing, timings[reference])),
            clips_per_s=len(x) / timing.median,
            **({"memory": memory} if memory else {}),
            **facts[name],
        )


def parts(of: Mapping[str, Callable[[Lab], None]]) -> dict[str, Callable[[Lab], None]]:
    """The parts, each with an empty cache of memory to start from."""

    def cleaned(part: Callable[[Lab], None]) -> Callable[[Lab], None]:
        def run(lab: Lab) -> None:
            try:
                part(lab)
            finally:
                torch._dynamo.reset()
                if lab.device == "cuda":
                    torch.cuda.empty_cache()

        return run

    return {name: cleaned(part) for name, part in of.items()}
