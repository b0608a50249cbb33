// A sum of convolutions of channels-last clips, with all that is behind it:
//
//     out = relu(conv(x0, w0) + conv(x1, w1) + bias + other + upsample(up)),    pooled = average2x2(out)
//
// All but x0 and w0 may be left out. One tile of output pixels and channels is summed in registers, over every input
// channel, pixel of the kernel and source, and written once.

#include "vectors.h"

#include <algorithm>

// The same as in convolve.py. Numbers of a map lie as B T H W C; `*_pixel` numbers lie from one pixel to the next.
struct Problem {
  const void* x[2];
  const void* w[2];  // blocks of output channels; within each by T H W of the kernel, input channel, output channel
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

namespace {

// Adds one pixel of the kernel for the tile's pixels FIRST to LAST; the others lie beyond the border.
template <class E, int R, int Z, int Y, int FIRST, int LAST>
inline __attribute__((always_inline)) void add(Sums<R, Z, Y>& sums, const typename E::Number* x,
                                               const typename E::Number* w, int64_t channels, int64_t pixel) {
  int64_t c = 0;
  for (; c + E::kStep <= channels; c += E::kStep, w += E::kStep * (16 * Z + 8 * Y)) {
    if (c % E::kLine == 0)  // the next tile's pixels
      UNROLL for (int r = FIRST; r < LAST; r++) _mm_prefetch(x + (R + r) * pixel + c, _MM_HINT_T0);
    step<E, Z, Y, FIRST, LAST>(sums, x + c, w, pixel, E::value);
  }
  if (c < channels) step<E, Z, Y, FIRST, LAST>(sums, x + c, w, pixel, E::last_value);
}

// What is behind the sums of a pixel's channels, as many as the mask tells.
template <class E, class Mask>
inline __attribute__((always_inline)) void finish(const Problem& p, __m512 sum, int64_t pixel, int64_t up_pixel,
                                                  int64_t channel, Mask mask) {
  using Number = typename E::Number;
  if (p.other) sum = _mm512_add_ps(sum, E::load((const Number*)p.other + pixel * p.other_pixel + channel, mask));
  if (p.up) sum = _mm512_add_ps(sum, E::load((const Number*)p.up + up_pixel * p.up_pixel + channel, mask));
  // Where one is no number the second is taken: it stays none, as in torch.
  if (p.relu) sum = _mm512_max_ps(_mm512_setzero_ps(), sum);
  E::store((Number*)p.out + pixel * p.out_pixel + channel, sum, mask);
}

// R pixels from column `left` on, from channel `channel` on.
template <class E, int R, int Z, int Y>
void tile(const Problem& p, int64_t image, int64_t frame, int64_t line, int64_t left, int64_t channel) {
  using Number = typename E::Number;
  Sums<R, Z, Y> sums;
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int v = 0; v < Z; v++) sums.z[r][v] = _mm512_loadu_ps(p.bias + channel + 16 * v);
    if (Y) sums.y[r] = _mm256_loadu_ps(p.bias + channel + 16 * Z);
  }
  const int64_t map = image * p.frames + frame;
  const int64_t at = (map * p.height + line) * p.width + left;
  const int64_t up_line = (map * ((p.height + 1) / 2) + line / 2) * ((p.width + 1) / 2);
  // What is read and written behind the sums is far away: ask for it now.
  for (int r = 0; r < R; r++)
    for (int c = 0; c < 16 * Z + 8 * Y; c += E::kLine) {
      if (p.other) _mm_prefetch((const Number*)p.other + (at + r) * p.other_pixel + channel + c, _MM_HINT_T0);
      if (p.up) _mm_prefetch((const Number*)p.up + (up_line + (left + r) / 2) * p.up_pixel + channel + c, _MM_HINT_T0);
      if (p.other != p.out) __builtin_prefetch((const Number*)p.out + (at + r) * p.out_pixel + channel + c, 1);
    }
  const int64_t in_left = left * p.stride[2] - p.padding[2];
  for (int64_t s = 0; s < p.sources; s++) {
    const int64_t channels = p.channels[s], in_memory = (channels + E::kStep - 1) / E::kStep * E::kStep;
    const int64_t pixel = p.x_pixel[s], step = pixel * p.stride[2];
    const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2], tap = in_memory * (16 * Z + 8 * Y);
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
            add<E, R, Z, Y, 1, R - 1>(sums, x, w, channels, step);
          else if (at_left)
            add<E, R, Z, Y, 1, R>(sums, x, w, channels, step);
          else if (at_right)
            add<E, R, Z, Y, 0, R - 1>(sums, x, w, channels, step);
          else
            add<E, R, Z, Y, 0, R>(sums, x, w, channels, step);
        }
      }
    }
  }
  const bool is_full = channel + 16 * Z <= p.out_channels;
  UNROLL for (int r = 0; r < R; r++) {
    const int64_t up_pixel = up_line + (left + r) / 2;
    UNROLL for (int v = 0; v < Z; v++) {
      const int64_t c = channel + 16 * v;
      if (is_full)
        finish<E>(p, sums.z[r][v], at + r, up_pixel, c, All());
      else
        finish<E>(p, sums.z[r][v], at + r, up_pixel, c, lanes(p.out_channels - c));
    }
    const int64_t c = channel + 16 * Z;
    if (Y) finish<E>(p, _mm512_castps256_ps512(sums.y[r]), at + r, up_pixel, c, lanes(std::min<int64_t>(8, p.out_channels - c)));
  }
}

// Columns `left` to `end` of a line, in tiles as equal as can be; at most 28 vectors are summed at a time.
template <class E, int Z, int Y>
void columns(const Problem& p, int64_t image, int64_t frame, int64_t line, int64_t left, int64_t end,
             int64_t channel) {
  constexpr int kWide = Z + Y <= 2 ? 14 : 7;
  while (left < end) {
    int64_t count = end - left;
    if (count >= kWide)
      count = kWide;
    else if (count > 7)
      count = (count + 1) / 2;
    switch (count) {
#define CASE(R) case R: tile<E, R, Z, Y>(p, image, frame, line, left, channel); break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
#undef CASE
      default: tile<E, kWide, Z, Y>(p, image, frame, line, left, channel);
    }
    left += count;
  }
}

// Averages of 2x2 pixels of the lines and columns given, for a block of channels; at a border, of those that exist.
template <class E>
void pool(const Problem& p, int64_t map, int64_t first, int64_t last, int64_t left, int64_t end, int64_t channel) {
  using Number = typename E::Number;
  const int64_t channels = std::min<int64_t>(64, p.out_channels - channel);
  for (int64_t line = first; line < last; line += 2)
    for (int64_t column = left; column < end; column += 2) {
      const int64_t high = std::min<int64_t>(2, p.height - line), wide = std::min<int64_t>(2, p.width - column);
      const int64_t pixel = (map * ((p.height + 1) / 2) + line / 2) * ((p.width + 1) / 2) + column / 2;
      const Number* x = (const Number*)p.out + ((map * p.height + line) * p.width + column) * p.out_pixel + channel;
      Number* y = (Number*)p.pooled + pixel * p.pooled_pixel + channel;
      const __m512 scale = _mm512_set1_ps(1.0f / float(high * wide));
      for (int64_t c = 0; c < channels; c += 16) {
        const __mmask16 mask = lanes(channels - c);
        __m512 sum = _mm512_setzero_ps();
        for (int64_t i = 0; i < high; i++)
          for (int64_t j = 0; j < wide; j++)
            sum = _mm512_add_ps(sum, E::load(x + (i * p.width + j) * p.out_pixel + c, mask));
        E::store(y + c, _mm512_mul_ps(sum, scale), mask);
      }
    }
}

// Output channels of the block that starts at `channel`: the same as in weights.py.
int64_t block(const Problem& p, int64_t channel) {
  return std::min<int64_t>(64, (p.out_channels - channel + 7) / 8 * 8);
}

template <class E>
void lines(const Problem& p, int64_t image, int64_t frame, int64_t first, int64_t last, int64_t left, int64_t end,
           int64_t channel) {
  for (int64_t line = first; line < last; line++) switch (block(p, channel) / 8) {
      case 1: columns<E, 0, 1>(p, image, frame, line, left, end, channel); break;
      case 2: columns<E, 1, 0>(p, image, frame, line, left, end, channel); break;
      case 3: columns<E, 1, 1>(p, image, frame, line, left, end, channel); break;
      case 4: columns<E, 2, 0>(p, image, frame, line, left, end, channel); break;
      case 5: columns<E, 2, 1>(p, image, frame, line, left, end, channel); break;
      case 6: columns<E, 3, 0>(p, image, frame, line, left, end, channel); break;
      case 7: columns<E, 3, 1>(p, image, frame, line, left, end, channel); break;
      default: columns<E, 4, 0>(p, image, frame, line, left, end, channel);
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
  const bool split = tasks < 2 * p.threads;
  const int64_t blocks = split ? (p.out_channels + 63) / 64 : 1;
#pragma omp parallel for schedule(static) num_threads(p.threads)
  for (int64_t task = 0; task < tasks * blocks; task++) {
    const int64_t place = task / blocks, map = place / (groups * spans);
    const int64_t first = place / spans % groups * group, last = std::min(p.height, first + group);
    const int64_t left = place % spans * span, end = std::min(p.width, left + span);
    for (int64_t channel = 0; channel < p.out_channels; channel += 64) {
      if (split && channel / 64 != task % blocks) continue;
      lines<E>(p, map / p.frames, map % p.frames, first, last, left, end, channel);
      if (p.pooled) pool<E>(p, map, first, last, left, end, channel);
    }
  }
}

}  // namespace

extern "C" void convolve(const Problem* p) { convolve<NUMBER>(*p); }
