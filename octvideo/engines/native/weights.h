// Between a weight as torch holds it and the order in which the kernels read it: blocks of output channels (problem.h),
// within each by pixel of the kernel, input channel, output channel. STEP input channels of one output channel lie
// together, zeros where there is none.
#pragma once

#include "problem.h"

namespace {
namespace weights {

// Calls `move(packed, weight)` for every number, in pieces that stay in the nearest cache.
template <class Number, int STEP, class Move>
void each(const Layout& l, Move move) {
  const int64_t taps = l.kernel[0] * l.kernel[1] * l.kernel[2], in_memory = (l.in_channels + STEP - 1) / STEP * STEP;
#pragma omp parallel for num_threads(l.threads)
  for (int64_t task = 0; task < blocks(l.out_channels) * taps; task++) {
    const int64_t block = task / taps, first = block_start(l.out_channels, block), tap = task % taps;
    const int64_t width = block_width(l.out_channels, block), count = std::min(width, l.out_channels - first);
    const int64_t t = tap / (l.kernel[1] * l.kernel[2]), h = tap / l.kernel[2] % l.kernel[1], w = tap % l.kernel[2];
    Number* weight = (Number*)l.weight + t * l.kernel_stride[0] + h * l.kernel_stride[1] + w * l.kernel_stride[2] +
        first * l.out_stride;
    Number* packed = (Number*)l.packed + (first * taps + tap * width) * in_memory;
    const auto one = [&](int64_t n, int64_t i) {
      const bool is_there = n < count && i < l.in_channels;
      move(packed[i / STEP * STEP * width + n * STEP + i % STEP],
           is_there ? weight + n * l.out_stride + i * l.in_stride : nullptr);
    };
    if (l.out_stride == 1) {
      for (int64_t i = 0; i < in_memory; i++)
        for (int64_t n = 0; n < width; n++) one(n, i);
      continue;
    }
    for (int64_t c = 0; c < in_memory; c += 16)
      for (int64_t n = 0; n < width; n++)
        for (int64_t i = c; i < std::min(c + 16, in_memory); i++) one(n, i);
  }
}

template <class Number, int STEP>
void pack(const Layout& l) {
  each<Number, STEP>(l, [](Number& packed, const Number* weight) { packed = weight ? *weight : Number(0); });
}

template <class Number, int STEP>
void unpack(const Layout& l) {
  each<Number, STEP>(l, [](Number& packed, Number* weight) {
    if (weight) *weight = packed;
  });
}

}  // namespace weights
}  // namespace
