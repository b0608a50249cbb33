"""Networks: pytorchvideo's backbones, their octave twins, and what they cost."""

from octvideo.models.cost import count_macs, count_parameters
from octvideo.models.octavize import octavize
from octvideo.models.table import MODELS, ModelSpec, create_model, get_spec

__all__ = ["MODELS", "ModelSpec", "count_macs", "count_parameters", "create_model", "get_spec", "octavize"]
