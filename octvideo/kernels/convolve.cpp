// A sum of convolutions of channels-last clips, with all that is behind it:
//
//     out = relu(conv(x0, w0) + conv(x1, w1) + bias + other + upsample(up)),    pooled = average2x2(out)
//
// All but x0 and w0 may be left out. One tile of output pixels and channels is summed in registers, over every input
// channel, pixel of the kernel and source, and written once.

#include "problem.h"
#include "vectors.h"

namespace {

using Problem = Convolution;

// Pixels of a tile, at most: as many as there are registers for the sums of each pixel's N * 8 channels.
template <int N>
constexpr int kMostPixels = WIDTH == 8 ? 12 / N : WIDTH == 4 ? 12 / N : N <= 4 ? 14 : 7;

// Adds one pixel of the kernel for the tile's pixels FIRST to LAST; the others lie beyond the border.
template <class E, int R, int N, int FIRST, int LAST>
INLINE void add(Sums<R, N>& sums, const typename E::Number* x, const typename E::Number* w, int64_t channels,
                int64_t pixel) {
  const int64_t whole = channels / E::kStep * E::kStep;
  for (int64_t line = 0; line < whole; line += E::kLine) {
    UNROLL for (int r = FIRST; r < LAST; r++) __builtin_prefetch(x + (R + r) * pixel + line);  // the next tile's pixels
    const int64_t end = std::min<int64_t>(line + E::kLine, whole);
    for (int64_t c = line; c < end; c += E::kStep, w += 8 * N * E::kStep)
      sums.template add<E, FIRST, LAST>(x + c, w, pixel, E::value);
  }
  if (whole < channels) sums.template add<E, FIRST, LAST>(x + whole, w, pixel, E::last_value);
}

// R pixels from column `left` on, of the N * 8 channels from `channel` on.
template <class E, int R, int N>
void tile(const Problem& p, int64_t image, int64_t frame, int64_t line, int64_t left, int64_t channel) {
  using Number = typename E::Number;
  Sums<R, N> sums;
  sums.each([&](auto& sum, int, int first, auto width) { sum = load<width>(p.bias + channel + first); });
  const int64_t map = image * p.frames + frame;
  const int64_t at = (map * p.height + line) * p.width + left;
  const int64_t up_line = (map * ((p.height + 1) / 2) + line / 2) * ((p.width + 1) / 2);
  // What is read and written behind the sums is far away: ask for it now.
  for (int r = 0; r < R; r++)
    for (int c = 0; c < 8 * N; c += E::kLine) {
      if (p.other) __builtin_prefetch((const Number*)p.other + (at + r) * p.other_pixel + channel + c);
      if (p.up) __builtin_prefetch((const Number*)p.up + (up_line + (left + r) / 2) * p.up_pixel + channel + c);
      if (p.other != p.out) __builtin_prefetch((const Number*)p.out + (at + r) * p.out_pixel + channel + c, 1);
    }
  const int64_t in_left = left * p.stride[2] - p.padding[2];
  for (int64_t s = 0; s < p.sources; s++) {
    const int64_t channels = p.channels[s], in_memory = (channels + E::kStep - 1) / E::kStep * E::kStep;
    const int64_t pixel = p.x_pixel[s], step = pixel * p.stride[2];
    const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2], tap = in_memory * 8 * N;
    const Number* block = (const Number*)p.w[s] + channel * taps * in_memory;
    for (int64_t kt = 0; kt < p.kernel[0]; kt++) {
      const int64_t in_frame = frame * p.stride[0] + kt - p.padding[0];
      if (in_frame < 0 || in_frame >= p.in_frames) continue;
      for (int64_t kh = 0; kh < p.kernel[1]; kh++) {
        const int64_t in_line = line * p.stride[1] + kh - p.padding[1];
        if (in_line < 0 || in_line >= p.in_height) continue;
        const Number* x = (const Number*)p.x[s] +
            (((image * p.in_frames + in_frame) * p.in_height + in_line) * p.in_width + in_left) * pixel;
        const Number* w = block + (kt * p.kernel[1] + kh) * p.kernel[2] * tap;
        for (int64_t kw = 0; kw < p.kernel[2]; kw++, x += pixel, w += tap) {
          const bool at_left = in_left + kw < 0;
          const bool at_right = in_left + kw + (R - 1) * p.stride[2] >= p.in_width;
          if (at_left && at_right)
            add<E, R, N, 1, R - 1>(sums, x, w, channels, step);
          else if (at_left)
            add<E, R, N, 1, R>(sums, x, w, channels, step);
          else if (at_right)
            add<E, R, N, 0, R - 1>(sums, x, w, channels, step);
          else
            add<E, R, N, 0, R>(sums, x, w, channels, step);
        }
      }
    }
  }
  sums.each([&](auto& sum, int r, int first, auto width) {
    const int64_t c = channel + first, count = p.out_channels - c;
    if (p.other) sum += E::template load<width>((const Number*)p.other + (at + r) * p.other_pixel + c, count);
    if (p.up) sum += E::template load<width>((const Number*)p.up + (up_line + (left + r) / 2) * p.up_pixel + c, count);
    if (p.relu) sum = sum < 0 ? Vector<width>{} : sum;  // what is no number stays none, as in torch
    E::template store<width>((Number*)p.out + (at + r) * p.out_pixel + c, sum, count);
  });
}

// Columns `left` to `end` of a line, in tiles as equal as can be.
template <class E, int N>
void columns(const Problem& p, int64_t image, int64_t frame, int64_t line, int64_t left, int64_t end,
             int64_t channel) {
  for (int64_t tiles = (end - left + kMostPixels<N> - 1) / kMostPixels<N>; tiles > 0; tiles--) {
    const int64_t count = (end - left + tiles - 1) / tiles;
    switch (count) {
#define CASE(R) case R: if constexpr (R <= kMostPixels<N>) tile<E, R, N>(p, image, frame, line, left, channel); break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
      CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#undef CASE
    }
    left += count;
  }
}

// Averages of 2x2 pixels of the lines and columns given, for some channels; at a border, of those that exist.
template <class E>
void pool(const Problem& p, int64_t map, int64_t first, int64_t last, int64_t left, int64_t end, int64_t channel,
          int64_t channels) {
  using Number = typename E::Number;
  for (int64_t line = first; line < last; line += 2)
    for (int64_t column = left; column < end; column += 2) {
      const int64_t high = std::min<int64_t>(2, p.height - line), wide = std::min<int64_t>(2, p.width - column);
      const int64_t pixel = (map * ((p.height + 1) / 2) + line / 2) * ((p.width + 1) / 2) + column / 2;
      const Number* x = (const Number*)p.out + ((map * p.height + line) * p.width + column) * p.out_pixel + channel;
      Number* y = (Number*)p.pooled + pixel * p.pooled_pixel + channel;
      const float scale = 1.0f / float(high * wide);
      for (int64_t c = 0; c < channels; c += WIDTH) {
        Vector<WIDTH> sum{};
        for (int64_t i = 0; i < high; i++)
          for (int64_t j = 0; j < wide; j++)
            sum += E::template load<WIDTH>(x + (i * p.width + j) * p.out_pixel + c, channels - c);
        E::template store<WIDTH>(y + c, sum * scale, channels - c);
      }
    }
}

template <class E>
void convolve(const Problem& given) {
  Problem p = given;
  const bool pointwise = p.kernel[1] == 1 && p.kernel[2] == 1 && p.stride[1] == 1 && p.stride[2] == 1;
  if (pointwise && !p.up && !p.pooled) {  // a map may be one long line
    p.width *= p.height, p.in_width *= p.in_height;
    p.height = p.in_height = 1;
  }
  // A task is some 224 pixels: what they read and write stays in the caches over all blocks of channels.
  const int64_t pixels = 224;
  const int64_t span = std::min(p.width, pixels), spans = (p.width + span - 1) / span;
  int64_t group = std::max<int64_t>(2, std::min(p.height, pixels / span) / 2 * 2);  // even: they are pooled in pairs
  while (group > 2 && p.batch * p.frames * ((p.height + group - 1) / group) < 2 * p.threads) group -= 2;
  const int64_t groups = (p.height + group - 1) / group, tasks = p.batch * p.frames * groups * spans;
  // Few tasks: every block of channels is one.
  const int64_t all = blocks(p.out_channels), pieces = tasks < 2 * p.threads ? all : 1;
#pragma omp parallel for schedule(static) num_threads(p.threads)
  for (int64_t task = 0; task < tasks * pieces; task++) {
    const int64_t place = task / pieces, piece = task % pieces, map = place / (groups * spans);
    const int64_t first = place / spans % groups * group, last = std::min(p.height, first + group);
    const int64_t left = place % spans * span, end = std::min(p.width, left + span);
    for (int64_t block = piece * all / pieces; block < (piece + 1) * all / pieces; block++) {
      const int64_t channel = block * kBlock;
      for_block(p.out_channels, block, [&](auto eighths) {
        for (int64_t line = first; line < last; line++)
          columns<E, eighths>(p, map / p.frames, map % p.frames, line, left, end, channel);
      });
      const int64_t width = std::min(block_width(p.out_channels, block), p.out_channels - channel);
      if (p.pooled) pool<E>(p, map, first, last, left, end, channel, width);
    }
  }
}

}  // namespace

extern "C" int64_t size_of_convolution() { return sizeof(Convolution); }

extern "C" void convolve_float32(const Problem* p) { convolve<Float32>(*p); }

#ifdef BFLOAT16
extern "C" void convolve_bfloat16(const Problem* p) { convolve<BFloat16>(*p); }
#endif
