// COCO's run-length encoding of positions: plain C++, for condinst._host.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace condinst {

// Masks of height x width, column by column: mask i changes at positions [offsets[i], offsets[i + 1]), which ascend, and
// begins with background.
struct Changes {
  const int32_t* positions;
  const int64_t* offsets;
  int64_t height, width;
};

struct Encoded {
  std::string counts;
  int64_t area;
  float box[4];  // x1, y1, x2, y2; 0 for an empty mask
};

// The scratch is the thread's, and kept from mask to mask.
Encoded encode(const Changes& changes, int64_t mask, std::vector<char>& scratch);

}  // namespace condinst
