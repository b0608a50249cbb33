// A sum of convolutions of channels-last clips, with all that is behind it:
//
//     out = relu(conv(x0, w0) + conv(x1, w1) + bias + other + upsample(up)),    pooled = average2x2(out)
//
// All but x0 and w0 may be left out. One tile of output pixels and channels is summed in registers, over every input
// channel, pixel of the kernel and source, and written once.
#pragma once

#include "problem.h"
#include "vectors.h"

#include <vector>

namespace {
namespace convolution {

using Problem = Convolution;

// Pixels of a tile, at most: as many as there are registers for the sums of each pixel's N * 8 channels.
template <int N>
constexpr int kMostPixels = WIDTH == 8 ? 12 / N : WIDTH == 4 ? 12 / N : N <= 4 ? 14 : 7;

// A line of the output, for the N * 8 channels from `channel` on: what is the same for all its tiles.
template <class E, int N>
struct Line {
  using Number = typename E::Number;
  // A line of an input that meets one of the kernel.
  struct Row {
    const Number* x;  // its first pixel
    const Number* w;
    int64_t channels, pixel;
  };

  const Problem& p;
  const int64_t channel;
  const float* bias;
  const Number *other, *up;  // or null, as `out` at the first pixel
  Number* out;
  std::vector<Row> rows;

  Line(const Problem& p, int64_t channel) : p(p), channel(channel), bias(p.bias + channel) {}

  void move_to(int64_t image, int64_t frame, int64_t line) {
    const int64_t map = image * p.frames + frame, at = (map * p.height + line) * p.width;
    const int64_t up_at = (map * ((p.height + 1) / 2) + line / 2) * ((p.width + 1) / 2);
    out = (Number*)p.out + at * p.out_pixel + channel;
    other = p.other ? (const Number*)p.other + at * p.other_pixel + channel : nullptr;
    up = p.up ? (const Number*)p.up + up_at * p.up_pixel + channel : nullptr;
    rows.clear();
    for (int64_t s = 0; s < p.sources; s++) {
      const int64_t in_memory = (p.channels[s] + E::kStep - 1) / E::kStep * E::kStep;
      const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2], row = p.kernel[2] * in_memory * 8 * N;
      const Number* block = (const Number*)p.w[s] + channel * taps * in_memory;
      for (int64_t kt = 0; kt < p.kernel[0]; kt++) {
        const int64_t in_frame = frame * p.stride[0] + kt - p.padding[0];
        if (in_frame < 0 || in_frame >= p.in_frames) continue;
        for (int64_t kh = 0; kh < p.kernel[1]; kh++) {
          const int64_t in_line = line * p.stride[1] + kh - p.padding[1];
          if (in_line < 0 || in_line >= p.in_height) continue;
          const int64_t first = ((image * p.in_frames + in_frame) * p.in_height + in_line) * p.in_width;
          rows.push_back({(const Number*)p.x[s] + first * p.x_pixel[s], block + (kt * p.kernel[1] + kh) * row,
                          p.channels[s], p.x_pixel[s]});
        }
      }
    }
  }
};

// Adds one pixel of the kernel for the tile's pixels FIRST to LAST; the others lie beyond the border.
template <class E, int R, int N, int FIRST, int LAST>
INLINE void add(Sums<R, N>& sums, const typename E::Number* x, const typename E::Number* w, int64_t channels,
                int64_t pixel) {
  int64_t c = 0;
  for (; c + E::kLine <= channels; c += E::kLine) {
    // What is read four cache lines later, of these pixels or of the next tile's.
    const int64_t later = c + 4 * E::kLine;
    const auto* next = x + (later < channels ? later : later - channels + R * pixel);
    UNROLL for (int r = FIRST; r < LAST; r++) __builtin_prefetch(next + r * pixel);
    _Pragma("GCC unroll 4") for (int i = 0; i < E::kLine; i += E::kStep, w += 8 * N * E::kStep)
      sums.template add<E, FIRST, LAST>(x + c + i, w, pixel, E::value);
  }
  for (; c + E::kStep <= channels; c += E::kStep, w += 8 * N * E::kStep)
    sums.template add<E, FIRST, LAST>(x + c, w, pixel, E::value);
  if (c < channels) sums.template add<E, FIRST, LAST>(x + c, w, pixel, E::last_value);
}

// R pixels of a line from column `left` on.
template <class E, int R, int N>
void tile(const Line<E, N>& line, int64_t left) {
  using Number = typename E::Number;
  const Problem& p = line.p;
  Sums<R, N> sums;
  sums.each([&](auto& sum, int, int first, auto width) { sum = load<width>(line.bias + first); });
  Number* out = line.out + left * p.out_pixel;
  const Number* other = line.other + left * p.other_pixel;
  const Number* up = line.up + left / 2 * p.up_pixel;
  // What is read and written behind the sums is far away: ask for it now.
  const auto each_line = [&](auto prefetch) {
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int c = 0; c < 8 * N; c += E::kLine) prefetch(r, c);
  };
  if (line.other) each_line([&](int r, int c) { __builtin_prefetch(other + r * p.other_pixel + c); });
  if (line.up) each_line([&](int r, int c) { __builtin_prefetch(up + (left % 2 + r) / 2 * p.up_pixel + c); });
  if (line.other != line.out) each_line([&](int r, int c) { __builtin_prefetch(out + r * p.out_pixel + c, 1); });

  const int64_t in_left = left * p.stride[2] - p.padding[2], in_right = in_left + (R - 1) * p.stride[2];
  for (const auto& row : line.rows) {
    const Number *x = row.x + in_left * row.pixel, *w = row.w;
    const int64_t step = row.pixel * p.stride[2], tap = (row.channels + E::kStep - 1) / E::kStep * E::kStep * 8 * N;
    for (int64_t kw = 0; kw < p.kernel[2]; kw++, x += row.pixel, w += tap) {
      const bool at_left = in_left + kw < 0, at_right = in_right + kw >= p.in_width;
      if (!at_left && !at_right)
        add<E, R, N, 0, R>(sums, x, w, row.channels, step);
      else if (!at_right)
        add<E, R, N, 1, R>(sums, x, w, row.channels, step);
      else if (!at_left)
        add<E, R, N, 0, R - 1>(sums, x, w, row.channels, step);
      else
        add<E, R, N, 1, R - 1>(sums, x, w, row.channels, step);
    }
  }

  const int64_t there = p.out_channels - line.channel;
  const auto finish = [&](auto& sum, int r, int first, auto width, int64_t count) {
    if (line.other) sum += E::template load<width>(other + r * p.other_pixel + first, count);
    if (line.up) sum += E::template load<width>(up + (left % 2 + r) / 2 * p.up_pixel + first, count);
    if (p.relu) sum = sum < 0 ? Vector<width>{} : sum;  // what is no number stays none, as in torch
    E::template store<width>(out + r * p.out_pixel + first, sum, count);
  };
  if (there >= 8 * N)
    sums.each([&](auto& sum, int r, int first, auto width) { finish(sum, r, first, width, width); });
  else
    sums.each([&](auto& sum, int r, int first, auto width) {
      if (first < there) finish(sum, r, first, width, there - first);
    });
}

// Columns `left` to `end` of a line, in tiles as equal as can be.
template <class E, int N>
void columns(const Line<E, N>& line, int64_t left, int64_t end) {
  for (int64_t tiles = (end - left + kMostPixels<N> - 1) / kMostPixels<N>; tiles > 0; tiles--) {
    const int64_t count = (end - left + tiles - 1) / tiles;
    switch (count) {
#define CASE(R) case R: if constexpr (R <= kMostPixels<N>) tile<E, R, N>(line, left); break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
      CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#undef CASE
    }
    left += count;
  }
}

// Averages of HIGH x WIDE pixels, for some channels.
template <class E, int HIGH, int WIDE>
INLINE void average(const typename E::Number* x, typename E::Number* y, int64_t line, int64_t pixel, int64_t channels) {
  const auto vector = [&](int64_t c, auto count) {
    Vector<WIDTH> sum{};
    UNROLL for (int i = 0; i < HIGH; i++)
      UNROLL for (int j = 0; j < WIDE; j++) sum += E::template load<WIDTH>(x + i * line + j * pixel + c, count);
    E::template store<WIDTH>(y + c, sum * (1.0f / (HIGH * WIDE)), count);
  };
  int64_t c = 0;
  for (; c + WIDTH <= channels; c += WIDTH) vector(c, std::integral_constant<int, WIDTH>());
  if (c < channels) vector(c, channels - c);
}

// Averages of 2x2 pixels of the lines and columns given, for some channels; at a border, of those that exist.
template <class E>
void pool(const Problem& p, int64_t map, int64_t first, int64_t last, int64_t left, int64_t end, int64_t channel,
          int64_t channels) {
  using Number = typename E::Number;
  for (int64_t line = first; line < last; line += 2)
    for (int64_t column = left; column < end; column += 2) {
      const bool low = line + 1 < p.height, right = column + 1 < p.width;
      const int64_t pixel = (map * ((p.height + 1) / 2) + line / 2) * ((p.width + 1) / 2) + column / 2;
      const Number* x = (const Number*)p.out + ((map * p.height + line) * p.width + column) * p.out_pixel + channel;
      Number* y = (Number*)p.pooled + pixel * p.pooled_pixel + channel;
      const int64_t next = p.width * p.out_pixel;
      if (low && right)
        average<E, 2, 2>(x, y, next, p.out_pixel, channels);
      else if (low)
        average<E, 2, 1>(x, y, next, p.out_pixel, channels);
      else if (right)
        average<E, 1, 2>(x, y, next, p.out_pixel, channels);
      else
        average<E, 1, 1>(x, y, next, p.out_pixel, channels);
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
      const int64_t channel = block_start(p.out_channels, block);
      for_block(p.out_channels, block, [&](auto eighths) {
        Line<E, eighths> line(p, channel);
        for (int64_t number = first; number < last; number++) {
          line.move_to(map / p.frames, map % p.frames, number);
          columns<E, eighths>(line, left, end);
        }
      });
      const int64_t width = std::min(block_width(p.out_channels, block), p.out_channels - channel);
      if (p.pooled) pool<E>(p, map, first, last, left, end, channel, width);
    }
  }
}

}  // namespace convolution
}  // namespace
