// What Python hands to the kernels (problem.py has the same structures), and the order in which weights lie.
// Numbers of a map lie as B T H W C; `*_pixel` numbers lie from one pixel to the next.
#pragma once

#include <algorithm>
#include <cstdint>

// See convolve.cpp. Weights are packed, see weights.cpp.
struct Convolution {
  const void* x[2];
  const void* w[2];
  int64_t channels[2], x_pixel[2];
  int64_t sources;
  const float* bias;
  const void* other;
  const void* up;
  void* out;
  void* pooled;
  int64_t other_pixel, up_pixel, out_pixel, pooled_pixel;
  int64_t batch, frames, height, width, out_channels;  // of the output
  int64_t in_frames, in_height, in_width;
  int64_t kernel[3], padding[3], stride[3];
  int64_t relu, threads;
};

// See weight_gradient.cpp.
struct WeightGradient {
  const float* x;
  const float* grad;
  float* packed;  // written
  int64_t x_pixel, grad_pixel, in_channels, out_channels;
  int64_t batch, frames, height, width;  // of the output
  int64_t in_frames, in_height, in_width;
  int64_t kernel[3], padding[3], stride[3];
  int64_t threads;
};

// See weights.cpp. Strides are in numbers, from one output channel, input channel or pixel to the next.
struct Layout {
  void* weight;
  void* packed;
  int64_t out_channels, in_channels, out_stride, in_stride;
  int64_t kernel[3], kernel_stride[3];
  int64_t threads;
};

// Output channels are computed in blocks of kBlock eighths, of as many vectors as leave registers (AVX2 has 16 of them, the
// others 32) for some pixels. The last block is smaller; a last one of one eighth alone shares with the one before it.
constexpr int64_t kBlock = WIDTH == 16 ? 8 : WIDTH == 8 ? 3 : 2;

inline int64_t eighths(int64_t out_channels) { return (out_channels + 7) / 8; }

inline int64_t blocks(int64_t out_channels) { return (eighths(out_channels) + kBlock - 1) / kBlock; }

// The first output channel of a block; of the one behind the last: their number, rounded up to eighths.
inline int64_t block_start(int64_t out_channels, int64_t block) {
  const int64_t all = eighths(out_channels), last = blocks(out_channels) - 1;
  if (block > last) return 8 * all;
  return 8 * (WIDTH == 8 && block == last && block > 0 && all % kBlock == 1 ? all - 2 : block * kBlock);
}

// Its channels, and zeros in packed weights up to a multiple of 8.
inline int64_t block_width(int64_t out_channels, int64_t block) {
  return block_start(out_channels, block + 1) - block_start(out_channels, block);
}

// Calls `run` with a block's number of eighths as a constant.
template <class Run>
inline void for_block(int64_t out_channels, int64_t block, Run run) {
  switch (block_width(out_channels, block) / 8) {
#define CASE(N) case N: if constexpr (N <= kBlock) run(std::integral_constant<int, N>()); break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#undef CASE
  }
}
