"""Frame accuracy: 60 random indices in many kinds of files made with ffmpeg, against a sequential decode."""

import shutil
import subprocess

import av
import numpy as np
import pytest

from octvideo.data.decode import open_video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg makes the files"),
]

X264 = "-c:v libx264 -pix_fmt yuv420p -g 30"
X265 = "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=error:keyint=30"

# name: (file name, encoder options); {source} in place of the test picture where it is made from another kind.
KINDS = {
    "h264, closed GOP, B-frames": ("a.mp4", f"{X264} -bf 3"),
    "h264, open GOP": ("b.mp4", f"{X264} -x264-params open-gop=1:bframes=3"),
    "h264, no B-frames": ("c.mkv", f"{X264} -bf 0"),
    "h264, 10 bits": ("d.mp4", f"{X264} -pix_fmt yuv420p10le"),
    "h264, full range": ("e.mp4", "-c:v libx264 -pix_fmt yuvj420p -g 30"),
    "h264, odd size": ("f.mp4", "-vf scale=161:121 -c:v libx264 -pix_fmt yuv444p -g 30"),
    "h264, one frame": ("g.mp4", f"{X264} -frames:v 1"),
    "h264, variable rate": ("h.mp4", f"-vf select='not(mod(n\\,3))+lt(mod(n\\,17)\\,5)' -vsync vfr {X264}"),
    "h264, edit list": ("i.mp4", "-ss 1.3 -i {a.mp4} -c copy"),
    "h264, rotated": ("j.mp4", "-i {a.mp4} -c copy -metadata:s:v:0 rotate=90"),
    "h264, transport stream": ("k.ts", X264),
    "h264, intra refresh": ("l.ts", f"{X264} -x264-params intra-refresh=1"),
    "h264, intra refresh in mp4": ("x.mp4", f"{X264} -x264-params intra-refresh=1"),
    "h264, flv": ("m.flv", X264),
    "hevc, open GOP": ("n.mp4", X265),
    "hevc, closed GOP": ("o.mp4", f"{X265}:open-gop=0"),
    "hevc, cut open GOP": ("p.mkv", "-ss 1.3 -i {n.mp4} -c copy"),
    "vp8, hidden frames": (
        "q.webm",
        "-c:v libvpx -b:v 300k -g 30 -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 16",
    ),
    "vp9": ("r.webm", "-c:v libvpx-vp9 -b:v 300k -g 30 -cpu-used 8 -deadline realtime"),
    "av1": ("s.mkv", "-c:v libsvtav1 -g 30 -preset 12"),
    "mpeg4": ("t.mp4", "-c:v mpeg4 -b:v 500k -g 30"),
    "mpeg4, xvid avi": ("u.avi", "-c:v libxvid -b:v 500k -bf 2 -g 30"),
    "mpeg2, program stream": ("v.mpg", "-c:v mpeg2video -b:v 500k -g 15 -bf 2"),
    "wmv": ("w.wmv", "-c:v wmv2 -b:v 500k"),
}
PICTURE = "-f lavfi -i testsrc2=size=160x120:rate=30:duration=4"


@pytest.fixture(scope="module")
def make_kind(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")

    def make(kind):
        name, options = KINDS[kind]
        path = folder / name
        if not path.exists():
            words = options.split() if "-i " in options else [*PICTURE.split(), *options.split()]
            for number, word in enumerate(words):
                if word.startswith("{"):
                    words[number] = str(make(next(other for other in KINDS if KINDS[other][0] == word[1:-1])))
            done = subprocess.run(
                ["ffmpeg", "-v", "error", "-y", *words, str(path)], capture_output=True, text=True
            )
            if done.returncode:
                path.unlink(missing_ok=True)
                pytest.skip(f"this ffmpeg can't make it: {done.stderr.strip()[-200:]}")
        return path

    return make


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_no_frame_is_wrong(make_kind, kind, decoder):
    path = make_kind(kind)
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.best("video")))
    expected = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    expected = np.rot90(expected, frames[0].rotation // 90, axes=(1, 2))
    wrong = 0
    with open_video(path, decoder=decoder) as video:
        assert video.num_frames == len(expected)
        for index in np.random.default_rng(0).integers(0, len(expected), 60):
            wrong += not np.array_equal(video.frames_at([index])[0].numpy(), expected[index])
        spread = np.linspace(0, len(expected) - 1, 20).astype(int)
        assert np.array_equal(video.frames_at(spread).numpy(), expected[spread])
    assert wrong == 0
