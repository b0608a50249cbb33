"""Video data: decoding, clip sampling, transforms, manifests, and the data module over them.

The names below are imported on first use: what only reads manifests goes without torch, what only decodes without
Lightning, and each takes seconds.
"""

from typing import TYPE_CHECKING

from octvideo.lazy import on_first_use

if TYPE_CHECKING:
    from octvideo.data.clip_transform import ClipTransform
    from octvideo.data.datamodule import KineticsDataModule
    from octvideo.data.decode import VideoDecodeError, VideoReader, open_video
    from octvideo.data.manifest import Manifest, ManifestError, read_class_list, read_manifest

__all__ = [
    "ClipTransform",
    "KineticsDataModule",
    "Manifest",
    "ManifestError",
    "VideoDecodeError",
    "VideoReader",
    "open_video",
    "read_class_list",
    "read_manifest",
]

_HOME = {
    "ClipTransform": "clip_transform",
    "KineticsDataModule": "datamodule",
    **dict.fromkeys(("VideoDecodeError", "VideoReader", "open_video"), "decode"),
    **dict.fromkeys(("Manifest", "ManifestError", "read_class_list", "read_manifest"), "manifest"),
}

__getattr__, __dir__ = on_first_use(__name__, _HOME, __all__)
