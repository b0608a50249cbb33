"""Video data: decoding, clip sampling, transforms, manifests, and the data module over them."""

from octvideo.data.datamodule import KineticsDataModule
from octvideo.data.decode import VideoDecodeError, VideoReader, open_video
from octvideo.data.manifest import Manifest, ManifestError, read_class_list, read_manifest

__all__ = [
    "KineticsDataModule",
    "Manifest",
    "ManifestError",
    "VideoDecodeError",
    "VideoReader",
    "open_video",
    "read_class_list",
    "read_manifest",
]
