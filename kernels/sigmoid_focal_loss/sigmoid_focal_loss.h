// Code that the CPU and the CUDA kernels of sigmoid_focal_loss share: their arguments and the formulas, in which T is a
// number or a vector of numbers.
//
// With z = x for background and z = -x for the class of the row, positives and negatives have the same formula, without a
// difference of nearly equal numbers. With s = 1 / (1 + e^-z), the probability of the wrong answer, and L = log(1 + e^z):
//
//   loss       = weight * s^gamma * L
//   d loss/dz  = weight * s^gamma * (gamma * (1 - s) * L + s)
#pragma once

#include <cstdint>

#include "../common/element_type.h"
#include "../common/host_device.h"
#include "../common/logistic.h"
#include "../common/loss.h"

namespace condinst::sigmoid_focal_loss {

// All arrays are contiguous. "Acc" is double for float64 logits, otherwise float.
struct Args {
  const void* logits;     // [rows, num_classes] of logit_type
  ElementType logit_type;
  const int64_t* labels;  // [rows]; numbers outside of 0 .. num_classes - 1 are background
  int64_t num_classes;    // at most kMostClasses
  double alpha, gamma;
  LossResults results;    // one loss per logit
};

// With 31 bits, a GPU divides a position within a chunk by the number of classes in 32-bit arithmetic.
constexpr int64_t kMostClasses = 0x7fffffff;

template <class T, class Scalar>
static inline CONDINST_HOST_DEVICE LossAndGradient<T> focal_loss(T weight, T power, T L, const Logistic<T>& wrong,
                                                                 Scalar gamma) {
  const T weighted = weight * power;
  return {weighted * L, weighted * (gamma * wrong.complement * L + wrong.sigmoid)};
}

// s^gamma; exp_of(x) is e^x for x of at most 0, and log_s() the logarithm of s. gamma = 2 is the usual case.
template <class T, class Scalar, class LogS, class ExpOf>
static inline CONDINST_HOST_DEVICE T power_of(T s, Scalar gamma, const LogS& log_s, const ExpOf& exp_of) {
  if (gamma == 2) {
    return s * s;
  }
  if (gamma == 1) {
    return s;
  }
  return gamma == 0 ? s * 0 + 1 : exp_of(gamma * log_s());
}

}  // namespace condinst::sigmoid_focal_loss
