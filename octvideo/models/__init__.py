"""Networks: pytorchvideo's and torchvision's backbones, their octave twins, and what they cost."""

from octvideo.card import Card, Published
from octvideo.models.cost import count_macs, count_parameters
from octvideo.models.describe import LayerCost, describe, layer_costs
from octvideo.models.for_training import for_training
from octvideo.models.head import reset_classifier
from octvideo.models.inflate import inflate
from octvideo.models.octavize import octavize
from octvideo.models.optimize import optimize
from octvideo.models.recipe import ModelSpec, kinetics400_names
from octvideo.models.table import MODELS, get_spec, list_models, model_card, register_model
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
    "for_training",
    "get_spec",
    "inflate",
    "kinetics400_names",
    "layer_costs",
    "list_models",
    "model_card",
    "octavize",
    "open_weights",
    "optimize",
    "register_model",
    "reset_classifier",
]
