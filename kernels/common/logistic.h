// The logistic function and both of its logarithms, precise for large positive and negative x. simd_math.h has the same for
// vectors.
#pragma once

#include <cmath>

#include "host_device.h"

namespace condinst {

template <class T>
struct Logistic {
  T sigmoid;     // 1 / (1 + e^-x)
  T complement;  // 1 / (1 + e^x) = 1 - sigmoid
  T tail;        // log(1 + e^-|x|), so that log(1 + e^x) = max(x, 0) + tail
};

template <class T>
static inline CONDINST_HOST_DEVICE Logistic<T> logistic(T x) {
  using std::exp;
  using std::fabs;
  using std::log1p;
  const T power = exp(-fabs(x));
  const T larger = 1 / (1 + power);
  const T smaller = power * larger;
  return {x < 0 ? smaller : larger, x < 0 ? larger : smaller, log1p(power)};
}

}  // namespace condinst
