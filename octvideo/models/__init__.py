"""Networks: pytorchvideo's and torchvision's backbones, their octave twins, and what they cost."""

from octvideo.card import Card, Published
from octvideo.models.cost import count_macs, count_parameters
from octvideo.models.describe import LayerCost, describe, layer_costs
from octvideo.models.inflate import inflate
from octvideo.models.octavize import octavize
from octvideo.models.optimize import optimize
from octvideo.models.recipe import ModelSpec, kinetics400_names
from octvideo.models.table import MODELS, get_spec, model_card
from octvideo.models.weights import create_model, open_weights

__all__ = [
    "MODELS",
    "Card",
    "LayerCost",
    "ModelSpec",
    "Published",
    "count_macs",
    "count_parameters",
    "create_model",
    "describe",
    "get_spec",
    "inflate",
    "kinetics400_names",
    "layer_costs",
    "model_card",
    "octavize",
    "open_weights",
    "optimize",
]
