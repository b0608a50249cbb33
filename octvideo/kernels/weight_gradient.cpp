// The gradient of a convolution's weight: for every pixel of the kernel, input and output channel, the sum over all
// output pixels of input times output gradient. A tile of input and output channels is summed in registers.

#include "vectors.h"

#include <algorithm>

// The same as in training.py. Numbers of a map lie as B T H W C; `*_pixel` numbers lie from one pixel to the next.
struct Problem {
  const float* x;
  const float* grad;
  float* packed;  // written: see weights.cpp
  int64_t x_pixel, grad_pixel, in_channels, out_channels;
  int64_t batch, frames, height, width;  // of the output
  int64_t in_frames, in_height, in_width;
  int64_t kernel[3], padding[3], stride[3];
  int64_t threads;
};

namespace {

// The output's lines `first` to `last` of a frame, and of each the columns `left` to `end`.
struct Part {
  int64_t image, frame, first, last, left, end;
};

// Of a tile: R input channels from `channel` on, and the output channels of a block from `block` on.
template <int R, int Z, int Y>
void tile(const Problem& p, const Part& part, int64_t block, int64_t tap, int64_t channel, bool is_first) {
  constexpr int kWidth = 16 * Z + 8 * Y;
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  float* packed = p.packed + (block * taps + tap * kWidth) * p.in_channels + channel * kWidth;
  Sums<R, Z, Y> sums;
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int v = 0; v < Z; v++)
      sums.z[r][v] = is_first ? _mm512_setzero_ps() : _mm512_loadu_ps(packed + r * kWidth + 16 * v);
    if (Y) sums.y[r] = is_first ? _mm256_setzero_ps() : _mm256_loadu_ps(packed + r * kWidth + 16 * Z);
  }
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
      const int64_t in_map = part.image * p.in_frames + in_frame, map = part.image * p.frames + part.frame;
      const float* x = p.x + ((in_map * p.in_height + in_line) * p.in_width + left * p.stride[2] + shift) * p.x_pixel;
      const float* grad = p.grad + ((map * p.height + line) * p.width + left) * p.grad_pixel + block;
      for (int64_t column = left; column < end; column++, x += p.stride[2] * p.x_pixel, grad += p.grad_pixel) {
        _mm_prefetch(x + channel + 8 * p.stride[2] * p.x_pixel, _MM_HINT_T0);
        step<Float32, Z, Y, 0, R>(sums, x + channel, grad, 1, Float32::value);
      }
    }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int v = 0; v < Z; v++) _mm512_storeu_ps(packed + r * kWidth + 16 * v, sums.z[r][v]);
    if (Y) _mm256_storeu_ps(packed + r * kWidth + 16 * Z, sums.y[r]);
  }
}

// Input channels in tiles as equal as can be, so that at most 28 vectors are summed at a time.
constexpr int kMost = 7;

template <int Z, int Y>
void channels(const Problem& p, const Part& part, int64_t block, int64_t tap, int64_t index, bool is_first) {
  const int64_t tiles = (p.in_channels + kMost - 1) / kMost;
  const int64_t channel = index * p.in_channels / tiles;
  switch ((index + 1) * p.in_channels / tiles - channel) {
#define CASE(R) case R: tile<R, Z, Y>(p, part, block, tap, channel, is_first); break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
#undef CASE
  }
}

void add(const Problem& p, const Part& part, int64_t begin, int64_t end, bool is_first) {
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2], tiles = (p.in_channels + kMost - 1) / kMost;
  for (int64_t task = begin; task < end; task++) {
    const int64_t block = task / (taps * tiles) * 64, tap = task / tiles % taps, index = task % tiles;
    switch (std::min<int64_t>(64, p.out_channels - block) / 8) {
      case 1: channels<0, 1>(p, part, block, tap, index, is_first); break;
      case 2: channels<1, 0>(p, part, block, tap, index, is_first); break;
      case 3: channels<1, 1>(p, part, block, tap, index, is_first); break;
      case 4: channels<2, 0>(p, part, block, tap, index, is_first); break;
      case 5: channels<2, 1>(p, part, block, tap, index, is_first); break;
      case 6: channels<3, 0>(p, part, block, tap, index, is_first); break;
      case 7: channels<3, 1>(p, part, block, tap, index, is_first); break;
      default: channels<4, 0>(p, part, block, tap, index, is_first);
    }
  }
}

}  // namespace

extern "C" void weight_gradient(const Problem* given) {
  Problem p = *given;
  if (p.kernel[1] == 1 && p.kernel[2] == 1 && p.stride[1] == 1 && p.stride[2] == 1) {  // a map may be one long line
    p.width *= p.height, p.in_width *= p.in_height;
    p.height = p.in_height = 1;
  }
  // Pixels whose input and gradient stay in the second cache over all tiles.
  const int64_t pixels = std::clamp<int64_t>(131072 / (p.in_channels + p.out_channels), 56, 448);
  const int64_t span = std::min(p.width, pixels), group = std::max<int64_t>(1, std::min(p.height, pixels / span));
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const int64_t tasks = (p.out_channels + 63) / 64 * taps * ((p.in_channels + kMost - 1) / kMost);
#pragma omp parallel for schedule(static) num_threads(p.threads)
  for (int64_t thread = 0; thread < p.threads; thread++) {
    const int64_t begin = thread * tasks / p.threads, end = (thread + 1) * tasks / p.threads;
    bool is_first = true;
    for (int64_t map = 0; map < p.batch * p.frames; map++)
      for (int64_t line = 0; line < p.height; line += group)
        for (int64_t left = 0; left < p.width; left += span) {
          const Part part{map / p.frames, map % p.frames, line, std::min(p.height, line + group),
                          left, std::min(p.width, left + span)};
          add(p, part, begin, end, is_first);
          is_first = false;
        }
  }
}
