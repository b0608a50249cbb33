"""A network's graph, by ``torch.fx``."""

from typing import Any

from torch import fx, nn

from octvideo.errors import InputError
from octvideo.layers.flat import FlatConv3d
from octvideo.models.inception import SameMaxPool3d, SamePad
from octvideo.models.pathways import MeanOverPositions


def is_plain(module: nn.Module) -> bool:
    """Whether a convolution or norm runs as torch's own: a subclass without a forward of its own does."""
    own = (nn.Conv2d.forward, nn.Conv3d.forward, FlatConv3d.forward, nn.BatchNorm2d.forward)
    return type(module).forward in own


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, nn.Identity):
            return False  # pytorchvideo passes lists of pathways through it, which a trace has to see
        if isinstance(m, MeanOverPositions | SamePad | SameMaxPool3d):
            return True  # they look at their mode or at sizes
        return is_plain(m) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> fx.Graph:
    """The graph that ``model`` runs, the same in training and in evaluation.

    Raises:
        ValueError: its forward depends on the input's values or on ``self.training``, or it is not Python.
    """
    graphs: list[fx.Graph] = []
    was_training = {module: module.training for module in model.modules()}
    try:
        for mode in (True, False):
            model.train(mode)
            graphs.append(_Tracer().trace(model))
    except Exception as error:  # whatever the network's own code raises on a proxy
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{type(model).__name__} cannot be traced by torch.fx ({reason}); "
            "octavize the part of it that is a plain graph of layers"
        ) from error
    finally:
        for module, mode in was_training.items():
            module.training = mode
    if _code(graphs[0]) != _code(graphs[1]):
        raise InputError(
            f"{type(model).__name__}.forward does something else in training than in evaluation; "
            "use modules (nn.Dropout, say) for what differs"
        )
    return graphs[1]


def _code(graph: fx.Graph) -> Any:
    return [(n.op, str(n.target), str(n.args), str(n.kwargs)) for n in graph.nodes]
