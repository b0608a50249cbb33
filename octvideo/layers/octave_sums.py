"""An octave convolution as sums of convolutions, which run as one kernel each on the CPU; they know no gradient.

B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from octvideo.kernels.convolve import SumOfConvolutions
from octvideo.layers.resample import downsample


class OctaveSums:
    """The outputs of an octave layer with average pooling and nearest upsampling, and what is behind them.

    ``high = relu(conv(high, W[high, high]) + upsample(conv(low, W[high, low])) + other)`` and
    ``low = relu(conv(downsample(high), W[low, high]) + conv(low, W[low, low]) + other)``. A layer that halves sizes
    gets its high input pooled; then what comes from low has the high output's size, and joins its sum.

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
        pooled: Tensor | None = None,
        others: Sequence[Tensor | None] = (None, None),
        relu: Sequence[bool] = (False, False),
        overwrite: Sequence[bool] = (False, False),
        gives_pooled: bool = False,
    ) -> tuple[Tensor, ...]:
        """The high output, the low one where there is one, and the high one pooled where it is asked for.

        Args:
            high, low: the layer's input.
            pooled: ``downsample(high)``, where it is there already.
            others: what is added to the outputs.
            relu, overwrite: as for ``SumOfConvolutions``, for each output.
            gives_pooled: whether the pooled high output is asked for.
        """
        inputs = {"high": high} if low is None else {"high": high, "low": low}
        up = None if self.upsampled is None else self.upsampled([inputs["low"]])[0]
        high_out, high_pooled = self.sums["high"](
            [inputs[name] for name in self.inputs["high"]], others[0], up,
            relu=relu[0], overwrite=overwrite[0], pool=gives_pooled,
        )  # fmt: skip
        outputs = [high_out]
        if "low" in self.sums:
            if "high" in self.inputs["low"]:
                inputs["high"] = downsample(high) if pooled is None else pooled
            if "low" in self.inputs["low"] and self.halves:
                inputs["low"] = downsample(inputs["low"])
            clips = [inputs[name] for name in self.inputs["low"]]
            outputs.append(self.sums["low"](clips, others[1], relu=relu[1], overwrite=overwrite[1])[0])
        return tuple(outputs) if high_pooled is None else (*outputs, high_pooled)
