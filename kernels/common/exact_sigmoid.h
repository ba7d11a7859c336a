// The sigmoid of simd_math.h for a single number. It has the same bits if operations are not fused.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace condinst {

static inline CONDINST_HOST_DEVICE uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

static inline CONDINST_HOST_DEVICE float exact_sigmoid(float logit) {
  float x = -logit;
  x = x > 87.0f ? 87.0f : x < -87.0f ? -87.0f : x;
  const float shifted = x * 0x1.715476p0f + 0x1.8p23f;
  const float n = shifted - 0x1.8p23f;
  const float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
  float power = r * 0x1.6c16c2p-10f + 0x1.111112p-7f;
  power = power * r + 0x1.555556p-5f;
  power = power * r + 0x1.555556p-3f;
  power = power * r + 0.5f;
  power = power * r + 1.0f;
  power = power * r + 1.0f;
  const uint32_t bits = bits_of_float(power) + (bits_of_float(shifted) << 23);
  memcpy(&power, &bits, sizeof(power));
  return 1.0f / (1.0f + power);
}

}  // namespace condinst
