"""Inference as CUDA graphs: the kernels of a whole call, recorded once and started together."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# Recordings hold their own memory: of shapes that come after these many, calls are plain.
_MOST = 4


class Recorded(nn.Module):
    """A network whose calls on a GPU are recorded, for each shape of input that comes twice in a row.

    One clip's call is hundreds of short kernels, which take longer to start than to run. Elsewhere it is the network.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._last: Any = None
        self._recordings: dict[Any, tuple[Tensor, Callable[[], Any]]] = {}

    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        if not can_record(x):
            return self.model(x)
        key = x.shape, x.dtype, x.device, torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        if key not in self._recordings:
            comes_again, self._last = key == self._last, key
            if not comes_again or len(self._recordings) >= _MOST:
                return self.model(x)
            own = x.clone()
            self._recordings[key] = own, record(lambda: self.model(own))
        own, replay = self._recordings[key]
        own.copy_(x)
        return _copied(replay())  # the next call writes into the same memory

    def _apply(self, *arguments: Any, **options: Any) -> "Recorded":
        self._recordings.clear()  # they read the weights where these were
        return super()._apply(*arguments, **options)

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        self._recordings.clear()
        return super().load_state_dict(*arguments, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recordings": {}, "_last": None}


def can_record(x: Tensor) -> bool:
    """Whether what reads this can be recorded: on a GPU, and nobody else records or traces."""
    return x.is_cuda and not torch.compiler.is_compiling() and not torch.cuda.is_current_stream_capturing()


def record(run: Callable[[], Any]) -> Callable[[], Any]:
    """A call as a CUDA graph, which starts all of its kernels together: same shapes, same memory, each time."""
    # Beside the main stream, so that kernels are chosen and buffers made before the recording.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()

    def replay() -> Any:
        graph.replay()
        return output

    return replay


def _copied(output: Any) -> Any:
    if isinstance(output, tuple | list):
        return type(output)(_copied(part) for part in output)
    return output.clone() if isinstance(output, Tensor) else output
