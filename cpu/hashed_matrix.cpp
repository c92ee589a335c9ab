#include "cpu/hashed_matrix.h"

#include <cmath>
#include <map>
#include <mutex>
#include <string>

#include "core/error.h"
#include "core/parallel.h"
#include "core/xxhash.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t most_buckets = (int64_t{1} << 31) - 1;  // so that 2K slots fit 32 bits
constexpr int64_t most_units = (int64_t{1} << 32) - 1;
constexpr int64_t most_table = int64_t{1} << 30;  // 4 GiB of slots

int64_t column_count(int64_t inputs, int64_t kernel_h, int64_t kernel_w) {
  int64_t kernel = 0, columns = 0;
  const bool overflow =
      __builtin_mul_overflow(kernel_h, kernel_w, &kernel) || __builtin_mul_overflow(inputs, kernel, &columns);
  check(inputs >= 1 && kernel_h >= 1 && kernel_w >= 1 && !overflow && columns <= most_units,
        "hash: {} inputs x kernel {} x {}, expected a product of 1 to {}", inputs, kernel_h, kernel_w,
        most_units);
  return columns;
}

/// key(0), ..., key(n - 1), then the padding.
template <class Key>
std::vector<uint32_t> keys(int64_t n, const Key& key) {
  std::vector<uint32_t> out(static_cast<size_t>(n + HashedMatrix::key_padding));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = key(static_cast<uint32_t>(i));
  return out;
}

/// key(0), key(1), ... for the tiles of n rows or columns, and of as many as the padding.
template <class Key>
std::vector<TileKeys> tiles(int64_t n, const Key& key) {
  std::vector<TileKeys> out;
  for (uint32_t tile = 0; int64_t{tile} * bank_count < n + HashedMatrix::key_padding; ++tile)
    out.push_back(key(tile));
  return out;
}

}  // namespace

int64_t bucket_count(int64_t virtual_weights, double rate, HashMode mode) {
  check(rate > 0 && rate <= 1, "hash: compression rate {} is not in (0, 1]", rate);
  check(virtual_weights >= 1, "hash: {} virtual weights, expected at least 1", virtual_weights);
  // A rate such as 7/100 is not exact in binary: 100 weights at 7/100 need 7 buckets, though 100 * 0.07 is
  // above 7.
  double buckets = std::ceil(static_cast<double>(virtual_weights) * rate * (1 - 1e-12));
  if (is_stratified(mode)) buckets = std::ceil(buckets / bank_count) * bank_count;
  check(buckets <= static_cast<double>(most_buckets), "hash: {} buckets, expected at most {}", buckets,
        most_buckets);
  return static_cast<int64_t>(buckets);
}

/// Guards the making of the copies of one table.
struct HashedMatrix::TableCopies {
  std::mutex mutex;
  std::map<Device::Kind, std::shared_ptr<uint32_t>> of;
};

HashedMatrix::HashedMatrix(const HashSpec& spec, Role role, int64_t outputs, int64_t inputs, int64_t kernel_h,
                           int64_t kernel_w)
    : spec_(spec),
      is_bias_(role == Role::linear_bias || role == Role::convolution_bias),
      rows_(outputs),
      columns_(column_count(inputs, kernel_h, kernel_w)) {
  check(spec.buckets >= 1 && spec.buckets <= most_buckets, "hash: {} buckets, expected 1 to {}", spec.buckets,
        most_buckets);
  check(rows_ >= 1 && rows_ <= most_units, "hash: {} output units, expected 1 to {}", rows_, most_units);
  if (is_bias_ && is_stratified(spec.mode)) spec_.mode = HashMode::full;
  if (spec_.mode != HashMode::xxhash) {
    row_keys_ =
        keys(rows_, [&](uint32_t i) { return is_bias_ ? bias_key(spec.seed, i) : row_key(spec.seed, i); });
    column_keys_ = keys(columns_, [&](uint32_t j) { return column_key(spec.seed, j); });
    if (!is_stratified(spec_.mode)) return;
    check(spec.buckets % bank_count == 0, "hash: {} buckets, mode {} needs a multiple of {}", spec.buckets,
          name_of(spec.mode), bank_count);
    row_tiles_ = tiles(rows_, [&](uint32_t tile) { return row_tile_keys(spec.seed, tile); });
    column_tiles_ = tiles(columns_, [&](uint32_t tile) { return column_tile_keys(spec.seed, tile); });
    return;
  }
  check(columns_ <= most_table / rows_,
        "hash: mode xxhash keeps a table of {} x {} slots, expected at most {}", rows_, columns_, most_table);
  const bool is_convolution = role == Role::convolution || role == Role::convolution_bias;
  table_copies_ = std::make_shared<TableCopies>();
  table_.resize(static_cast<size_t>(rows_ * columns_));
  parallel_for(rows_, [&](int64_t i) {
    for (int64_t j = 0; j < columns_; ++j) {
      std::string key = fmt::format("{}_{}", text_index(i), text_index(j / (kernel_h * kernel_w)));
      if (is_convolution)
        key += fmt::format("_{}_{}", text_index(j / kernel_w % kernel_h), text_index(j % kernel_w));
      table_[static_cast<size_t>(i * columns_ + j)] =
          text_slot(key, is_bias_ ? 'B' : 'W', static_cast<uint32_t>(spec.seed), spec.buckets);
    }
  });
}

HashedMatrix HashedMatrix::linear(const HashSpec& spec, int64_t outputs, int64_t inputs) {
  return {spec, Role::linear, outputs, inputs, 1, 1};
}

HashedMatrix HashedMatrix::convolution(const HashSpec& spec, int64_t outputs, int64_t inputs,
                                       int64_t kernel_h, int64_t kernel_w) {
  return {spec, Role::convolution, outputs, inputs, kernel_h, kernel_w};
}

HashedMatrix HashedMatrix::linear_bias(const HashSpec& spec, int64_t outputs) {
  return {spec, Role::linear_bias, outputs, 1, 1, 1};
}

HashedMatrix HashedMatrix::convolution_bias(const HashSpec& spec, int64_t outputs) {
  return {spec, Role::convolution_bias, outputs, 1, 1, 1};
}

uint32_t HashedMatrix::slot(int64_t i, int64_t j) const {
  if (!table_.empty()) return table_[static_cast<size_t>(i * columns_ + j)];
  const uint32_t row = row_keys_[static_cast<size_t>(i)], column = column_keys_[static_cast<size_t>(j)];
  if (!is_stratified(spec_.mode)) return hash_slot(row, column, static_cast<uint32_t>(2 * buckets()));
  const Strata strata = strata_of(spec_);
  const uint32_t tile = tile_word(row_tiles_[static_cast<size_t>(i / bank_count)],
                                  column_tiles_[static_cast<size_t>(j / bank_count)], strata);
  return stratified_slot(
      row, column, row_bank(static_cast<uint32_t>(i)) ^ column_bank(static_cast<uint32_t>(j)), tile, strata);
}

const uint32_t* HashedMatrix::table_on(Device::Kind device,
                                       const std::function<std::shared_ptr<uint32_t>()>& make) const {
  if (!table_copies_) return nullptr;
  const std::lock_guard lock(table_copies_->mutex);
  std::shared_ptr<uint32_t>& copy = table_copies_->of[device];
  if (!copy) copy = make();
  return copy.get();
}

}  // namespace hashgrad::cpu
