"""What a benchmark of networks calls: inference or a training step, eager, compiled, or as CUDA graphs."""

import copy
from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn

from octvideo.models import optimize
from octvideo.models.graphs import record
from octvideo.models.optimize import Frozen

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def inference(model: nn.Module, x: Tensor, mode: str, *, optimized: bool = True) -> Callable[[], object]:
    """A call of a network on a batch, the way that ``mode`` says.

    Args:
        optimized: by ``octvideo.optimize``, as a network of this package is used.
    """
    is_compiled = mode.startswith("compiled")
    if optimized:
        network = optimize(model, compile=is_compiled).to(x.dtype)
    else:
        network = copy.deepcopy(model).to(x.dtype)
        network = Frozen(network) if is_compiled else network

    @torch.no_grad()
    def run() -> object:
        return network(x)

    return record(run) if mode.endswith("graphs") else run


def training_step(model: nn.Module, x: Tensor, dtype: torch.dtype, mode: str) -> Callable[[], object]:
    """One step: forward, backward and SGD, in autocast for bfloat16."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
    forward = cast(nn.Module, torch.compile(model, dynamic=False)) if mode.startswith("compiled") else model
    is_recorded = mode.endswith("graphs")

    def run() -> object:
        optimizer.zero_grad(set_to_none=True)
        # A recording makes the weights' 16-bit copies anew each time, as the step does.
        with torch.autocast(
            x.device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=not is_recorded
        ):
            loss = nn.functional.cross_entropy(forward(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    return record(run) if is_recorded else run


def resident_bytes(device: str) -> int:
    """What tensors hold on the GPU now; 0 on the CPU, where a step's memory is counted otherwise."""
    return torch.cuda.memory_allocated() if device == "cuda" else 0


def training_bytes(
    run: Callable[[], object], parameters: Iterable[Tensor], device: str, resident: int
) -> float:
    """Memory of a training step: the GPU allocator's peak, or what autograd saves beside the weights on the CPU.

    Args:
        resident: bytes that were on the GPU before this network was, which are other networks' and no part of it.
    """
    run()  # compile, and let the optimiser make its state
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return float(torch.cuda.max_memory_allocated() - resident)
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    for parameter in parameters:
        saved.pop(parameter.untyped_storage().data_ptr(), None)
    return float(sum(saved.values()))
