// How a product is cut so that its parts fit the caches. These numbers are part of the result: they fix the
// order in which terms are added, so they depend on extents alone, never on threads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace hashgrad::cpu {

inline constexpr int64_t max_block_depth = 320;       // a panel of B of 16 floats: 20 KB of the 32 KB L1
inline constexpr int64_t block_elements = 32 * 1024;  // a packed block of one task: 128 KB of floats in L2
inline constexpr int64_t stripe_bytes = int64_t{8} << 20;  // what is packed for all threads together: in L3

inline int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }
inline int64_t round_up(int64_t n, int64_t multiple) { return divide_up(n, multiple) * multiple; }

/// Depth of the blocks that k terms are cut into: nearly equal, at most max_block_depth, a multiple of 8.
inline int64_t block_depth(int64_t k) {
  const int64_t blocks = std::max<int64_t>(1, divide_up(k, max_block_depth));
  return std::max<int64_t>(8, round_up(divide_up(k, blocks), 8));
}

/// Cuts `extent` into nearly equal blocks of whole panels, each at most block_elements when packed `depth`
/// deep, and into at least `min_blocks` where there are as many panels. Returns the block, a multiple of
/// width.
inline int64_t panel_block(int64_t extent, int64_t width, int64_t depth, int64_t min_blocks = 1) {
  const int64_t panels = divide_up(extent, width);
  const int64_t limit = std::max<int64_t>(1, block_elements / (depth * width));
  const int64_t blocks = std::max(divide_up(panels, limit), std::min(min_blocks, panels));
  return width * divide_up(panels, blocks);
}

/// Whether work is too small to wake other threads for: so many products, so many numbers to read. A number
/// read once, from a cache or from memory, takes about as long as sixteen products.
inline bool is_small(int64_t products, int64_t read) { return products + 16 * read < int64_t{1} << 20; }

}  // namespace hashgrad::cpu
