"""Small real videos for tests that go through the command line."""

from pathlib import Path

import av
import numpy as np


def write_video(path: Path, *, num_frames: int = 24, side: int = 48, fps: int = 12, seed: int = 0) -> Path:
    """An H.264 video of a bright square that moves over noise."""
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 120, (side, side + 16, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = side + 16, side, "yuv420p"
        for index in range(num_frames):
            image = background.copy()
            left = (seed * 5 + index) % (side - 12)
            image[8:20, left : left + 12] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_dataset(folder: Path, *, num_videos: int = 4, classes: tuple[str, ...] = ("left", "right")) -> Path:
    """`num_videos` videos, `all.csv` that lists them with labels in turn, `classes.txt`."""
    rows = []
    for index in range(num_videos):
        write_video(folder / f"video_{index}.mp4", seed=index)
        rows.append(f"video_{index}.mp4 {index % len(classes)}\n")
    (folder / "all.csv").write_text("".join(rows))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    return folder
