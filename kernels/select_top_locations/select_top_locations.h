// What the CPU and the CUDA kernels of select_top_locations share: arguments. All functions are static: see simd.h.
#pragma once

#include <cstdint>
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
  int64_t* starts;                 // [num_images, num_objects] scratch: where its keys begin
  uint64_t* keys;                  // [num_images, num_locations] scratch: those of the positives, object by object
  bool* selected;                  // [num_images, num_locations], out
};

static inline CONDINST_HOST_DEVICE bool is_positive(const Args& args, int64_t object) {
  return object >= 0 && object < args.num_objects;
}

// Locations of each matched object of an image.
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

}  // namespace condinst::select_top_locations
