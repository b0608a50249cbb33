"""Networks: pytorchvideo's backbones, their octave twins, and what they cost."""

from octvideo.models.cost import count_macs, count_parameters
from octvideo.models.describe import LayerCost, describe, layer_costs
from octvideo.models.inflate import inflate
from octvideo.models.octavize import octavize
from octvideo.models.optimize import optimize
from octvideo.models.table import MODELS, ModelSpec, create_model, get_spec

__all__ = [
    "MODELS",
    "LayerCost",
    "ModelSpec",
    "count_macs",
    "count_parameters",
    "create_model",
    "describe",
    "get_spec",
    "inflate",
    "layer_costs",
    "octavize",
    "optimize",
]
