// How a weight gradient walks through a batch.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/parallel.h"
#include "cpu/blocking.h"

namespace hashgrad::cpu {

/// The units of a batch (an image, or a few small ones) are cut into chunks with sums of their own. Of each
/// chunk a stripe is made ready at a time, as much of all as fits the L3 cache. A function of extents alone.
struct Units {
  int64_t count, chunk;                              // units of the batch; of a chunk
  int64_t chunks, stripe;                            // chunks; units of a chunk that are ready at a time
  int64_t slots() const { return chunks * stripe; }  // ready at a time, of all chunks
};

/// `bytes`: of a unit that is ready.
inline Units units_of(int64_t count, int64_t chunk, int64_t bytes) {
  const int64_t chunks = divide_up(count, chunk);
  return {count, chunk, chunks, std::clamp<int64_t>(stripe_bytes / (bytes * chunks), 1, chunk)};
}

/// Stripe after stripe: calls prepare(unit, slot, piece) for every unit and piece < pieces; then, for every
/// chunk and task < tasks, add(unit, slot, chunk, task, whether it is the chunk's first) for the units of the
/// chunk in order. Different (unit, piece), and different (chunk, task), run side by side.
template <class Prepare, class Add>
void for_units(const Units& u, int64_t pieces, const Prepare& prepare, int64_t tasks, const Add& add) {
  for (int64_t first = 0; first < u.chunk; first += u.stripe) {
    const int64_t count = std::min(u.stripe, u.chunk - first);  // of each chunk
    const auto unit_of = [&](int64_t slot) { return slot / count * u.chunk + first + slot % count; };
    parallel_for(u.chunks * count * pieces, [&](int64_t i) {
      const int64_t slot = i / pieces;
      if (unit_of(slot) < u.count) prepare(unit_of(slot), slot, i % pieces);
    });
    parallel_for(u.chunks * tasks, [&](int64_t i) {
      const int64_t chunk = i / tasks, begin = chunk * count;
      for (int64_t slot = begin; slot < begin + count && unit_of(slot) < u.count; ++slot)
        add(unit_of(slot), slot, chunk, i % tasks, first == 0 && slot == begin);
    });
  }
}

}  // namespace hashgrad::cpu
