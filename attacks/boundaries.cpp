#include "attacks/boundaries.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "attacks/rows.h"
#include "core/math_mode.h"

namespace hashgrad {
namespace {

template <class T>
double dual_norm(Norm norm, const T* w, int64_t n) {
  double largest = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(static_cast<double>(w[i])));
  if (largest == 0) return 0;
  for (int64_t i = 0; i < n; ++i) {  // in units of the largest, so that no square underflows
    const double share = std::abs(static_cast<double>(w[i])) / largest;
    sum += norm == Norm::l2 ? share * share : share;
  }
  if (norm == Norm::l1) return std::isfinite(sum) ? largest : sum;  // a maximum overlooks a NaN
  return largest * (norm == Norm::linf ? sum : std::sqrt(sum));
}

/// to_plane for l1: the pixels that close most of the gap per unit that they move go first, each as far as it
/// can, until `goal` is closed. `weight` and `room` are those of to_plane.
template <class Weight, class Room>
std::vector<double> ways_of_few(int64_t n, double goal, const Weight& weight, const Room& room) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return weight(a) > weight(b); });
  std::vector<double> ways(static_cast<size_t>(n), 0);
  for (const int64_t i : order) {
    if (!(goal > 0) || !(weight(i) > 0)) break;
    const double way = std::min(goal / weight(i), room(i));
    ways[static_cast<size_t>(i)] = way;
    goal -= way * weight(i);
  }
  return ways;
}

}  // namespace

double Boundaries::gap(int64_t row, size_t m) const {
  const ClassPair pair = pairs[static_cast<size_t>(row)][m];
  return for_float_type(logits.dtype(), "boundaries", [&]<class T>() {
    const T* z = logits.data<T>() + row * logits.size(1);
    return static_cast<double>(z[pair.plus]) - static_cast<double>(z[pair.minus]);
  });
}

Boundaries boundaries(
    const Oracle& oracle, const Tensor& x, int64_t count,
    const std::function<std::vector<ClassPair>(int64_t row, const std::vector<double>& logits)>& pairs) {
  Boundaries result;
  result.pairs.resize(static_cast<size_t>(x.size(0)));
  const auto choose = [&](const Tensor& logits, int64_t begin) {
    const int64_t rows = logits.size(0), k = logits.size(1);
    const std::vector<double> z = logits.to(DType::float64).to_vector<double>();
    Tensor cotangents = Tensor::zeros({count, rows, k}, logits.dtype());
    for_float_type(logits.dtype(), "boundaries", [&]<class T>() {
      T* c = cotangents.data<T>();
      for (int64_t row = 0; row < rows; ++row) {
        std::vector<ClassPair>& own = result.pairs[static_cast<size_t>(begin + row)];
        own = pairs(begin + row, {z.begin() + row * k, z.begin() + (row + 1) * k});
        for (size_t m = 0; m < own.size(); ++m) {
          T* cotangent = c + (static_cast<int64_t>(m) * rows + row) * k;
          cotangent[own[m].plus] += T{1};
          cotangent[own[m].minus] -= T{1};
        }
      }
    });
    return cotangents;
  };
  std::tie(result.logits, result.normals) = oracle.vjp(x, count, choose);
  result.normals = result.normals.to(Device{});
  if (math_mode() != Math::fp32) result.logits = oracle.exact_logits(x);  // the gaps are small differences
  return result;
}

Status Boundaries::why_none(int64_t row) const {
  const int64_t m = normals.size(0);
  bool finite = finite_rows(logits.slice(0, row, row + 1).contiguous())[0];
  for (int64_t i = 0; i < m && finite; ++i)
    finite = finite_rows(normals.slice(0, i, i + 1).slice(1, row, row + 1).contiguous())[0];
  return finite ? Status::zero_grad : Status::nan;
}

template <class T>
std::optional<Plane<T>> nearest(const Boundaries& b, int64_t row, Norm norm, double slack) {
  const int64_t rows = b.normals.size(1), n = b.normals.numel() / (b.normals.size(0) * rows);
  double best = std::numeric_limits<double>::infinity();
  std::optional<Plane<T>> result;
  for (size_t m = 0; m < b.pairs[static_cast<size_t>(row)].size(); ++m) {
    const T* w = b.normals.data<T>() + (static_cast<int64_t>(m) * rows + row) * n;
    const double dual = dual_norm(norm, w, n), gap = b.gap(row, m);
    if (!(dual > 0) || !std::isfinite(dual)) continue;
    const double distance = (std::abs(gap) + slack) / dual;
    if (distance < best) best = distance, result = {gap, w, dual};
  }
  return result;
}

template <class T>
void to_plane(Norm norm, const T* x, const T* normal, double gap, int64_t n, double* delta) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(static_cast<double>(normal[i])));
  const double goal = std::abs(gap) / largest, up = gap < 0 ? 1 : -1;
  // A pixel closes `weight` of the gap per unit that it moves, in units of the largest so that no product
  // underflows; it moves at `speed` until it runs out of `room`.
  const auto weight = [&](int64_t i) { return std::abs(static_cast<double>(normal[i])) / largest; };
  const auto speed = [&](int64_t i) { return norm == Norm::linf ? 1 : weight(i); };
  const auto room = [&](int64_t i) {
    const double v = static_cast<double>(x[i]);
    return up * static_cast<double>(normal[i]) > 0 ? 1 - v : v;
  };
  if (norm == Norm::l1) {
    const std::vector<double> ways = ways_of_few(n, goal, weight, room);
    for (int64_t i = 0; i < n; ++i)
      delta[i] = std::copysign(ways[static_cast<size_t>(i)], up * static_cast<double>(normal[i]));
    return;
  }
  // After a time t, min(t * speed, room) per pixel closes a concave, piecewise linear function of t. Newton's
  // method rises to the root from below, and is there once no further pixel has run out of room.
  double t = 0;
  for (bool rising = goal > 0; rising;) {
    double closed = 0, slope = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (t * speed(i) >= room(i))
        closed += weight(i) * room(i);
      else
        slope += weight(i) * speed(i);
    }
    const double out_of_reach = closed < goal ? std::numeric_limits<double>::max() : t;
    const double next =
        slope > 0 ? std::min((goal - closed) / slope, std::numeric_limits<double>::max()) : out_of_reach;
    rising = next > t;
    if (rising) t = next;
  }
  for (int64_t i = 0; i < n; ++i)
    delta[i] = normal[i] == 0
                   ? 0
                   : std::copysign(std::min(t * speed(i), room(i)), up * static_cast<double>(normal[i]));
}

#define INSTANTIATE(T)                                                                \
  template std::optional<Plane<T>> nearest(const Boundaries&, int64_t, Norm, double); \
  template void to_plane(Norm, const T*, const T*, double, int64_t, double*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad
