// Packed weights whose numbers stay as they are for a while: those of a network under attack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "cpu/scratch.h"

namespace hashgrad::cpu {

/// What weights are packed for.
struct PackedUse {
  /// b, b_transposed: operand B of a product, [k, n] with rows of ld numbers, or [n, k]. winograd,
  /// winograd_turned: a convolution of k to n channels (cpu/winograd.h), or the gradient of its input; ld: as
  /// so many bf16 numbers each, or 0. pairs, pairs_turned: likewise (cpu/conv2d_pairs.h).
  enum class As { b, b_transposed, winograd, winograd_turned, pairs, pairs_turned };
  const void* data;
  As as;
  int64_t n, k, ld = 0;
  bool operator==(const PackedUse&) const = default;
};

/// While one of these lives, what works on this thread with weights at one of the given addresses packs them
/// once and finds the panels again. The numbers there must not change meanwhile. Takes the memory of a matrix
/// again for each way in which it is used, forward and backward, in each arithmetic: in fp32 16/9 or 64/25 of
/// it for kernels of 3x3 or 5x5, in bf16 half of that where that goes Winograd's way, in the others half of
/// the matrix for each bf16 number.
class KeepPanels {
 public:
  explicit KeepPanels(std::vector<const void*> matrices);
  ~KeepPanels();
  KeepPanels(const KeepPanels&) = delete;
  KeepPanels& operator=(const KeepPanels&) = delete;

  struct Found {
    void* panels;  // aligned to 64 bytes; null when nobody keeps these weights
    bool empty;    // the caller has to fill them
  };
  /// The place of so many bytes for the panels of `use`.
  static Found find(const PackedUse& use, size_t bytes);

 private:
  struct Kept {
    Kept(const PackedUse& of, size_t bytes) : use(of), panels(static_cast<int64_t>(bytes)) {}
    PackedUse use;
    Scratch<uint8_t> panels;
  };

  std::vector<const void*> matrices_;
  std::deque<Kept> kept_;
  KeepPanels* outer_;  // what was kept on this thread before
};

}  // namespace hashgrad::cpu
