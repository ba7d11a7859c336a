#include "rows_cpu.h"

namespace condinst::panoptic_merge {
namespace CONDINST_ISA {
namespace {

// Calls f(word, taken word) for the words of an instance in its window.
template <class F>
static inline void for_window(const Args& args, int64_t image, int64_t instance, const Window& window, const F& f) {
  for (int64_t y = window.begin; y < window.end; ++y) {
    uint64_t* bits = bits_of(args, instance, y);
    uint64_t* taken = taken_of(args, image, y);
    for (int64_t word = window.first_word; word < window.end_word; ++word) {
      f(bits[word], taken[word]);
    }
  }
}

static inline FloatVector magnitude(FloatVector values) {
  return bit_cast<FloatVector>(UIntVector(bit_cast<UIntVector>(values) & 0x7fffffffu));
}

// semantic_logit of every lane
static inline FloatVector semantic_logits(FloatVector logits) {
  const FloatVector most = FloatVector{} + kMostLogit;
  const FloatVector numbers = logits > -most ? logits : -most;  // NaN is not above it
  return numbers < most ? numbers : most;
}

// Reads vectors * kWidth cells of a row, of which `width` are left, and finds where a channel leads. Only a single vector
// may be longer than the remaining cells.
template <int vectors, class T>
static void read_cells(const Args& args, const T* from, int64_t width, float* to, int64_t pitch, int32_t* channels) {
  FloatVector best[vectors], second[vectors], largest[vectors];
  IntVector leader[vectors];
  for (int i = 0; i < vectors; ++i) {
    best[i] = second[i] = FloatVector{} - HUGE_VALF;
    largest[i] = FloatVector{};
    leader[i] = IntVector{};
  }
  for (int64_t channel = 0; channel < args.num_channels; ++channel) {
    for (int i = 0; i < vectors; ++i) {
      const int64_t left = width - i * kWidth;
      __builtin_prefetch(from + i * kWidth + args.semantic_width);  // the next row; the next channel is far away
      const FloatVector logits = semantic_logits(vectors == 1 && left < kWidth ? load_first<float>(from, left)
                                                                               : load<float>(from + i * kWidth));
      store<float, float>(to + i * kWidth, logits);
      leader[i] = logits > best[i] ? IntVector{} + static_cast<int32_t>(channel) : leader[i];
      second[i] = at_least(second[i], at_most(best[i], logits));
      best[i] = at_least(best[i], logits);
      largest[i] = at_least(largest[i], magnitude(logits));
    }
    from += args.semantic_height * args.semantic_width;
    to += pitch;
  }
  for (int i = 0; i < vectors; ++i) {
    for (int lane = 0; lane < kWidth; ++lane) {
      channels[i * kWidth + lane] = leads(best[i][lane], second[i][lane], largest[i][lane]) ? leader[i][lane] : kUnsure;
    }
  }
}

// Reads row y of cells.
template <class T>
static void read_row(const Args& args, int64_t image, int64_t y, const CellRows& cells) {
  constexpr int kVectors = 4;
  const int64_t width = args.semantic_width;
  const T* from = static_cast<const T*>(args.semantic_logits) +
                  (image * args.num_channels * args.semantic_height + y) * width;
  float* to = cells.logits + y % kRing * args.num_channels * cells.pitch;
  int32_t* channels = cells.channels + y % kRing * cells.pitch;
  for (int64_t x = 0; x < width;) {
    const bool many = width - x >= kVectors * kWidth;
    const auto read = many ? read_cells<kVectors, T> : read_cells<1, T>;
    read(args, from + x, width - x, to + x, cells.pitch, channels + x);
    x += (many ? kVectors : 1) * kWidth;
  }
}

// Divides the line of cells for pixels with these three rows into runs. Returns the number of runs.
static int64_t find_runs(const Args& args, int64_t first_row, const CellRows& cells) {
  const int32_t* of_rows[kTaps];
  for (int64_t tap = 0; tap < kTaps; ++tap) {
    of_rows[tap] = cells.channels + std::min(first_row + tap, args.semantic_height - 1) % kRing * cells.pitch;
  }
  const int64_t width = args.semantic_width;
  for (int64_t x = 0; x < width; ++x) {
    const bool agree = of_rows[0][x] == of_rows[1][x] && of_rows[0][x] == of_rows[2][x];
    cells.common[x] = agree ? of_rows[0][x] : kUnsure;
  }
  cells.common[width] = cells.common[width + 1] = cells.common[width - 1];
  int64_t count = 0;
  for (int64_t x = 0; x < width; ++x) {
    const bool agree = cells.common[x] == cells.common[x + 1] && cells.common[x] == cells.common[x + 2];
    const int32_t channel = agree ? cells.common[x] : kUnsure;
    if (count > 0 && cells.runs[count - 1].channel == channel) {
      cells.runs[count - 1].end = static_cast<int32_t>(x + 1);
    } else {
      cells.runs[count++] = {static_cast<int32_t>(x), static_cast<int32_t>(x + 1), channel};
    }
  }
  return count;
}

// The cells of a row of pixels.
struct RowTaps {
  const float* rows[kTaps];  // of the first channel
  FloatVector weights[kTaps];

  RowTaps(const Args& args, const Axis& across, int64_t pixel_row, const CellRows& cells) {
    for (int64_t tap = 0; tap < kTaps; ++tap) {
      // After the last row the weight is 0.
      const int64_t row = std::min<int64_t>(across.first[pixel_row] + tap, across.cells - 1);
      rows[tap] = cells.logits + row % kRing * args.num_channels * cells.pitch;
      weights[tap] = FloatVector{} + across.weights[tap * int64_t{across.pixels} + pixel_row];
    }
  }
};

// The classes of pixels at `places` [count] of a row, count <= vectors * kWidth, whose first cells are `cell` or one of the
// kTile - 1 cells after it.
template <int vectors, int taps>
static void find_winners(const Args& args, const Axis& along, const RowTaps& rows, int64_t pitch, int64_t cell,
                         const int32_t* places, int64_t count, int32_t* winners) {
  IntVector from[vectors] = {};
  FloatVector weights[vectors][kTaps] = {};
  for (int64_t i = 0; i < count; ++i) {
    from[i / kWidth][i % kWidth] = along.first[places[i]] - static_cast<int32_t>(cell);
    for (int tap = 0; tap < taps; ++tap) {
      weights[i / kWidth][tap][i % kWidth] = along.weights[tap * int64_t{along.pixels} + places[i]];
    }
  }
  FloatVector best[vectors];
  IntVector winner[vectors] = {};
  std::fill(best, best + vectors, FloatVector{} - HUGE_VALF);
  for (int64_t channel = 0; channel < args.num_channels; ++channel) {
    FloatVector of_rows[kTaps];
    for (int tap = 0; tap < taps; ++tap) {
      of_rows[tap] = load<float>(rows.rows[tap] + channel * pitch + cell);
    }
    const FloatVector cells = sum<taps>(rows.weights, of_rows);
    for (int i = 0; i < vectors; ++i) {
      FloatVector columns[kTaps];
      for (int tap = 0; tap < taps; ++tap) {
        columns[tap] = permuted(cells, from[i] + tap);
      }
      const FloatVector value = sum<taps>(weights[i], columns);
      winner[i] = value > best[i] ? IntVector{} + static_cast<int32_t>(channel) : winner[i];
      best[i] = at_least(best[i], value);
    }
  }
  for (int i = 0; i < vectors; ++i) {
    const IntVector channels = winner[i];
    std::memcpy(winners + i * kWidth, &channels, sizeof(channels));
  }
}

// Writes classes to a row of pixels, and counts the pixels that no instance has taken.
struct Painter {
  const Args& args;
  const Axis& along;
  const uint64_t* taken;
  int32_t* ids;
  int64_t* areas;

  void uniform(int64_t begin, int64_t end, int32_t channel) const {
    std::fill(ids + begin, ids + end, id_of_channel(args, channel));
    if (channel >= args.num_things) {
      int64_t count = end - begin;
      for_words(begin, end, [&](int64_t word, uint64_t bits) { count -= __builtin_popcountll(taken[word] & bits); });
      areas[channel - args.num_things] += count;
    }
  }

  // The pixels that begin at cells [cell, cell + kTile) and before cell `end`, without taken pixels.
  template <int taps>
  void mixed(int64_t cell, int64_t end, const RowTaps& rows, int64_t pitch) const {
    int32_t places[kMostVectors * kWidth];
    int64_t count = 0;
    const auto paint = [&] {
      int32_t winners[kMostVectors * kWidth];
      const auto find = count <= kWidth       ? find_winners<1, taps>
                        : count <= 2 * kWidth ? find_winners<2, taps>
                                              : find_winners<kMostVectors, taps>;
      find(args, along, rows, pitch, cell, places, count, winners);
      for (int64_t i = 0; i < count; ++i) {
        ids[places[i]] = id_of_channel(args, winners[i]);
        if (winners[i] >= args.num_things) {
          ++areas[winners[i] - args.num_things];
        }
      }
      count = 0;
    };
    for_words(along.begin[cell], along.begin[end], [&](int64_t word, uint64_t bits) {
      for (uint64_t free = ~taken[word] & bits; free != 0; free &= free - 1) {
        places[count++] = static_cast<int32_t>(word * kWord) + __builtin_ctzll(free);
        if (count == kMostVectors * kWidth) {
          paint();
        }
      }
    });
    if (count > 0) {
      paint();
    }
  }
};

// Writes the classes of rows [begin, end), which have the same rows of cells.
template <int taps>
static void paint_classes(const Args& args, const Band& band, int64_t begin, int64_t end, const CellRows& cells,
                          int64_t num_runs) {
  const Axis& across = args.images[band.image].semantic_rows;
  const Axis& along = args.images[band.image].semantic_columns;
  const auto for_rows = [&](const auto& f) {
    for (int64_t y = begin; y < end; ++y) {
      f(Painter{args, along, taken_of(args, band.image, y), args.ids + (band.image * args.height + y) * args.width,
                band.areas},
        y);
    }
  };
  for (const Run* run = cells.runs; run < cells.runs + num_runs; ++run) {
    if (run->channel != kUnsure) {
      for_rows([&](const Painter& painter, int64_t) {
        painter.uniform(along.begin[run->begin], along.begin[run->end], run->channel);
      });
      continue;
    }
    for (int64_t cell = run->begin; cell < run->end; cell += kTile) {  // all rows of it, while the cells are in the cache
      for_rows([&](const Painter& painter, int64_t y) {
        painter.template mixed<taps>(cell, std::min<int64_t>(cell + kTile, run->end), RowTaps(args, across, y, cells),
                                     cells.pitch);
      });
    }
  }
}

// Writes the pixels of a row that belong to an instance.
static void paint_instance(const uint64_t* bits, const Window& window, int32_t id, int32_t* ids) {
  for (int64_t word = window.first_word; word < window.end_word; ++word) {
    int32_t* to = ids + word * kWord;
    for (uint64_t left = bits[word]; left != 0;) {
      const int begin = __builtin_ctzll(left);
      const uint64_t after = ~(left >> begin);
      const int end = after == 0 ? kWord : std::min<int>(begin + __builtin_ctzll(after), kWord);
      std::fill(to + begin, to + end, id);
      left = end == kWord ? 0 : left & ~uint64_t{0} << end;
    }
  }
}

}  // namespace

void settle_image(const Args& args, int64_t image, const Ranking& ranking, Window* windows) {
  for (int64_t rank = 0; rank < ranking.count; ++rank) {
    const int64_t instance = ranking.instances[rank];
    Window& window = windows[instance];
    int64_t lost = 0;
    for_window(args, image, instance, window,
               [&](uint64_t bits, uint64_t taken) { lost += __builtin_popcountll(bits & taken); });
    if (!is_kept(args, window.area, lost)) {
      window.area = 0;
      continue;
    }
    for_window(args, image, instance, window, [&](uint64_t& bits, uint64_t& taken) {
      bits &= ~taken;
      taken |= bits;
    });
    window.area -= lost;
    args.instance_areas[instance] = window.area;
  }
}

void paint_band(const Args& args, const Band& band, const Ranking& ranking, const Window* windows,
                const CellRows& cells) {
  const Axis& across = args.images[band.image].semantic_rows;
  const Axis& along = args.images[band.image].semantic_columns;
  const auto paint_rows = across.taps == 2 && along.taps == 2 ? paint_classes<2> : paint_classes<kTaps>;
  int64_t rows_read = across.first[band.begin];
  for (int64_t begin = band.begin; begin < band.end;) {
    const int64_t first = across.first[begin];
    const int64_t end = std::min<int64_t>(across.begin[first + 1], band.end);
    rows_read = std::max(rows_read, first);
    for (; rows_read < std::min(first + kTaps, args.semantic_height); ++rows_read) {
      with_element_type(args.semantic_type, [&](auto element) {
        using T = decltype(element);
        if constexpr (!std::is_same_v<T, double> && !std::is_same_v<T, uint8_t>) {
          read_row<T>(args, band.image, rows_read, cells);
        }
      });
    }
    paint_rows(args, band, begin, end, cells, find_runs(args, first, cells));
    begin = end;
  }
  for (int64_t y = band.begin; y < band.end; ++y) {
    int32_t* ids = args.ids + (band.image * args.height + y) * args.width;
    for (int64_t rank = 0; rank < ranking.count; ++rank) {
      const int64_t instance = ranking.instances[rank];
      const Window& window = windows[instance];
      if (window.area > 0 && y >= window.begin && y < window.end) {
        paint_instance(bits_of(args, instance, y), window, static_cast<int32_t>(1 + instance), ids);
      }
    }
    std::fill(ids + along.pixels, ids + args.width, 0);
  }
  if (band.end == across.pixels) {
    int32_t* ids = args.ids + band.image * args.height * args.width;
    std::fill(ids + band.end * args.width, ids + args.height * args.width, 0);
  }
}

void erase_stuff(const Args& args, const Band& band, const uint8_t* is_small) {
  const int64_t width = args.images[band.image].semantic_columns.pixels;
  for (int64_t y = band.begin; y < band.end; ++y) {
    int32_t* ids = args.ids + (band.image * args.height + y) * args.width;
    for (int64_t x = 0; x < width; ++x) {
      const int64_t stuff = ids[x] - 1 - args.num_instances;
      if (stuff >= 0 && is_small[stuff] != 0) {
        ids[x] = 0;
      }
    }
  }
}

}  // namespace CONDINST_ISA
}  // namespace condinst::panoptic_merge
