// Vectors of 16 and of 8 numbers (AVX-512), in float32 and bfloat16; sums are float32 in both.
#pragma once

#if !defined(__GNUC__) || defined(__clang__)
#error "these kernels need GCC: its OpenMP is the one torch runs on"
#endif

#include <immintrin.h>

#include <cstdint>

#define UNROLL _Pragma("GCC unroll 16")

// Lanes of a vector that lie within `left` numbers.
inline __mmask16 lanes(int64_t left) { return left >= 16 ? 0xffff : left <= 0 ? 0 : (1u << left) - 1; }

struct All {};  // in place of a mask

struct Float32 {
  using Number = float;
  static constexpr int kStep = 1;   // input channels that one multiply-add takes
  static constexpr int kLine = 16;  // numbers of a cache line

  static float value(const float* x) { return *x; }
  static float last_value(const float* x) { return *x; }
  static __m512 multiply_add(float x, __m512 w, __m512 sum) { return _mm512_fmadd_ps(_mm512_set1_ps(x), w, sum); }
  static __m256 multiply_add(float x, __m256 w, __m256 sum) { return _mm256_fmadd_ps(_mm256_set1_ps(x), w, sum); }
  static __m512 weights16(const float* w) { return _mm512_loadu_ps(w); }
  static __m256 weights8(const float* w) { return _mm256_loadu_ps(w); }
  static __m512 load(const float* x, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, x); }
  static __m512 load(const float* x, All) { return _mm512_loadu_ps(x); }
  static void store(float* y, __m512 sum, All) { _mm512_storeu_ps(y, sum); }
  static void store(float* y, __m512 sum, __mmask16 mask) { _mm512_mask_storeu_ps(y, mask, sum); }
};

#ifdef __AVX512BF16__
struct BFloat16 {
  using Number = uint16_t;
  static constexpr int kStep = 2;
  static constexpr int kLine = 32;

  static int32_t value(const uint16_t* x) {
    int32_t pair;
    __builtin_memcpy(&pair, x, sizeof pair);
    return pair;
  }
  static int32_t last_value(const uint16_t* x) { return *x; }  // an odd number of channels: one and zero
  static __m512 multiply_add(int32_t x, __m512 w, __m512 sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(x), (__m512bh)w);
  }
  static __m256 multiply_add(int32_t x, __m256 w, __m256 sum) {
    return _mm256_dpbf16_ps(sum, (__m256bh)_mm256_set1_epi32(x), (__m256bh)w);
  }
  static __m512 weights16(const uint16_t* w) { return _mm512_loadu_ps(w); }
  static __m256 weights8(const uint16_t* w) { return _mm256_loadu_ps(reinterpret_cast<const float*>(w)); }
  static __m512 widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
  static __m512 load(const uint16_t* x, All) { return widen(_mm256_loadu_si256((const __m256i*)x)); }
  static __m512 load(const uint16_t* x, __mmask16 mask) { return widen(_mm256_maskz_loadu_epi16(mask, x)); }
  static void store(uint16_t* y, __m512 sum, All) {
    _mm256_storeu_si256((__m256i*)y, (__m256i)_mm512_cvtneps_pbh(sum));
  }
  static void store(uint16_t* y, __m512 sum, __mmask16 mask) {
    _mm256_mask_storeu_epi16(y, mask, (__m256i)_mm512_cvtneps_pbh(sum));
  }
};
#endif

// A tile of sums: R rows of Z vectors of 16 numbers and Y (0 or 1) of 8.
template <int R, int Z, int Y>
struct Sums {
  __m512 z[R][Z ? Z : 1];
  __m256 y[R];
};

// Adds to rows FIRST to LAST the products of one number each, `pixel` numbers apart, and the vectors at `w`.
template <class E, int Z, int Y, int FIRST, int LAST, int R, class Value>
inline __attribute__((always_inline)) void step(Sums<R, Z, Y>& sums, const typename E::Number* x,
                                                const typename E::Number* w, int64_t pixel, Value value) {
  __m512 wz[Z ? Z : 1];
  __m256 wy;
  UNROLL for (int v = 0; v < Z; v++) wz[v] = E::weights16(w + 16 * E::kStep * v);
  if (Y) wy = E::weights8(w + 16 * E::kStep * Z);
  UNROLL for (int r = FIRST; r < LAST; r++) {
    const auto number = value(x + r * pixel);
    UNROLL for (int v = 0; v < Z; v++) sums.z[r][v] = E::multiply_add(number, wz[v], sums.z[r][v]);
    if (Y) sums.y[r] = E::multiply_add(number, wy, sums.y[r]);
  }
}
