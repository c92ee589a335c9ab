// How kernels read the vectors of a PixelVector (cpu/kernels.h) out of a padded plane.
#pragma once

#include "cpu/kernels.h"
#include "cpu/kernels/simd.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

template <class T>
constexpr int lanes = Simd<T>::lanes;
/// Pixels from one PixelVector to the next: also a whole number of vectors into a block of depth, a multiple
/// of 8.
template <class T>
constexpr int spacing = lanes<T> < 8 ? lanes<T> : 8;

/// The read of a PixelVector of so many runs, its masks made once and used for every tap.
template <class T, int runs>
struct Reader {
  using V = Vector<T>;
  LaneMask<T> from[runs];
  const T* start[runs];

  [[gnu::always_inline]] void aim(const T* image, const PixelVector& pixels) {
#pragma GCC unroll 8
    for (int r = 0; r < runs; ++r) {
      start[r] = image + pixels.start[r];
      if (r > 0) from[r] = lanes_from<T>(pixels.turn[r - 1]);
    }
  }
  [[gnu::always_inline]] V operator()(int64_t offset) const {
    V x = load<V>(start[0] + offset);
#pragma GCC unroll 8
    for (int r = 1; r < runs; ++r) x = load_where(from[r], start[r] + offset, x);
    return x;
  }
};

/// Calls body.operator()<n>() with n >= runs; a vector has no more runs than lanes.
template <class T, class Body>
void for_runs(int runs, const Body& body) {
  if (runs <= 2)
    body.template operator()<2>();
  else if (runs == 3)
    body.template operator()<3>();
  else if (runs == 4 || lanes<T> <= 4)
    body.template operator()<4>();
  else if constexpr (lanes<T> > 4)
    body.template operator()<PixelVector::most_runs>();
}

}  // namespace
}  // namespace hashgrad::cpu::HASHGRAD_ISA
