// Between a weight as torch holds it and the order in which the kernels read it:
// blocks of 64 output channels, within each by pixel of the kernel, input channel, output channel.

#include <algorithm>
#include <cstdint>

// The same as in weights.py. Strides are in numbers, from one output channel, input channel or pixel to the next.
struct Layout {
  float* weight;
  float* packed;
  int64_t out_channels, in_channels, out_stride, in_stride;
  int64_t kernel[3], kernel_stride[3];
  int64_t threads;
};

namespace {

// Calls `move(packed, weight)` for every number, in pieces that stay in the nearest cache.
template <class Move>
void each(const Layout& l, Move move) {
  const int64_t taps = l.kernel[0] * l.kernel[1] * l.kernel[2], blocks = (l.out_channels + 63) / 64;
#pragma omp parallel for num_threads(l.threads)
  for (int64_t task = 0; task < blocks * taps; task++) {
    const int64_t first = task / taps * 64, tap = task % taps;
    const int64_t count = std::min<int64_t>(64, l.out_channels - first), width = (count + 7) / 8 * 8;
    const int64_t t = tap / (l.kernel[1] * l.kernel[2]), h = tap / l.kernel[2] % l.kernel[1], w = tap % l.kernel[2];
    float* weight = l.weight + t * l.kernel_stride[0] + h * l.kernel_stride[1] + w * l.kernel_stride[2] +
        first * l.out_stride;
    float* packed = l.packed + (first * taps + tap * width) * l.in_channels;
    const auto one = [&](int64_t n, int64_t i) {
      move(packed[i * width + n], n < count ? weight + n * l.out_stride + i * l.in_stride : nullptr);
    };
    if (l.out_stride == 1) {
      for (int64_t i = 0; i < l.in_channels; i++)
        for (int64_t n = 0; n < width; n++) one(n, i);
      continue;
    }
    for (int64_t c = 0; c < l.in_channels; c += 16)
      for (int64_t n = 0; n < width; n++)
        for (int64_t i = c; i < std::min(c + 16, l.in_channels); i++) one(n, i);
  }
}

}  // namespace

extern "C" void pack(const Layout* l) {
  each(*l, [](float& packed, const float* weight) { packed = weight ? *weight : 0.0f; });
}

extern "C" void unpack(const Layout* l) {
  each(*l, [](float& packed, float* weight) {
    if (weight) *weight = packed;
  });
}
