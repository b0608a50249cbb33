// The gradient of a convolution's weight: for every pixel of the kernel, input and output channel, the sum over all
// output pixels of input times output gradient. A tile of input and output channels is summed in registers.
#pragma once

#include "problem.h"
#include "vectors.h"

#include <vector>

namespace {
namespace weight_gradients {

using Problem = WeightGradient;

// The output's lines `first` to `last` of a frame, and of each the columns `left` to `end`.
struct Part {
  int64_t image, frame, first, last, left, end;
};

// The output's gradient at a part's pixels, for the channels of a block.
struct Grad {
  const float* first;
  int64_t pixel, line;
};

// Where maps have powers of two of channels, a block's lie in a few sets of the nearest cache alone: they are laid out
// side by side. A vector of 16 numbers is a cache line, whose sums leave the time.
template <int N>
Grad gather(const Problem& p, const Part& part, int64_t block, std::vector<float>& memory) {
  const int64_t map = part.image * p.frames + part.frame, width = part.end - part.left;
  const float* grad = p.grad + ((map * p.height + part.first) * p.width + part.left) * p.grad_pixel + block;
  if (WIDTH == 16) return {grad, p.grad_pixel, p.width * p.grad_pixel};
  memory.resize((part.last - part.first) * width * 8 * N);
  float* to = memory.data();
  for (int64_t line = part.first; line < part.last; line++, grad += p.width * p.grad_pixel)
    for (int64_t column = 0; column < width; column++)
      UNROLL for (int v = 0; v < 8 * N; v += WIDTH, to += WIDTH)
        store<WIDTH>(to, load<WIDTH>(grad + column * p.grad_pixel + v));
  return {memory.data(), 8 * N, width * 8 * N};
}

// Of a tile: R input channels from `channel` on, and the N * 8 output channels from `block` on.
template <int R, int N>
void tile(const Problem& p, const Part& part, const Grad& grads, int64_t block, int64_t tap, int64_t channel, bool is_first) {
  constexpr int kNumbers = 8 * N;
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  float* packed = p.packed + (block * taps + tap * kNumbers) * p.in_channels + channel * kNumbers;
  Sums<R, N> sums;
  sums.each([&](auto& sum, int r, int first, auto width) {
    sum = is_first ? Vector<width>{} : load<width>(packed + r * kNumbers + first);
  });
  const int64_t kt = tap / (p.kernel[1] * p.kernel[2]), kh = tap / p.kernel[2] % p.kernel[1], kw = tap % p.kernel[2];
  const int64_t in_frame = part.frame * p.stride[0] + kt - p.padding[0], shift = kw - p.padding[2];
  // The columns whose input lies within the map.
  int64_t left = part.left, end = part.end;
  while (left < end && left * p.stride[2] + shift < 0) left++;
  while (left < end && (end - 1) * p.stride[2] + shift >= p.in_width) end--;
  if (in_frame >= 0 && in_frame < p.in_frames)
    for (int64_t line = part.first; line < part.last; line++) {
      const int64_t in_line = line * p.stride[1] + kh - p.padding[1];
      if (in_line < 0 || in_line >= p.in_height) continue;
      const int64_t in_map = part.image * p.in_frames + in_frame;
      const float* x = p.x + ((in_map * p.in_height + in_line) * p.in_width + left * p.stride[2] + shift) * p.x_pixel;
      const float* grad = grads.first + (line - part.first) * grads.line + (left - part.left) * grads.pixel;
      for (int64_t column = left; column < end; column++, x += p.stride[2] * p.x_pixel, grad += grads.pixel) {
        __builtin_prefetch(x + channel + (WIDTH == 16 ? 8 : 4) * p.stride[2] * p.x_pixel);
        sums.template add<Float32, 0, R>(x + channel, grad, 1, Float32::value);
      }
    }
  sums.each([&](auto& sum, int r, int first, auto width) { store<width>(packed + r * kNumbers + first, sum); });
}

// Input channels in tiles as equal as can be.
constexpr int64_t kMost = WIDTH == 16 ? 7 : 12 / kBlock;

template <int N>
void channels(const Problem& p, const Part& part, const Grad& grads, int64_t block, int64_t tap, int64_t index, bool is_first) {
  const int64_t tiles = (p.in_channels + kMost - 1) / kMost;
  const int64_t channel = index * p.in_channels / tiles;
  switch ((index + 1) * p.in_channels / tiles - channel) {
#define CASE(R) case R: if constexpr (R <= kMost) tile<R, N>(p, part, grads, block, tap, channel, is_first); break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
#undef CASE
  }
}

void add(const Problem& p, const Part& part, int64_t begin, int64_t end, bool is_first, std::vector<float>& memory) {
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2], tiles = (p.in_channels + kMost - 1) / kMost;
  for (int64_t task = begin; task < end;) {
    const int64_t number = task / (taps * tiles), block = block_start(p.out_channels, number);
    const int64_t last = std::min(end, (number + 1) * taps * tiles);
    for_block(p.out_channels, number, [&](auto eighths) {
      const Grad grads = gather<eighths>(p, part, block, memory);
      for (; task < last; task++)
        channels<eighths>(p, part, grads, block, task / tiles % taps, task % tiles, is_first);
    });
  }
}

void weight_gradient(const Problem& given) {
  Problem p = given;
  if (p.kernel[1] == 1 && p.kernel[2] == 1 && p.stride[1] == 1 && p.stride[2] == 1) {  // a map may be one long line
    p.width *= p.height, p.in_width *= p.in_height;
    p.height = p.in_height = 1;
    if (p.kernel[0] == 1 && p.stride[0] == 1) {  // or all of them
      p.width *= p.batch * p.frames, p.in_width = p.width;
      p.batch = p.frames = p.in_frames = 1;
    }
  }
  // Pixels whose input and gradient stay in the second cache over all tiles; a block's gradient, in the nearest one.
  const int64_t pixels = WIDTH == 16 ? std::clamp<int64_t>(131072 / (p.in_channels + p.out_channels), 56, 448)
                                     : std::clamp<int64_t>(65536 / p.in_channels, 56, 160);
  const int64_t span = std::min(p.width, pixels), group = std::max<int64_t>(1, std::min(p.height, pixels / span));
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const int64_t tasks = blocks(p.out_channels) * taps * ((p.in_channels + kMost - 1) / kMost);
#pragma omp parallel for schedule(static) num_threads(p.threads)
  for (int64_t thread = 0; thread < p.threads; thread++) {
    const int64_t begin = thread * tasks / p.threads, end = (thread + 1) * tasks / p.threads;
    bool is_first = true;
    std::vector<float> memory;
    for (int64_t map = 0; map < p.batch * p.frames; map++)
      for (int64_t line = 0; line < p.height; line += group)
        for (int64_t left = 0; left < p.width; left += span) {
          const Part part{map / p.frames, map % p.frames, line, std::min(p.height, line + group),
                          left, std::min(p.width, left + span)};
          add(p, part, begin, end, is_first, memory);
          is_first = false;
        }
  }
}

}  // namespace weight_gradients
}  // namespace
