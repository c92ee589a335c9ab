// Numbers of a few bits each, one behind the other: bit i of the stream is bit i % 8 of byte i / 8, and the
// bits of a number come lowest first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hashgrad {

class BitWriter {
 public:
  /// Appends the low `bits` bits (1 to 32) of `value`.
  void put(uint32_t value, int bits) {
    pending_ |= (uint64_t{value} & mask(bits)) << held_;
    for (held_ += bits; held_ >= 8; held_ -= 8, pending_ >>= 8)
      bytes_.push_back(static_cast<uint8_t>(pending_));
  }
  /// All bytes; what the last one lacks is filled with `padding` (0 or 1).
  std::vector<uint8_t> finish(uint32_t padding) {
    while (held_ > 0) put(padding, 1);
    return std::move(bytes_);
  }

 private:
  static uint64_t mask(int bits) { return (uint64_t{1} << bits) - 1; }
  std::vector<uint8_t> bytes_;
  uint64_t pending_ = 0;
  int held_ = 0;  // bits in pending_
};

class BitReader {
 public:
  BitReader(const uint8_t* bytes, size_t count) : bytes_(bytes), left_(8 * count) {}

  size_t left() const { return left_; }  ///< bits not yet read
  /// The next `bits` bits (1 to 32), of which there must be as many left.
  uint32_t get(int bits) {
    for (; held_ < bits; held_ += 8) pending_ |= uint64_t{*bytes_++} << held_;
    const auto value = static_cast<uint32_t>(pending_ & ((uint64_t{1} << bits) - 1));
    pending_ >>= bits;
    held_ -= bits;
    left_ -= static_cast<size_t>(bits);
    return value;
  }

 private:
  const uint8_t* bytes_;
  size_t left_;
  uint64_t pending_ = 0;
  int held_ = 0;
};

}  // namespace hashgrad
