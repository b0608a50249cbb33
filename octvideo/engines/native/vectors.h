// Vectors of WIDTH numbers and, where that is 16, of 8; sums are float32 for every type of number.
#pragma once

#if !defined(__GNUC__) || defined(__clang__)
#error "these kernels need GCC: its OpenMP is the one torch runs on"
#endif

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include <cstdint>
#include <type_traits>

#define UNROLL _Pragma("GCC unroll 16")
#define INLINE inline __attribute__((always_inline))

template <int W>
struct Floats {
  typedef float Vector __attribute__((vector_size(4 * W)));
  typedef float Unaligned __attribute__((vector_size(4 * W), aligned(4), may_alias));
};
template <int W>
using Vector = typename Floats<W>::Vector;

template <int W>
INLINE Vector<W> load(const float* x) {
  return *(const typename Floats<W>::Unaligned*)x;
}

template <int W>
INLINE void store(float* y, Vector<W> v) {
  *(typename Floats<W>::Unaligned*)y = v;
}

// `count` numbers, fewer than 2 * N.
template <int N, class Number>
INLINE void copy(Number* to, const Number* from, int64_t count) {
  if (count & N) __builtin_memcpy(to, from, N * sizeof(Number)), to += N, from += N;
  if constexpr (N > 1) copy<N / 2>(to, from, count);
}

// The first `count` numbers alone are read, or written.
template <int W>
INLINE Vector<W> load(const float* x, int64_t count) {
  if (count >= W) return load<W>(x);
#ifdef __AVX512F__
  if constexpr (W == 16) return _mm512_maskz_loadu_ps((1u << count) - 1, x);
#endif
  float lanes[W] = {};
  copy<W / 2>(lanes, x, count);
  return load<W>(lanes);
}

template <int W>
INLINE void store(float* y, Vector<W> v, int64_t count) {
  if (count >= W) return store<W>(y, v);
#ifdef __AVX512F__
  if constexpr (W == 16) return _mm512_mask_storeu_ps(y, (1u << count) - 1, v);
#endif
  float lanes[W];
  store<W>(lanes, v);
  copy<W / 2>(y, lanes, count);
}

struct Float32 {
  using Number = float;
  static constexpr int kStep = 1;   // input channels that one multiply-add takes
  static constexpr int kLine = 16;  // numbers of a cache line

  static INLINE float value(const float* x) { return *x; }
  static INLINE float last_value(const float* x) { return *x; }
  template <int W>
  static INLINE Vector<W> multiply_add(float x, Vector<W> w, Vector<W> sum) {
    return sum + x * w;
  }
  template <int W>
  static INLINE Vector<W> weights(const float* w) {
    return ::load<W>(w);
  }
  template <int W>
  static INLINE Vector<W> load(const float* x, int64_t count) {
    return ::load<W>(x, count);
  }
  template <int W>
  static INLINE void store(float* y, Vector<W> sum, int64_t count) {
    ::store<W>(y, sum, count);
  }
};

#ifdef BFLOAT16
struct BFloat16 {
  using Number = uint16_t;
  static constexpr int kStep = 2;
  static constexpr int kLine = 32;
  template <int W>
  struct Bits {
    typedef uint16_t Numbers __attribute__((vector_size(2 * W)));
    typedef uint16_t Unaligned __attribute__((vector_size(2 * W), aligned(2), may_alias));
    typedef uint32_t Pairs __attribute__((vector_size(4 * W)));
  };

  static INLINE uint32_t value(const uint16_t* x) {
    uint32_t pair;
    __builtin_memcpy(&pair, x, sizeof pair);
    return pair;
  }
  static INLINE uint32_t last_value(const uint16_t* x) { return *x; }  // an odd number of channels: one and zero
  template <int W>
  static INLINE Vector<W> multiply_add(uint32_t x, Vector<W> w, Vector<W> sum) {
#ifdef __AVX512BF16__
    if constexpr (W == 16) return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(x), (__m512bh)w);
    if constexpr (W == 8) return _mm256_dpbf16_ps(sum, (__m256bh)_mm256_set1_epi32(x), (__m256bh)w);
#endif
    using Pairs = typename Bits<W>::Pairs;
    const Pairs pairs = (Pairs)w, xs = x - Pairs{};
    sum += (Vector<W>)(xs << 16) * (Vector<W>)(pairs << 16);
    return sum + (Vector<W>)(xs & 0xffff0000) * (Vector<W>)(pairs & 0xffff0000);
  }
  template <int W>
  static INLINE Vector<W> weights(const uint16_t* w) {
    return ::load<W>((const float*)w);
  }
  template <int W>
  static INLINE Vector<W> load(const uint16_t* x, int64_t count) {
    uint16_t lanes[W] = {};
    if (count < W) {
      copy<W / 2>(lanes, x, count);
      x = lanes;
    }
    const typename Bits<W>::Numbers numbers = *(const typename Bits<W>::Unaligned*)x;
    return (Vector<W>)(__builtin_convertvector(numbers, typename Bits<W>::Pairs) << 16);
  }
  template <int W>
  static INLINE void store(uint16_t* y, Vector<W> v, int64_t count) {
    using Numbers = typename Bits<W>::Numbers;
    using Pairs = typename Bits<W>::Pairs;
    Numbers numbers;
#ifdef __AVX512BF16__
    if constexpr (W == 16)
      numbers = (Numbers)_mm512_cvtneps_pbh(v);
    else
#endif
    {  // rounded to the nearest, of two to the even one; what is no number stays none
      const Pairs bits = (Pairs)v, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
      numbers = __builtin_convertvector(v == v ? rounded : Pairs{} + 0x7fc0, Numbers);
    }
    uint16_t lanes[W];
    *(typename Bits<W>::Unaligned*)(count >= W ? y : lanes) = numbers;
    if (count < W) copy<W / 2>(y, lanes, count);
  }
};
#endif

// A tile of sums: R rows of N * 8 numbers each.
template <int R, int N>
struct Sums {
  static constexpr int kWhole = 8 * N / WIDTH;         // vectors
  static constexpr bool kHalf = 8 * N % WIDTH != 0;  // and one of 8
  Vector<WIDTH> whole[R][kWhole ? kWhole : 1];
  Vector<8> half[R];

  // Calls `run(sum, row, first number)` for every vector, with its width as a constant.
  template <class Run>
  INLINE void each(Run run) {
    UNROLL for (int r = 0; r < R; r++) {
      UNROLL for (int v = 0; v < kWhole; v++) run(whole[r][v], r, WIDTH * v, std::integral_constant<int, WIDTH>());
      if constexpr (kHalf) run(half[r], r, WIDTH * kWhole, std::integral_constant<int, 8>());
    }
  }

  // Adds to rows FIRST to LAST the products of one number each, `pixel` numbers apart, and the numbers at `w`.
  template <class E, int FIRST, int LAST, class Value>
  INLINE void add(const typename E::Number* x, const typename E::Number* w, int64_t pixel, Value value) {
    Vector<WIDTH> ws[kWhole ? kWhole : 1];
    Vector<8> wh;
    UNROLL for (int v = 0; v < kWhole; v++) ws[v] = E::template weights<WIDTH>(w + WIDTH * E::kStep * v);
    if constexpr (kHalf) wh = E::template weights<8>(w + WIDTH * E::kStep * kWhole);
    UNROLL for (int r = FIRST; r < LAST; r++) {
      const auto number = value(x + r * pixel);
      UNROLL for (int v = 0; v < kWhole; v++) whole[r][v] = E::template multiply_add<WIDTH>(number, ws[v], whole[r][v]);
      if constexpr (kHalf) half[r] = E::template multiply_add<8>(number, wh, half[r]);
    }
  }
};
