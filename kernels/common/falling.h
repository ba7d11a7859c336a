// Scores as integers, for sorting.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace condinst {

// A number that rises as the score falls, and is the same for 0 and -0. Not for NaN.
static inline CONDINST_HOST_DEVICE uint32_t falling(float score) {
  const float without_sign_of_zero = score + 0.0f;
  uint32_t bits;
  memcpy(&bits, &without_sign_of_zero, sizeof(bits));
  // The bits of positive numbers rise with the number, those of negative numbers fall.
  return bits >> 31 != 0 ? bits : ~bits & 0x7fffffffu;
}

}  // namespace condinst
