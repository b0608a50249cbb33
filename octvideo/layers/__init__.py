"""Octave tensors and layers, on torch alone."""

from octvideo.layers.channelwise import OctaveActivation, OctavePool
from octvideo.layers.conv import OctaveConv2d, OctaveConv3d
from octvideo.layers.norm import OctaveBatchNorm2d, OctaveBatchNorm3d
from octvideo.layers.octave import ChannelSplit, Octave, split_channels

__all__ = [
    "ChannelSplit",
    "Octave",
    "OctaveActivation",
    "OctaveBatchNorm2d",
    "OctaveBatchNorm3d",
    "OctaveConv2d",
    "OctaveConv3d",
    "OctavePool",
    "split_channels",
]
