"""Video data: decoding, clip sampling, transforms, manifests, and the data module over them."""

from typing import TYPE_CHECKING, Any

from octvideo.data.decode import VideoDecodeError, VideoReader, open_video
from octvideo.data.manifest import Manifest, ManifestError, read_class_list, read_manifest

if TYPE_CHECKING:
    from octvideo.data.clip_transform import ClipTransform
    from octvideo.data.datamodule import KineticsDataModule

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


def __getattr__(name: str) -> Any:
    """Imports what needs torch's or Lightning's seconds on first use: processes that only decode go without."""
    if name == "KineticsDataModule":
        from octvideo.data.datamodule import KineticsDataModule

        return KineticsDataModule
    if name == "ClipTransform":
        from octvideo.data.clip_transform import ClipTransform

        return ClipTransform
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
