// The decision boundaries near an image as planes, and the way to a plane inside the box: what deepfool and
// fab are made of.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "attacks/attack.h"

namespace hashgrad {

/// The boundary between two classes: where z_plus = z_minus. One with plus == minus is none.
struct ClassPair {
  int64_t plus, minus;
};

/// For each of N rows M boundaries, linearised at the row: z_plus - z_minus ~ gap + normal * (x' - x).
struct Boundaries {
  Tensor logits;                              // [N,K]
  std::vector<std::vector<ClassPair>> pairs;  // [N][M]
  Tensor normals;                             // [M,N,C,H,W]

  double gap(int64_t row, size_t m) const;
  /// Why a row has no boundary to walk to: nan where a logit or a normal is not a number, else zero_grad.
  Status why_none(int64_t row) const;
};

/// All M = `count` of them by one forward and one stacked backward pass (M cotangents). `pairs` names the
/// boundaries of a row, at most M, from its logits.
Boundaries boundaries(
    const Oracle& oracle, const Tensor& x, int64_t count,
    const std::function<std::vector<ClassPair>(int64_t row, const std::vector<double>& logits)>& pairs);

/// A plane gap + normal * (x' - x) = 0 in the space of one image.
template <class T>
struct Plane {
  double gap;
  const T* normal;
  double dual;  // ||normal||_1 for linf, ||normal||_2 for l2, the largest |element| for l1; not zero
};

/// The boundary of `row` nearest to it by (|gap| + slack) / dual, the first on ties. Boundaries whose normal
/// is zero or not finite do not count; none if there is no other.
template <class T>
std::optional<Plane<T>> nearest(const Boundaries& b, int64_t row, Norm norm, double slack = 0);

/// delta [n] = the shortest way from x [n], whose gap to a plane with this normal is `gap`, to that plane
/// inside the box [0,1]. Exact. Where the box does not meet the plane: as far towards it as the box goes.
template <class T>
void to_plane(Norm norm, const T* x, const T* normal, double gap, int64_t n, double* delta);

}  // namespace hashgrad
