"""What a trained network is used for in Python: the classes of videos, their features, and classifiers of those."""

from octvideo.inference.features import Features, features, read_features
from octvideo.inference.predict import predict
from octvideo.inference.probe import Probe, fit_probe

__all__ = ["Features", "Probe", "features", "fit_probe", "predict", "read_features"]
