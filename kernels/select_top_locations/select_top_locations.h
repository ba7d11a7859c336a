// Code that the CPU and the CUDA kernels of select_top_locations share: their arguments, and scores of locations as keys.
// The better of two locations of an object has the larger key, and no two keys are equal. All functions are static: see
// simd.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../common/element_type.h"
#include "../common/host_device.h"

namespace condinst::select_top_locations {

// All arrays are contiguous. Images are independent of each other.
struct Args {
  const void* class_logits;        // [num_images, num_locations, num_classes] of class_type
  ElementType class_type;
  const float* centerness_logits;  // [num_images, num_locations]
  const int64_t* object_indices;   // [num_images, num_locations]; out of 0 .. num_objects - 1 is background
  int64_t num_images;
  int64_t num_locations;           // less than 2^32
  int64_t num_classes;
  int64_t num_objects;
  int64_t max_locations;
  int64_t* counts;                 // [num_images, num_objects] scratch: positives of each object
  int64_t* starts;                 // [num_images, num_objects] scratch: the begin of the keys of each object
  uint64_t* keys;                  // [num_images, num_locations] scratch: keys of the positives, object by object
  bool* selected;                  // [num_images, num_locations], out
};

static inline CONDINST_HOST_DEVICE bool is_positive(const Args& args, int64_t object) {
  return object >= 0 && object < args.num_objects;
}

// The number of locations of each matched object of an image.
static inline CONDINST_HOST_DEVICE int64_t quota_of(const Args& args, int64_t matched) {
  const int64_t quota = args.max_locations / (matched > 0 ? matched : 1);
  return quota > 0 ? quota : 1;
}

// Calls f with a value of the type of the class logits, which is never uint8.
template <class F>
static inline void with_class_type(const Args& args, const F& f) {
  with_element_type(args.class_type, [&](auto class_value) {
    if constexpr (!std::is_same_v<decltype(class_value), uint8_t>) {
      f(class_value);
    }
  });
}

static inline CONDINST_HOST_DEVICE float sigmoid(float x) { return 1 / (1 + expf(-x)); }

// Whether a comes before b; NaN is the largest, as in PyTorch's sort and max.
static inline CONDINST_HOST_DEVICE bool exceeds(float a, float b) { return a > b || (a != a && b == b); }

// Scores are in 0 .. 1, where the bits have the order of the numbers. Of equal scores the lower location is better.
static inline CONDINST_HOST_DEVICE uint64_t key_of(float class_logit, float centerness_logit, int64_t location) {
  const float score = sigmoid(class_logit) * sigmoid(centerness_logit);
  uint32_t bits = 0x7fffffff;  // of NaN
  if (score == score) {
    memcpy(&bits, &score, sizeof(bits));
  }
  return static_cast<uint64_t>(bits) << 32 | (0xffffffffu - static_cast<uint32_t>(location));
}

static inline CONDINST_HOST_DEVICE int64_t location_of(uint64_t key) {
  return 0xffffffffu - static_cast<uint32_t>(key);
}

}  // namespace condinst::select_top_locations
