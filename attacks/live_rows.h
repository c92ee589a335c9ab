// The rows of an attack that are still under way: a finished row leaves, and takes its share of all state
// with it.
#pragma once

#include <numeric>
#include <utility>
#include <vector>

#include "attacks/attack.h"

namespace hashgrad {

/// Some rows of an attack's input, and the numbers that they have there.
class LiveRows {
 public:
  /// The rows `rows` of `all`, ascending; `all` must outlive this.
  LiveRows(const AttackInput& all, std::vector<int64_t> rows)
      : rows_(std::move(rows)), input_(gather(all, rows_)) {}
  /// All rows.
  explicit LiveRows(const AttackInput& all)
      : LiveRows(all, first_numbers(static_cast<size_t>(all.x.size(0)))) {}

  bool empty() const { return rows_.empty(); }
  size_t size() const { return rows_.size(); }
  /// These rows alone, and what is wanted of them.
  const AttackInput& input() const { return input_; }
  Goal goal() const { return input_.goal(); }
  /// Number, in the whole input, of the row at position i.
  size_t row(size_t i) const { return static_cast<size_t>(rows_[i]); }
  const std::vector<int64_t>& rows() const { return rows_; }

  /// Goes on with the rows at positions `which` (ascending) alone. Each state has one entry per row, a Tensor
  /// [rows,...] or a vector, and is shortened alike; undefined Tensors stay undefined.
  template <class... State>
  void keep(const std::vector<int64_t>& which, State&... state) {
    if (which.size() == rows_.size()) return;
    rows_ = shortened(rows_, which);
    input_ = gather(input_, which);
    ((state = shortened(state, which)), ...);
  }
  /// The same with those whose flag is not 0.
  template <class... State>
  void keep_if(const std::vector<uint8_t>& flags, State&... state) {
    std::vector<int64_t> which;
    for (size_t i = 0; i < flags.size(); ++i)
      if (flags[i]) which.push_back(static_cast<int64_t>(i));
    keep(which, state...);
  }

 private:
  static std::vector<int64_t> first_numbers(size_t n) {
    std::vector<int64_t> numbers(n);
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
  }
  static Tensor shortened(const Tensor& state, const std::vector<int64_t>& which) {
    return state.defined() ? gather(state, which) : state;
  }
  template <class T>
  static std::vector<T> shortened(const std::vector<T>& state, const std::vector<int64_t>& which) {
    std::vector<T> kept;
    for (const int64_t i : which) kept.push_back(state[static_cast<size_t>(i)]);
    return kept;
  }

  std::vector<int64_t> rows_;
  AttackInput input_;
};

}  // namespace hashgrad
