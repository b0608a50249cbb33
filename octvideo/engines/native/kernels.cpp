// All that Python calls. One library a processor: WIDTH numbers are a vector, BFLOAT16 says that it multiplies that type.

#include "convolve.h"
#include "weight_gradient.h"
#include "weights.h"

extern "C" {

// Compared with those of problem.py before anything is called.
int64_t size_of_convolution() { return sizeof(Convolution); }
int64_t size_of_weight_gradient() { return sizeof(WeightGradient); }
int64_t size_of_layout() { return sizeof(Layout); }

void convolve_float32(const Convolution* p) { convolution::convolve<Float32>(*p); }
void weight_gradient(const WeightGradient* p) { weight_gradients::weight_gradient(*p); }
void pack_float32(const Layout* l) { weights::pack<float, 1>(*l); }
void unpack_float32(const Layout* l) { weights::unpack<float, 1>(*l); }

#ifdef BFLOAT16
void convolve_bfloat16(const Convolution* p) { convolution::convolve<BFloat16>(*p); }
void pack_bfloat16(const Layout* l) { weights::pack<uint16_t, 2>(*l); }
#endif

}  // extern "C"
