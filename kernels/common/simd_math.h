// Functions of whole vectors. Bounds preserve NaN, which is neither below nor above them.
#pragma once

#include <cmath>

#include "logistic.h"
#include "simd.h"

namespace condinst {
namespace CONDINST_ISA {
namespace {

static inline Vector<float> at_least(Vector<float> bound, Vector<float> values) {
// x86 returns the second operand if either operand is NaN. GCC 12 compiles the general form to a comparison and a blend,
// and warns about its header in the form without a mask.
#if defined(__AVX512F__)
  return bit_cast<Vector<float>>(_mm512_maskz_max_ps(0xffff, bit_cast<__m512>(bound), bit_cast<__m512>(values)));
#elif defined(__AVX__)
  return bit_cast<Vector<float>>(_mm256_max_ps(bit_cast<__m256>(bound), bit_cast<__m256>(values)));
#elif defined(__x86_64__)
  return bit_cast<Vector<float>>(_mm_max_ps(bit_cast<__m128>(bound), bit_cast<__m128>(values)));
#else
  return values < bound ? bound : values;
#endif
}

static inline Vector<double> at_least(Vector<double> bound, Vector<double> values) {
  return values < bound ? bound : values;
}

template <class V>
static inline V at_most(V bound, V values) {
  return values > bound ? bound : values;
}

template <class V>
static inline V relu(V values) {
  return at_least(V{}, values);
}

// e^x to about 1 unit in the last place, for x in [-87, 87]: 2^n * e^r with n whole and |r| <= log(2) / 2.
static inline Vector<float> exp_in_range(Vector<float> x) {
  const float to_whole = 0x1.8p23f;  // Numbers of this size have no fraction, and n is in their low bits.
  const Vector<float> shifted = x * 0x1.715476p0f + to_whole;
  const Vector<float> n = shifted - to_whole;
  const Vector<float> r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;  // log(2) in two parts
  Vector<float> power = r * 0x1.6c16c2p-10f + 0x1.111112p-7f;            // Taylor's series
  power = power * r + 0x1.555556p-5f;
  power = power * r + 0x1.555556p-3f;
  power = power * r + 0.5f;
  power = power * r + 1.0f;
  power = power * r + 1.0f;
  return bit_cast<Vector<float>>(UIntVector(bit_cast<UIntVector>(power) + (bit_cast<UIntVector>(shifted) << 23)));
}

// 1 / (1 + e^-x)
static inline Vector<float> sigmoid(Vector<float> x) {
  const Vector<float> low = Vector<float>{} - 87.0f;
  return 1.0f / (1.0f + exp_in_range(at_most(Vector<float>{} + 87.0f, at_least(low, -x))));
}

// float64 is only for checks of gradients, so its speed does not matter.
static inline Vector<double> sigmoid(Vector<double> x) {
  for (int lane = 0; lane < kLanes<double>; ++lane) {
    x[lane] = 1.0 / (1.0 + std::exp(-x[lane]));
  }
  return x;
}

// e^x for x of at most 0; below -87 it is 0.
static inline Vector<float> exp_of_negative(Vector<float> x) {
  const Vector<float> low = Vector<float>{} - 87.0f;
  const Vector<float> power = exp_in_range(at_least(low, x));
  return bit_cast<Vector<float>>(UIntVector(bit_cast<UIntVector>(power) & ~bit_cast<UIntVector>(x < low)));
}

static inline Vector<double> exp_of_negative(Vector<double> x) {
  for (int lane = 0; lane < kLanes<double>; ++lane) {
    x[lane] = std::exp(x[lane]);
  }
  return x;
}

// To about 3 units in the last place, with one division.
static inline Logistic<Vector<float>> logistic(Vector<float> x) {
  const Vector<float> magnitude = bit_cast<Vector<float>>(UIntVector(bit_cast<UIntVector>(x) & 0x7fffffffu));
  const Vector<float> power = exp_of_negative(-magnitude);
  const Vector<float> reciprocal = 1.0f / ((1.0f + power) * (2.0f + power));
  const Vector<float> larger = reciprocal * (2.0f + power);
  const Vector<float> smaller = power * larger;
  // log(1 + power) = 2 artanh(q) with q = power / (2 + power) in [0, 1/3]; the polynomial is off by 1.5e-8 at most.
  const Vector<float> q = power * reciprocal * (1.0f + power);
  const Vector<float> square = q * q;
  Vector<float> series = square * 0x1.131faep-3f + 0x1.211d9ep-3f;
  series = series * square + 0x1.99adb6p-3f;
  series = series * square + 0x1.55554cp-2f;
  const UIntVector negative = bit_cast<UIntVector>(x < 0.0f);
  const auto pick = [&](Vector<float> yes, Vector<float> no) {
    return bit_cast<Vector<float>>(choose(negative, bit_cast<UIntVector>(yes), bit_cast<UIntVector>(no)));
  };
  return {pick(smaller, larger), pick(larger, smaller), 2.0f * (q + q * square * series)};
}

static inline Logistic<Vector<double>> logistic(Vector<double> x) {
  Logistic<Vector<double>> values;
  for (int lane = 0; lane < kLanes<double>; ++lane) {
    const Logistic<double> value = ::condinst::logistic<double>(x[lane]);
    values.sigmoid[lane] = value.sigmoid;
    values.complement[lane] = value.complement;
    values.tail[lane] = value.tail;
  }
  return values;
}

}  // namespace
}  // namespace CONDINST_ISA
}  // namespace condinst
