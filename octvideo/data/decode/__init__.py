"""Decoding: the only place that knows a decoder. Everything above it sees frames and indices.

with open_video("clip.mp4") as video:
    frames = video.frames_at([0, 8, 16])  # uint8 (3, H, W, 3)
"""

import torch  # noqa: F401  decord must be imported after torch

from octvideo.data.decode._base import VideoDecodeError, VideoReader
from octvideo.data.decode._open import fallbacks, open_video
from octvideo.data.decode._packets import header_seconds
from octvideo.data.decode._pyav import PyAVReader
from octvideo.data.decode._scan import VideoScan, scan_video, whole_frames
from octvideo.data.decode._table import DECODERS, TABLE, cpu_failure, cuda_failure

__all__ = [
    "DECODERS",
    "TABLE",
    "PyAVReader",
    "VideoDecodeError",
    "VideoReader",
    "VideoScan",
    "cpu_failure",
    "cuda_failure",
    "fallbacks",
    "header_seconds",
    "open_video",
    "scan_video",
    "whole_frames",
]
