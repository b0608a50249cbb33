"""Every backend against a plain sequential PyAV decode of the same file."""

import logging
import os
import pickle
import sys
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from octvideo.data.decode import VideoDecodeError, _decord, cpu_failure, fallbacks, open_video

needs_torchcodec = pytest.mark.skipif(
    cpu_failure("torchcodec") is not None, reason="torchcodec does not work here"
)

# name: (file name, arguments of make_video, the backend that `auto` must take)
KINDS = {
    "h264": ("a.mp4", {}, "pyav"),
    "h264 mkv": ("a.mkv", {}, "pyav"),
    "no B-frames": ("a.mp4", {"options": {"g": "10", "bf": "0"}}, "pyav"),
    "open GOP": (
        "a.mp4",
        {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3:b-adapt=0:scenecut=0"}},
        "pyav",
    ),
    "10 bits": ("a.mp4", {"pix_fmt": "yuv420p10le"}, "pyav"),
    "transport stream": ("a.ts", {}, "pyav"),
    "mpeg4": ("a.mp4", {"codec": "mpeg4", "options": {"g": "10"}}, "decord"),
    "mpeg4 avi": ("a.avi", {"codec": "mpeg4", "options": {"g": "10", "bf": "2"}}, "pyav"),
    "mpeg2 program stream": (
        "a.mpg",
        {"codec": "mpeg2video", "fps": 25, "options": {"g": "8", "bf": "2"}},
        "pyav",
    ),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "options": {"g": "10", "cpu-used": "8"}}, "decord"),
    "variable rate": ("a.mkv", {"times": [i * 33 + (i % 7) * 4 for i in range(40)]}, "pyav"),
    "odd size": ("a.mp4", {"size": (51, 67), "pix_fmt": "yuv444p"}, "pyav"),
    "several slices a frame": (
        "a.mp4",
        {"options": {"x264-params": "keyint=12:slices=4:bframes=3:b-adapt=0"}},
        "pyav",
    ),
    "B-frames without reference": (
        "a.mp4",
        {"options": {"x264-params": "keyint=24:bframes=7:b-adapt=0:b-pyramid=none:scenecut=0"}},
        "pyav",
    ),
    "one frame": ("a.mp4", {"num_frames": 1}, "pyav"),
}


def sequential(path):
    """All frames `(N, H, W, 3)` and their times, decoded from front to back."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), [
            frame.time for frame in frames
        ]


@pytest.fixture
def kind_of_video(request, make_video, tmp_path):
    name, arguments, backend = KINDS[request.param]
    try:
        return make_video(tmp_path / name, **{"num_frames": 40, **arguments}), backend
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"this PyAV can't write it: {error}")


# Kinds that decord can't read or gets wrong.
NOT_FOR_DECORD = {
    "open GOP",
    "transport stream",
    "mpeg4 avi",
    "mpeg2 program stream",
}


@pytest.mark.parametrize("kind_of_video", KINDS, indirect=True)
@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_random_access_is_exact(kind_of_video, decoder):
    path, backend = kind_of_video
    check_random_access(path, decoder, backend if decoder == "auto" else "pyav")


@pytest.mark.parametrize(
    "kind_of_video", [kind for kind in KINDS if kind not in NOT_FOR_DECORD | {"10 bits"}], indirect=True
)
def test_random_access_with_decord_is_exact(kind_of_video):
    check_random_access(kind_of_video[0], "decord", "decord")


@pytest.mark.parametrize("kind_of_video", sorted(NOT_FOR_DECORD), indirect=True)
def test_decord_is_not_trusted_with(kind_of_video):
    with pytest.raises(VideoDecodeError, match="decoder 'auto' reads it another way"):
        open_video(kind_of_video[0], decoder="decord")


def check_random_access(path, decoder, backend):
    expected, times = sequential(path)
    with open_video(path, decoder=decoder) as video:
        assert video.decoder == backend
        assert video.num_frames == len(expected)
        assert video.pts_seconds == pytest.approx(sorted(times), abs=1e-6)
        assert video.rotation == 0
        # One by one in random order: each is a seek of its own.
        for index in np.random.default_rng(0).integers(0, len(expected), 12):
            frame = video.frames_at([index])
            assert frame.dtype == torch.uint8
            assert np.array_equal(frame[0].numpy(), expected[index]), index
        several = [index % len(expected) for index in (30, 3, 3, 17, 39, 0)]
        assert np.array_equal(video.frames_at(several).numpy(), expected[several])


def test_every_frame_is_reached_from_its_own_seek(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=50, options={"g": "7", "bf": "3"})
    expected, _ = sequential(path)
    with open_video(path, decoder="pyav") as video:
        for index in reversed(range(50)):
            assert np.array_equal(video.frames_at([index])[0].numpy(), expected[index])


def test_fps_is_the_average(make_video, tmp_path):
    with open_video(make_video(tmp_path / "a.mp4", fps=24)) as video:
        assert video.fps == pytest.approx(24)
    with open_video(make_video(tmp_path / "b.mp4", fps=60), decoder="pyav") as video:
        assert video.fps == pytest.approx(60)


@pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])
def test_indices_are_checked(make_video, tmp_path, decoder):
    path = make_video(tmp_path / "a.mp4", num_frames=5)
    with open_video(path, decoder=decoder) as video:
        assert video.frames_at([]).shape == (0, 64, 96, 3)
        for bad in (5, -1):
            with pytest.raises(IndexError, match=rf"{path}: frame index {bad} is not in \[0, 5\)"):
                video.frames_at([0, bad])


def test_the_bridge_of_others_does_no_harm(make_video, tmp_path):
    """Importing pytorchvideo.data sets decord's bridge to torch."""
    import decord

    path = make_video(tmp_path / "a.mp4")
    try:
        decord.bridge.set_bridge("torch")
        with open_video(path, decoder="decord") as video:
            assert np.array_equal(video.frames_at([7])[0].numpy(), sequential(path)[0][7])
    finally:
        decord.bridge.set_bridge("native")


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_is_applied(clips, angle):
    path = clips / f"video_{angle}.mov"
    stored, _ = sequential(path)
    upright = np.rot90(stored, -angle // 90, axes=(1, 2))
    for decoder in ("decord", "pyav"):
        with open_video(path, decoder=decoder) as video:
            assert video.rotation == angle
            assert np.array_equal(video.frames_at([0, 1, 2]).numpy(), upright)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("arm_wrestling.mp4", "pyav"),
        ("flipping_a_pancake.mkv", "pyav"),
        ("bt709_full_range.mp4", "pyav"),
        ("unordered.mov", "pyav"),
        ("av1_video.mkv", "pyav"),
        ("h264_10bits.mp4", "pyav"),
        ("h265_10bits.mp4", "pyav"),
        ("h265_video.mp4", "pyav"),
    ],
)
def test_real_clips(clips, name, backend):
    expected, _ = sequential(clips / name)
    indices = np.random.default_rng(0).integers(0, len(expected), 6)
    with open_video(clips / name) as video:
        assert video.decoder == backend
        assert np.array_equal(video.frames_at(indices).numpy(), expected[indices])


def test_a_damaged_video_is_one_error(clips):
    with open_video(clips / "corrupted.mp4") as video, pytest.raises(VideoDecodeError) as caught:
        video.frames_at(range(video.num_frames))
    assert caught.value.path == str(clips / "corrupted.mp4")
    assert "\n" not in str(caught.value)


def write_bytes(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "none.mp4", "no such file"),
        (lambda folder: folder, "is not a file"),
        (lambda folder: write_bytes(folder / "empty.mp4", b""), "Invalid data"),
        (lambda folder: write_bytes(folder / "text.mp4", b"no video here\n" * 50), "Invalid data"),
        (
            lambda folder: write_bytes(folder / "list.m3u8", b"ffconcat version 1.0\nfile a.mp4\n"),
            "playlist|No such file",
        ),
    ],
)
def test_unreadable_files_are_named(tmp_path, decoder, make, reason):
    path = make(tmp_path)
    with pytest.raises(VideoDecodeError, match=reason) as caught:
        open_video(path, decoder=decoder)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_truncated_file(make_video, tmp_path):
    whole = make_video(
        tmp_path / "a.mp4", options={"movflags": "faststart", "g": "10", "crf": "5"}, num_frames=60
    )
    cut = write_bytes(tmp_path / "cut.mp4", whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    expected, _ = sequential(whole)
    for decoder in ("auto", "pyav"):
        # Either the container is seen to be shorter, or its late frames are an error; never other frames.
        try:
            with open_video(cut, decoder=decoder) as video:
                assert np.array_equal(video.frames_at([0, 9]).numpy(), expected[[0, 9]])
                video.frames_at([59])
        except (VideoDecodeError, IndexError):
            continue
        pytest.fail("a frame that is not in the file was returned")


def test_a_file_without_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoDecodeError, match="has no video stream"):
        open_video(path)


def test_relative_paths_are_reported_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VideoDecodeError) as caught:
        open_video("gone.mp4")
    assert caught.value.path == str(tmp_path / "gone.mp4")


def test_the_error_survives_processes(tmp_path):
    error = VideoDecodeError(tmp_path / "a.mp4", "two\nlines")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert str(copy) == str(error) == f"{tmp_path / 'a.mp4'}: two lines"
    assert (copy.path, copy.reason) == (error.path, error.reason)
    # Out of a DataLoader's worker: tests/test_errors.py


def test_readers_stay_in_their_process(make_video, tmp_path):
    with open_video(make_video(tmp_path / "a.mp4")) as video, pytest.raises(TypeError, match="send its path"):
        pickle.dumps(video)


def test_a_fall_back_is_counted_and_named_once(make_video, tmp_path, caplog):
    fallbacks.clear()
    paths = [make_video(tmp_path / f"{name}.avi", codec="mpeg4") for name in "ab"]
    with caplog.at_level(logging.WARNING, logger="octvideo"):
        for path in paths:
            open_video(path).close()
    reason = "decoding with PyAV instead of decord, since the container is avi"
    assert [record.getMessage() for record in caplog.records] == [
        f"{reason} (the first such file: {paths[0]})"
    ]
    assert fallbacks == {reason: 2}


@pytest.mark.parametrize("decoder", ["decord", pytest.param("torchcodec", marks=needs_torchcodec)])
def test_a_decoder_asked_for_does_not_give_wrong_frames(make_video, tmp_path, decoder):
    path = make_video(tmp_path / "a.ts")
    with pytest.raises(
        VideoDecodeError, match="the container is mpegts; decoder 'auto' reads it another way"
    ):
        open_video(path, decoder=decoder)


def test_frames_that_decord_would_fill_in_are_not_returned(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=40, options={"g": "40", "bf": "0", "crf": "5"})
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    middle = start + (len(content) - start) // 3
    content[middle : middle + 200] = bytes(200)
    damaged = write_bytes(tmp_path / "damaged.mp4", bytes(content))
    expected, _ = sequential(path)
    with open_video(damaged) as video:
        assert np.array_equal(video.frames_at([0])[0].numpy(), expected[0])
        with pytest.raises(VideoDecodeError, match=r"damaged\.mp4: "):
            video.frames_at(range(40))


@pytest.mark.parametrize("decoder", ["auto", "pyav"])
def test_concealed_damage_is_an_error(make_video, tmp_path, decoder):
    """FFmpeg paints over what it can't decode: no frame of such a file may come out other than it was."""
    path = make_video(tmp_path / "a.mp4", num_frames=40, options={"g": "12", "bf": "0", "crf": "12"})
    content = path.read_bytes()
    start, end = content.index(b"mdat") + 100, content.index(b"moov") - 50
    expected, _ = sequential(path)
    found = 0
    for seed in range(20):
        damaged = bytearray(content)
        damaged[int(np.random.default_rng(seed).integers(start, end))] ^= 0x55
        with open_video(write_bytes(tmp_path / "damaged.mp4", bytes(damaged)), decoder=decoder) as video:
            for index in (5, 11, 17, 23, 29, 35):
                try:
                    frame = video.frames_at([index])[0].numpy()
                except VideoDecodeError:
                    found += 1
                else:
                    assert np.array_equal(frame, expected[index]), (seed, index)
    assert found > 0


def test_a_frame_size_that_changes_is_an_error(make_video, tmp_path):
    parts = [
        make_video(tmp_path / f"{high}.ts", size=(high, 96), num_frames=10).read_bytes() for high in (64, 48)
    ]
    path = write_bytes(tmp_path / "a.ts", b"".join(parts))
    with (
        open_video(path) as video,
        pytest.raises(VideoDecodeError, match=r"the frame size changes within the video|can't be decoded"),
    ):
        video.frames_at(range(video.num_frames))


def repeating(indices):
    """Stands for decord where it fills in a frame that it can't decode, which it does without a word."""
    import decord

    frames = np.stack([np.full((64, 96, 3), min(index, 5), dtype=np.uint8) for index in indices])
    return decord.nd.array(frames)


def test_silently_repeated_frames_are_found(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4", num_frames=10, codec="mpeg4")
    expected, _ = sequential(path)
    fallbacks.clear()
    with open_video(path) as video:
        video._reader = SimpleNamespace(get_batch=repeating)
        assert np.array_equal(video.frames_at([3, 5, 6]).numpy(), expected[[3, 5, 6]])
    assert fallbacks == {"decoding with PyAV instead of decord, since decord repeats frames": 1}
    with open_video(path, decoder="decord") as video:
        video._reader = SimpleNamespace(get_batch=repeating)
        with pytest.raises(VideoDecodeError, match="decord repeats frames"):
            video.frames_at([3, 5, 6])


def test_a_still_scene_is_no_fault(tmp_path):
    path = tmp_path / "still.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, dtype=np.uint8), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_video(path, decoder="decord") as video:
        assert np.array_equal(video.frames_at(range(12)).numpy(), sequential(path)[0])


def test_without_decord_auto_uses_pyav(make_video, tmp_path, monkeypatch):
    path = make_video(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "decord", None)
    cpu_failure.cache_clear()
    try:
        with open_video(path) as video:
            assert video.decoder == "pyav"
        with pytest.raises(ValueError, match="decoder is 'decord', which does not work on cpu: "):
            open_video(path, decoder="decord")
    finally:
        cpu_failure.cache_clear()


def test_unknown_decoder_and_device(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="decoder is 'cv2', allowed are auto, decord, torchcodec, pyav"):
        open_video(path, decoder="cv2")
    for device in ("tpu", "meta"):
        with pytest.raises(ValueError, match=f"device is '{device}', allowed are cpu, cuda and cuda:N"):
            open_video(path, device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_gpu_is_an_error_and_not_the_cpu(make_video, tmp_path):
    path = make_video(tmp_path / "a.mp4")
    with pytest.raises(
        ValueError, match=r"device is 'cuda', but no decoder works there: decord: .*; torchcodec: "
    ):
        open_video(path, device="cuda")
    with pytest.raises(
        ValueError, match="decoder is 'pyav', which does not work on cuda: decodes on the CPU only"
    ):
        open_video(path, device="cuda", decoder="pyav")


@needs_torchcodec
@pytest.mark.parametrize(
    "kind_of_video", [kind for kind in KINDS if "avi" not in kind and "stream" not in kind], indirect=True
)
def test_torchcodec_gives_the_same_frames(kind_of_video):
    path, _ = kind_of_video
    expected, _ = sequential(path)
    with open_video(path, decoder="torchcodec") as video:
        assert video.decoder == "torchcodec"
        assert video.num_frames == len(expected)
        indices = np.random.default_rng(0).integers(0, len(expected), 12)
        frames = video.frames_at(indices).numpy().astype(int)
        if bits_a_colour(path) > 8:
            assert np.abs(frames - expected[indices]).mean() < 4  # another conversion to 8 bits
        else:
            assert np.array_equal(frames, expected[indices])


def bits_a_colour(path):
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.format.components[0].bits


@needs_torchcodec
@pytest.mark.parametrize("angle", [90, 180, 270])
def test_torchcodec_applies_rotation(clips, angle):
    path = clips / f"video_{angle}.mov"
    with open_video(path, decoder="torchcodec") as video, open_video(path, decoder="pyav") as exact:
        assert torch.equal(video.frames_at([2, 0]), exact.frames_at([2, 0]))


def test_names_of_any_kind(make_video, tmp_path):
    path = make_video(tmp_path / "ein Ordner, größer" / "- 100%d видео.mp4")
    for decoder in ("decord", "pyav"):
        with open_video(os.fspath(path), decoder=decoder) as video:
            assert video.num_frames == 30


def test_a_width_that_decord_stumbles_over(make_video, tmp_path):
    """decord 0.6.0 gives no frame of a video 72 pixels wide."""
    path = make_video(tmp_path / "a.mp4", size=(48, 72), codec="mpeg4")
    with open_video(path, decoder="decord") as video, pytest.raises(VideoDecodeError, match="decord fails"):
        video.frames_at([3])
    with open_video(path) as video:
        assert np.array_equal(video.frames_at([3])[0].numpy(), sequential(path)[0][3])


def test_decord_by_hand_says_that_ten_bits_have_other_colours(tmp_path, make_video, caplog):
    path = make_video(tmp_path / "a.mp4", pix_fmt="yuv420p10le")
    _decord._tell_of_colours.cache_clear()
    for _ in range(2):
        with open_video(path, decoder="decord") as reader:
            assert reader.decoder == "decord"
    assert caplog.text.count("decord gives videos of 10 bits a colour other colours than PyAV") == 1
