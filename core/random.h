// Counter-based random numbers: every draw is a pure function of (seed, stream, sample, step), so it does not
// depend on batching, thread count, order of calls or device. Philox4x32-10 of Salmon et al., SC 2011.
#pragma once

#include <array>
#include <cstdint>

namespace hashgrad {

/// Separate sources of randomness in one run; each has its own sequence under the same seed.
enum class Stream : uint32_t {
  init,
  shuffle,
  augment,
  dropout,
  attack,
  synthetic,
  test,
  quantize,
  defence,    // what a randomised network draws while it is attacked
  rehearsal,  // the same, while an attack judges its own candidates
  judge,      // the same, when the result is judged
  colour      // of augmentation
};

/// Philox4x32-10: 128 random bits from a 128-bit counter and a 64-bit key.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  auto [x0, x1, x2, x3] = counter;
  auto [k0, k1] = key;
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * x0;
    const uint64_t b = uint64_t{0xCD9E8D57} * x2;
    x0 = static_cast<uint32_t>(b >> 32) ^ x1 ^ k0;
    x1 = static_cast<uint32_t>(b);
    x2 = static_cast<uint32_t>(a >> 32) ^ x3 ^ k1;
    x3 = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {x0, x1, x2, x3};
}

/// A sequence of draws for one (seed, stream, sample, step). Cheap to make: make one per image or per tensor.
/// Limits: sample < 2^48, as it shares a word with the stream; step < 2^32; 2^32 blocks of four words per
/// sequence.
class Random {
 public:
  constexpr Random(uint64_t seed, Stream stream, uint64_t sample = 0, uint32_t step = 0)
      : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
        counter_{0, step, static_cast<uint32_t>(sample),
                 static_cast<uint32_t>(sample >> 32) | (static_cast<uint32_t>(stream) << 16)} {}

  /// The next 32 random bits.
  constexpr uint32_t bits() {
    if (next_ == 4) {
      block_ = block(counter_[0]++);
      next_ = 0;
    }
    return block_[next_++];
  }

  /// Draws 4 * i to 4 * i + 3 of the sequence from its start, whatever was drawn so far: where many threads
  /// share one.
  constexpr std::array<uint32_t, 4> block(uint32_t i) const {
    std::array<uint32_t, 4> counter = counter_;
    counter[0] = i;
    return philox(counter, key_);
  }

  /// Uniform in [0, 1) with 24 bits: exact in float32, the same on every device.
  constexpr float uniform() { return static_cast<float>(bits() >> 8) * 0x1p-24f; }
  /// Uniform in [0, 1) with 53 bits.
  constexpr double uniform_double() {
    const uint32_t first = bits(), second = bits();
    return fraction(first, second);
  }
  /// The same from two words of the sequence, as they come.
  static constexpr double fraction(uint32_t first, uint32_t second) {
    return static_cast<double>((uint64_t{first >> 5} << 26) | (second >> 6)) * 0x1p-53;
  }
  /// Uniform integer in [0, n), n < 2^32; bias below n / 2^32.
  constexpr uint32_t below(uint32_t n) { return static_cast<uint32_t>((uint64_t{bits()} * n) >> 32); }
  /// Standard normal (core/normal.h); of a new sequence, draw i is made from block(i).
  double normal();

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  uint32_t next_ = 4;
};

}  // namespace hashgrad
