// The threads of a block that could go on, and whose turn it is.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/random.h"
#include "cuda/emulator/options.h"

namespace hashgrad::emulator {

/// A set of thread numbers that is emptied round and round in one fixed order.
class ReadySet {
 public:
  /// All of [0, n), in this order; the random one is a function of seed and block.
  void fill(int n, const Options& options, int64_t block) {
    size_ = n;
    at_.resize(static_cast<size_t>(n));
    place_of_.resize(static_cast<size_t>(n));
    for (int i = 0; i < n; ++i) at_[index(i)] = options.order == Order::descending ? n - 1 - i : i;
    if (options.order == Order::random) shuffle(options.seed, block);
    bits_.assign(index(n + 63) / 64, 0);
    for (int i = 0; i < n; ++i) {
      place_of_[index(at_[index(i)])] = i;
      insert(at_[index(i)]);
    }
    restart();
  }

  void insert(int thread) {
    const int place = place_of_[index(thread)];
    bits_[index(place) / 64] |= uint64_t{1} << (place % 64);
  }

  /// The next turn goes to the first thread of the order again.
  void restart() { cursor_ = 0; }

  /// Takes out the thread whose turn is next; -1 when there is none.
  int take() {
    const size_t words = bits_.size();
    size_t word = index(cursor_) / 64;
    uint64_t bits = bits_[word] & (~uint64_t{0} << (cursor_ % 64));
    for (size_t looked = 0; looked <= words; ++looked) {
      if (bits != 0) {
        const int place = static_cast<int>(word) * 64 + std::countr_zero(bits);
        bits_[word] &= ~(uint64_t{1} << (place % 64));
        cursor_ = place + 1 == size_ ? 0 : place + 1;
        return at_[index(place)];
      }
      word = word + 1 == words ? 0 : word + 1;
      bits = bits_[word];
    }
    return -1;
  }

 private:
  static size_t index(int i) { return static_cast<size_t>(i); }

  void shuffle(uint64_t seed, int64_t block) {
    Random random(seed, Stream::test, static_cast<uint64_t>(block));
    for (int i = size_ - 1; i > 0; --i)
      std::swap(at_[index(i)], at_[random.below(static_cast<uint32_t>(i) + 1)]);
  }

  int size_ = 0, cursor_ = 0;
  std::vector<int> at_, place_of_;  // thread at each place of the order, and the reverse
  std::vector<uint64_t> bits_;      // by place
};

}  // namespace hashgrad::emulator
