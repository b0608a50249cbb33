"""An octave convolution as sums of convolutions, which run as one kernel each, for inference on the CPU.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from octvideo.kernels.convolve import SumOfConvolutions
from octvideo.layers.resample import downsample


class OctaveSums:
    """The outputs of an octave layer with average pooling and nearest upsampling, and what is behind them.

    ``high = relu(conv(high, W[high, high]) + upsample(conv(low, W[high, low])) + other)`` and
    ``low = relu(conv(downsample(high), W[low, high]) + conv(low, W[low, low]) + other)``. A layer that halves sizes gets
    its high input pooled; then what comes from low has the high output's size, and joins its sum.

    Args:
        weights: of the paths that are there, by (out, into), ``(C_out, C_in, kT, kH, kW)``.
        biases: of the outputs that are there.
        time_stride, padding: of the layer.
        halves: whether the layer halves sizes.
    """

    def __init__(
        self,
        weights: Mapping[tuple[str, str], Tensor],
        biases: Mapping[str, Tensor | None],
        time_stride: int,
        padding: Sequence[int],
        halves: bool,
    ) -> None:
        self.halves = halves
        self.inputs = {out: [i for i in ("high", "low") if (out, i) in weights] for out in biases}
        self.upsampled: SumOfConvolutions | None = None
        stride = (time_stride, 1, 1)
        if not halves and "low" in self.inputs["high"]:
            self.inputs["high"] = ["high"]
            self.upsampled = SumOfConvolutions([weights["high", "low"]], None, stride, padding)
        self.sums = {
            out: SumOfConvolutions([weights[out, i] for i in inputs], biases[out], stride, padding)
            for out, inputs in self.inputs.items()
        }

    def __call__(
        self,
        high: Tensor,
        low: Tensor | None,
        others: Sequence[Tensor | None],
        relu: Sequence[bool],
        overwrite: Sequence[bool],
    ) -> list[Tensor]:
        """The high output and, where there is one, the low one; ``others`` are added to them."""
        inputs = {"high": high, "low": low}
        up = None if self.upsampled is None else self.upsampled([low])[0]
        outputs = []
        for i, (out, kernel) in enumerate(self.sums.items()):
            if out == "low":
                inputs = {"high": downsample(high) if "high" in self.inputs[out] else None, "low": low}
                if self.halves and low is not None:
                    inputs["low"] = downsample(low)
            clips = [inputs[name] for name in self.inputs[out]]
            outputs.append(
                kernel(clips, others[i], up if out == "high" else None, relu=relu[i], overwrite=overwrite[i])[0]
            )
        return outputs
