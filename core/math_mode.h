// In what arithmetic matrix products and convolutions of float32 are computed. Sums are float32 in all of
// them.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

namespace hashgrad {

/// cpu/README.md has the errors of each, and what they cost.
enum class Math {
  fp32,        ///< operands as they are
  split_bf16,  ///< operands as sums of two bf16 (16 bits of 24), three products for one; errors up to 1.4e-5
  split_bf16_x6,  ///< of three bf16 (all 24 bits), six products for one: about as exact as fp32, but flushes
                  ///< denormals
  bf16            ///< operands rounded to bf16 (8 bits of 24): mixed precision. The CPU engine computes some
                  ///< gradients in fp32 where that is faster
};

/// As on the command line: fp32, split-bf16, split-bf16-x6, bf16.
const char* name_of(Math math);
/// Error when `text` is no such name.
Math parse_math(const std::string& text);
const std::vector<std::string>& math_names();

/// What the calling thread asked for; fp32 unless a MathScope lives. The gemm, conv2d and hash_gemm functions
/// of the CPU engine read it when they are called. The GPU engines know fp32 and bf16, the latter not for
/// matrices that are hashed on the way, and refuse the others. Operands of double are never rounded.
Math math_mode();

/// The calling thread's choice for as long as this lives.
class MathScope {
 public:
  explicit MathScope(Math wanted);
  ~MathScope();
  MathScope(const MathScope&) = delete;
  MathScope& operator=(const MathScope&) = delete;

 private:
  Math before_;
};

/// The nearest bf16 as a float, ties to even; a NaN stays one.
inline float rounded_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return std::bit_cast<float>(0x7fff0000u);
  return std::bit_cast<float>((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
}

}  // namespace hashgrad
