"""What Triton's compiler makes of the engine's kernels, without a GPU: `python -m benchmarks.triton_kernels`.

A line a kernel and tile: registers, spills, shared memory, how many bytes its loads of global memory take at a time,
and how many of them are asynchronous: those of the steps ahead. What spills, loads by two bytes or waits for every load
would be slow, and is known before a GPU is had.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from octvideo.engines.geometry import Geometry
from octvideo.engines.interface import Block, Epilogue, Read
from octvideo.engines.norm import NormedMap, Statistics
from octvideo.engines.triton import norm, problem, tiles
from octvideo.engines.triton import weight_gradients as gradient
from octvideo.engines.triton.kernels import norms
from octvideo.engines.triton.kernels.arguments import Normed

POINTWISE = Geometry((1, 1, 1), (0, 0, 0), (1, 1, 1))
# Channels in and out of a layer, by frequency: two of I3D's at alpha .25, and one at .1, whose channels no 8 divides,
# beside what recipes round it to.
LAYERS = {
    "64 to 256, alpha .25": ((48, 16), (192, 64)),
    "1024 to 256, alpha .25": ((768, 256), (192, 64)),
    "64 to 256, alpha .1": ((58, 6), (231, 25)),
    "64 to 256, alpha .1 in eights": ((56, 8), (232, 24)),
}


class Device:
    """What Triton asks of a GPU before it compiles for it.

    Args:
        capability: 80 or 90.
    """

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.target.arch

    def get_current_stream(self, device: int) -> int:
        return 0


@contextmanager
def compiled(capability: int) -> Iterator[list[Any]]:
    """Launches are compiled, not run, and put into the list."""
    kernels: list[Any] = []
    run = JITFunction.run

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        kernels.append(run(self, *arguments, grid=grid, warmup=True, **options))

    driver, before = triton.runtime.driver, triton.runtime.driver._active
    driver.set_active(Device(capability))
    JITFunction.run = compile_only  # type: ignore[method-assign]
    try:
        yield kernels
    finally:
        JITFunction.run = run  # type: ignore[method-assign]
        driver._active = before


def clip(channels: int, side: int = 56) -> torch.Tensor:
    """Of a training's size: numbers that are 1 would be constants, and loops over them no loops."""
    x = torch.empty(32, channels, 8, side, side, dtype=torch.bfloat16, device="meta")
    return x.to(memory_format=torch.channels_last_3d)


def layer(channels: Any, *, joined: bool, pool: bool = False, backwards: bool = False) -> list[problem.Job]:
    """The sums of an octave layer: with residuals and ReLUs, as the last of a block has them."""
    (high_in, low_in), (high_out, low_out) = channels
    weight = torch.empty(high_out + low_out, high_in + low_in, 1, 1, 1, dtype=torch.bfloat16)
    blocks = [part.split([high_in, low_in], 1) for part in weight.split([high_out, low_out])]
    if backwards:
        blocks = list(zip(*blocks, strict=True))
        (high_in, low_in), (high_out, low_out) = channels[::-1]
    high, low = clip(high_in), clip(low_in, 28)
    ends = [Epilogue(None if backwards else clip(high_out), relu=not backwards, pool=pool)]
    ends += [Epilogue(None if backwards else clip(low_out, 28), relu=not backwards)]
    bias = None if backwards else torch.empty(high_out, dtype=torch.bfloat16)
    jobs = [
        problem.Job(
            clip(high_out), bias, ends[0], [Read(high), Read(low, 2)], blocks[0], transposed=backwards
        ),
        problem.Job(
            clip(low_out, 28), bias, ends[1], [Read(high, 0.5), Read(low)], blocks[1], transposed=backwards
        ),
    ]
    return jobs if joined else jobs[:1]


def blocks(into: tuple[int, int], out: tuple[int, int]) -> list[Block]:
    """What the gradient of a layer's weight is made of."""
    high, low, grads = clip(into[0]), clip(into[1], 28), (clip(out[0]), clip(out[1], 28))
    rows, columns = ((range(first), range(first, first + second)) for first, second in (out, into))
    return [
        Block(rows[0], columns[0], Read(grads[0]), Read(high)),
        Block(rows[0], columns[1], Read(grads[0], 0.5), Read(low)),
        Block(rows[1], columns[0], Read(grads[1]), Read(high, 0.5)),
        Block(rows[1], columns[1], Read(grads[1]), Read(low)),
    ]


# A norm's kernels, and what is a launch's own: momentum and epsilon, and whether a ReLU follows.
NORMS = (
    (norms.statistics, ()),
    (norms.normalise, (0.1, 1e-5, True)),
    (norms.gradient_sums, (True,)),
    (norms.gradients, (True,)),
)


def normed(channels: int) -> Normed:
    """A map and its norm, forward and backward."""
    numbers = [torch.empty(channels) for _ in range(6)]
    of = NormedMap(clip(channels), *numbers[:4])
    return norm.part(
        of, Statistics(*numbers[4:]), clip(channels), clip(channels),
        of_residual=clip(channels), grad=clip(channels), of_rows=torch.empty(2, channels),
    )  # fmt: skip


def kernels(capability: int, only: str = "") -> Iterator[tuple[str, Sequence[int], Any]]:
    """Name, tile and compiled kernel, of all whose name has ``only`` in it."""
    constants = problem.constants(POINTWISE, (1, 1, 1), torch.bfloat16)
    transposed = problem.constants(POINTWISE, (1, 1, 1), torch.bfloat16, backwards=True)
    dense = problem.Job(
        clip(256), torch.empty(256), Epilogue(clip(256), relu=True), [Read(clip(64))],
        [torch.empty(256, 64, 1, 1, 1, dtype=torch.bfloat16)],
    )  # fmt: skip
    end = problem.Job(clip(48), torch.empty(48), Epilogue(up=clip(48, 28), relu=True, pool=True))
    launches = {"dense, 64 to 256": ([dense], constants)}
    launches |= {f"octave, {name}": (layer(of, joined=True), constants) for name, of in LAYERS.items()}
    launches |= {
        "octave with averages": (layer(LAYERS["64 to 256, alpha .25"], joined=True, pool=True), constants),
        "octave, gradient": (layer(LAYERS["64 to 256, alpha .25"], joined=True, backwards=True), transposed),
        "behind cuDNN": ([end], constants),
    }
    calls: list[tuple[str, Sequence[int], Callable[[], None]]] = [
        (name, tile, partial(problem._launch, jobs, constant, tile))
        for name, (jobs, constant) in launches.items()
        for tile in tiles.SUMS
    ]
    for name, (into, out) in LAYERS.items():
        weight = torch.empty(sum(out), sum(into), 1, 1, 1)
        calls += [
            (
                f"weight gradient, {name}",
                tile,
                partial(gradient.launch, tile, blocks(into, out), weight, POINTWISE),
            )
            for tile in tiles.GRADIENTS
        ]
        calls += [
            (
                f"norm, {kernel.__name__}, {name}",
                (norm.TILE, norm.WARPS),
                partial(norm.launch, kernel, [normed(count) for count in out], *settings),
            )
            for kernel, settings in NORMS
        ]
    with compiled(capability) as found:
        for name, tile, call in calls:
            if only in name:
                call()
                yield name, tile, found.pop()


def facts(kernel: Any, capability: int) -> dict[str, Any]:
    """Registers of a thread, bytes spilled, KiB of shared memory, and the loads' widths in bytes by their numbers."""
    ptx = kernel.asm["ptx"]
    widths: dict[int, int] = {}
    for lanes, bits in re.findall(r"ld\.global(?:\.\w+(?:::\w+)*)*?(?:\.v(\d))?\.[bfus](\d+)", ptx):
        width = int(lanes or 1) * int(bits) // 8
        widths[width] = widths.get(width, 0) + 1
    for size in re.findall(
        r"cp\.async\.c[ag]\.shared\.global(?:\.\w+(?:::\w+)*)*\s+\[[^\]]*\],\s*\[[^\]]*\],\s*(?:0x)?(\w+)",
        ptx,
    ):
        width = int(size, 16)
        widths[width] = widths.get(width, 0) + 1
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.ptx")
        file.write_text(ptx)
        arch = re.search(r"\.target (\w+)", ptx)
        said = subprocess.run(
            [ptxas(), "-v", f"--gpu-name={arch[1] if arch else f'sm_{capability}'}", str(file), "-o", f"{folder}/out"],
            capture_output=True, text=True, check=True,
        ).stderr  # fmt: skip
    registers = re.search(r"Used (\d+) registers", said)
    spilled = re.search(r"(\d+) bytes spill stores", said)
    return {
        "registers": int(registers[1]) if registers else None,
        "spilled": int(spilled[1]) if spilled else None,
        "shared_kb": round(kernel.metadata.shared / 1024),
        "loads": dict(sorted(widths.items())),
        "ahead": len(re.findall(r"cp\.async\.c[ag]", ptx)),
        "products": "wgmma" if "wgmma" in ptx else "mma",
    }


def ptxas() -> str:
    own = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    return str(own) if own.exists() else shutil.which("ptxas") or "ptxas"


def main(args: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.triton_kernels", description=__doc__)
    parser.add_argument("--capability", type=int, nargs="+", default=[80, 90], help="80: A100, 90: H100")
    parser.add_argument("--only", default="", metavar="PART", help="of a kernel's name, such as norm")
    options = parser.parse_args(args)
    for capability in options.capability:
        print(f"sm_{capability}, Triton {triton.__version__}")
        for name, tile, kernel in kernels(capability, options.only):
            values = ", ".join(f"{key} {value}" for key, value in facts(kernel, capability).items())
            print(f"  {name}, {'x'.join(map(str, tile))}: {values}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
