// Panels of matrices whose numbers stay as they are for a while: the weights of a network under attack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "cpu/scratch.h"

namespace hashgrad::cpu {

/// A matrix as operand B of a product: [k, n] with rows of ld numbers, or [n, k] when transposed.
struct UseAsB {
  const void* data;
  bool transposed;
  int64_t n, k, ld;
  bool operator==(const UseAsB&) const = default;
};

/// While one of these lives, products on this thread whose operand B lies at one of the given addresses pack
/// it once and find its panels again. The numbers there must not change meanwhile. Takes the memory of a
/// matrix again for each way in which it is used, at most twice.
class KeepPanels {
 public:
  explicit KeepPanels(std::vector<const void*> matrices);
  ~KeepPanels();
  KeepPanels(const KeepPanels&) = delete;
  KeepPanels& operator=(const KeepPanels&) = delete;

  struct Found {
    void* panels;  // aligned to 64 bytes; null when nobody keeps this matrix
    bool empty;    // the caller has to fill them
  };
  /// The place of so many bytes for the panels of `use`.
  static Found find(const UseAsB& use, size_t bytes);

 private:
  struct Kept {
    Kept(const UseAsB& of, size_t bytes) : use(of), panels(static_cast<int64_t>(bytes)) {}
    UseAsB use;
    Scratch<uint8_t> panels;
  };

  std::vector<const void*> matrices_;
  std::deque<Kept> kept_;
  KeepPanels* outer_;  // what was kept on this thread before
};

}  // namespace hashgrad::cpu
