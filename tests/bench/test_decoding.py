"""The benchmark's bookkeeping; how fast anything is, is not for a test to say."""

import pytest

from octvideo.bench.decoding import bench_decode


def test_every_decoder_is_listed(make_video, tmp_path):
    good = str(make_video(tmp_path / "a.mp4", num_frames=20))
    stream = str(make_video(tmp_path / "b.ts", num_frames=20))
    rates = bench_decode(
        [good, stream], num_clips=4, rounds=2, decoders=("pyav", "decord"), devices=("cpu", "cuda")
    )
    assert [(rate.decoder, rate.device) for rate in rates] == [
        ("pyav", "cpu"),
        ("decord", "cpu"),
        ("pyav", "cuda"),
        ("decord", "cuda"),
    ]
    pyav, decord, pyav_cuda, _ = rates
    assert pyav.ratio == 1
    assert pyav.num_failed == 0
    assert pyav.spread[0] <= pyav.clips_per_second <= pyav.spread[1]
    assert decord.num_failed == 2  # decord is not trusted with the transport stream
    assert pyav_cuda.why_not == "decodes on the CPU only"
    assert pyav_cuda.clips_per_second == 0


def test_bad_arguments(make_video, tmp_path):
    with pytest.raises(ValueError, match="paths is 0, allowed is 1 or more"):
        bench_decode([])
    with pytest.raises(ValueError, match="rounds is 0, allowed is 1 or more"):
        bench_decode(["a.mp4"], rounds=0)
