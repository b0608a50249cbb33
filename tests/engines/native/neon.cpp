// The kernels of aarch64 beside loops over every number: exits with 1 where one differs.

#include "../../../octvideo/engines/native/kernels.cpp"

#include <cmath>
#include <cstdio>

namespace {

std::vector<float> numbers(int64_t count, int64_t seed) {
  std::vector<float> all(count);
  for (int64_t i = 0; i < count; i++) all[i] = float((i * 37 + seed * 11) % 23 - 11) / 8;
  return all;
}

// A 1x3x3 convolution with padding 1 of `in` to `out` channels, and its weight gradient.
bool agrees(int64_t in, int64_t out, int64_t height, int64_t width, int64_t stride) {
  const int64_t high = (height - 1) / stride + 1, wide = (width - 1) / stride + 1, rounded = (out + 7) / 8 * 8;
  auto x = numbers(2 * height * width * in, 1), w = numbers(out * in * 9, 2), grad = numbers(2 * high * wide * out, 3);
  std::vector<float> packed(rounded * in * 9), bias(rounded, 0.5f), y(2 * high * wide * out), found(out * in * 9);
  Layout layout{w.data(), packed.data(), out, in, in * 9, 9, {1, 3, 3}, {9, 3, 1}, 1};
  pack_float32(&layout);
  Convolution p{};
  p.x[0] = x.data(), p.w[0] = packed.data(), p.channels[0] = p.x_pixel[0] = in, p.sources = 1, p.bias = bias.data();
  p.out = y.data(), p.out_pixel = out, p.batch = 1, p.frames = p.in_frames = 2, p.height = high, p.width = wide;
  p.in_height = height, p.in_width = width, p.out_channels = out, p.relu = 1, p.threads = 1;
  const int64_t kernel[3] = {1, 3, 3}, padding[3] = {0, 1, 1}, strides[3] = {1, stride, stride};
  std::copy(kernel, kernel + 3, p.kernel), std::copy(padding, padding + 3, p.padding);
  std::copy(strides, strides + 3, p.stride);
  convolve_float32(&p);
  std::vector<double> sums(2 * high * wide * out, 0.5), gradient(out * in * 9);
  for (int64_t t = 0; t < 2; t++)
    for (int64_t i = 0; i < high * wide * 9; i++) {
      const int64_t place = i / 9, at = t * high * wide + place, kh = i % 9 / 3, kw = i % 3;
      const int64_t line = place / wide * stride + kh - 1, column = place % wide * stride + kw - 1;
      if (line < 0 || line >= height || column < 0 || column >= width) continue;
      for (int64_t n = 0; n < out; n++)
        for (int64_t c = 0; c < in; c++) {
          const double value = x[((t * height + line) * width + column) * in + c];
          sums[at * out + n] += value * w[(n * in + c) * 9 + kh * 3 + kw];
          gradient[(n * in + c) * 9 + kh * 3 + kw] += value * grad[at * out + n];
        }
    }
  bool same = true;
  for (size_t i = 0; i < sums.size(); i++) same &= std::abs(std::max(sums[i], 0.0) - y[i]) < 1e-3;
  if (out % 8) return same;
  WeightGradient g{x.data(), grad.data(), packed.data(), in, out, in, out, 1, 2, high, wide, 2, height, width,
                   {1, 3, 3}, {0, 1, 1}, {1, stride, stride}, 1};
  weight_gradient(&g);
  Layout back{found.data(), packed.data(), out, in, in * 9, 9, {1, 3, 3}, {9, 3, 1}, 1};
  unpack_float32(&back);
  for (size_t i = 0; i < gradient.size(); i++) same &= std::abs(gradient[i] - found[i]) < 1e-3;
  return same;
}

}  // namespace

int main() {
  bool good = true;
  for (int64_t out : {3, 8, 16, 24, 40})
    for (int64_t stride : {1, 2}) {
      const bool one = agrees(5, out, 7, 15, stride) && agrees(2, out, 1, 1, stride);
      if (!one) std::printf("%d channels, stride %d differ\n", int(out), int(stride));
      good &= one;
    }
  return !good;
}
