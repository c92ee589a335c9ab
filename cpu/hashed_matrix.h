// Which bucket, and which sign, each weight of a virtual matrix has: what hashed layers generate it from.
// docs/hashing.md has the details.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/device.h"
#include "core/hash.h"

namespace hashgrad::cpu {

/// Number of buckets of a matrix of `virtual_weights` weights at a compression rate in (0, 1]:
/// K = ceil(virtual_weights * rate), at least 1; in modes strat and window rounded up to a multiple of 32.
/// Error when the rate or K is out of range.
int64_t bucket_count(int64_t virtual_weights, double rate, HashMode mode = HashMode::full);

/// Where each virtual weight lives. Mode `full` keeps 4 bytes per row and per column, `strat` and `window` a
/// few more per tile; mode `xxhash` keeps a table of 4 bytes per virtual weight, because its text keys take
/// 0.3 microseconds. Immutable, so threads and layers may share one. Building one throws Error when K, rows
/// or columns are out of range, and in modes strat and window when K is not a multiple of 32. A bias of these
/// two modes is placed by mode full.
class HashedMatrix {
 public:
  /// Weights of a linear layer, [outputs, inputs].
  static HashedMatrix linear(const HashSpec& spec, int64_t outputs, int64_t inputs);
  /// Weights of a convolution, [outputs, inputs * kernel_h * kernel_w]: column j = (input * kernel_h + r) *
  /// kernel_w + s.
  static HashedMatrix convolution(const HashSpec& spec, int64_t outputs, int64_t inputs, int64_t kernel_h,
                                  int64_t kernel_w);
  /// A hashed bias, [outputs, 1], with its own K and its own w; the seed is that of the layer's weights.
  static HashedMatrix linear_bias(const HashSpec& spec, int64_t outputs);
  static HashedMatrix convolution_bias(const HashSpec& spec, int64_t outputs);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t buckets() const { return spec_.buckets; }
  const HashSpec& spec() const { return spec_; }
  /// Whether rows have the keys of a bias.
  bool is_bias() const { return is_bias_; }

  /// Signed slot of V[i,j], in [0, 2K): V[i,j] = slot & 1 ? -w[slot >> 1] : w[slot >> 1].
  uint32_t slot(int64_t i, int64_t j) const;

  /// All modes but xxhash: the keys of rows and columns, each followed by `key_padding` readable zeros.
  const std::vector<uint32_t>& row_keys() const { return row_keys_; }
  const std::vector<uint32_t>& column_keys() const { return column_keys_; }
  static constexpr int64_t key_padding = 64;
  /// Modes strat and window: what 32 rows, or columns, have in common, with keys for `key_padding` more.
  const std::vector<TileKeys>& row_tiles() const { return row_tiles_; }
  const std::vector<TileKeys>& column_tiles() const { return column_tiles_; }
  /// Mode xxhash: the slots, [rows, columns]; empty in the other modes.
  const std::vector<uint32_t>& table() const { return table_; }
  /// The copy of table() on another device: what `make` returns at the first call for it, kept as long as
  /// this matrix and its copies live. Null in the other modes.
  const uint32_t* table_on(Device::Kind device, const std::function<std::shared_ptr<uint32_t>()>& make) const;

 private:
  enum class Role { linear, convolution, linear_bias, convolution_bias };
  struct TableCopies;
  HashedMatrix(const HashSpec& spec, Role role, int64_t outputs, int64_t inputs, int64_t kernel_h,
               int64_t kernel_w);

  HashSpec spec_;
  bool is_bias_;
  int64_t rows_, columns_;
  std::vector<uint32_t> row_keys_, column_keys_, table_;
  std::vector<TileKeys> row_tiles_, column_tiles_;
  std::shared_ptr<TableCopies> table_copies_;
};

}  // namespace hashgrad::cpu
