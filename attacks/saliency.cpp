#include "attacks/saliency.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hashgrad {
namespace {

/// A feature as a point: what its change does for the target, and against the others.
struct Point {
  double rise, drop;
  int64_t index;
};

template <class T>
std::vector<Point> free_points(const T* rise, const T* drop, const std::vector<bool>& free,
                               double direction) {
  const int64_t n = std::ssize(free);
  const double up = direction * slope_unit(rise, n), down = direction * slope_unit(drop, n);
  std::vector<Point> points;
  points.reserve(free.size());
  for (int64_t i = 0; i < n; ++i)
    if (free[static_cast<size_t>(i)])
      points.push_back({up * static_cast<double>(rise[i]), down * static_cast<double>(drop[i]), i});
  return points;
}

/// The points that may be in a best pair, without those that two good ones, found in one pass, beat in both
/// coordinates: of the hundreds of features of an image a few are left to sort.
std::vector<Point> contenders(std::vector<Point> points) {
  const Point *best = nullptr, *next = nullptr;  // the two largest sums
  const auto sum = [](const Point& p) { return p.rise + p.drop; };
  for (const Point& p : points) {
    if (!best || sum(p) > sum(*best))
      next = std::exchange(best, &p);
    else if (!next || sum(p) > sum(*next))
      next = &p;
  }
  if (!next) return points;
  const Point one = *best, other = *next;
  std::erase_if(points, [&](const Point& p) {
    return p.rise < one.rise && p.drop < one.drop && p.rise < other.rise && p.drop < other.drop;
  });
  return points;
}

/// The points that at most one other point beats: is as good in both coordinates, and better in one or
/// earlier. A pair with any other point can be improved, or made earlier, by a point that beats it.
std::vector<Point> front(std::vector<Point> points) {
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
    if (a.rise != b.rise) return a.rise > b.rise;
    return a.drop != b.drop ? a.drop > b.drop : a.index < b.index;
  });
  constexpr double least = -std::numeric_limits<double>::infinity();
  double first = least, second = least;  // the two largest drops so far
  std::vector<Point> result;
  for (const Point& p : points) {
    if (p.drop > second || second == least) result.push_back(p);
    if (p.drop > first)
      second = std::exchange(first, p.drop);
    else
      second = std::max(second, p.drop);
  }
  std::sort(result.begin(), result.end(), [](const Point& a, const Point& b) { return a.index < b.index; });
  return result;
}

}  // namespace

Saliency saliency(const Oracle& oracle, const Tensor& x, const Tensor& targets, Outputs of) {
  const int64_t n = x.size(0), k = oracle.model().classes(), copies = of == Outputs::probs ? 1 : 2;
  Tensor cotangents = Tensor::zeros({copies, n, k}, x.dtype());
  for_float_type(x.dtype(), "saliency", [&]<class T>() {
    T* c = cotangents.data<T>();
    for (int64_t i = 0; i < n; ++i) {
      const int64_t t = targets.data<int64_t>()[i];
      c[i * k + t] = 1;
      for (int64_t o = 0; o < k && copies == 2; ++o) c[(n + i) * k + o] = o == t ? T{0} : T{-1};
    }
  });
  const auto [logits, products] = oracle.vjp(x, cotangents, of);  // [copies,N,C,H,W]
  const Tensor rise = products.slice(0, 0, 1).reshape(x.shape());
  return {logits, rise, copies == 1 ? rise : products.slice(0, 1, 2).reshape(x.shape()), copies};
}

template <class T>
double slope_unit(const T* slopes, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(static_cast<double>(slopes[i])));
  if (largest == 0 || !std::isfinite(largest)) return 1;
  constexpr int most = 1000;  // for slopes that are denormal numbers
  return std::ldexp(1, std::min(-std::ilogb(largest), most));
}

template <class T>
std::optional<int64_t> best_feature(const T* rise, const T* drop, const std::vector<bool>& free,
                                    double direction) {
  std::optional<int64_t> best;
  double best_score = 0;
  for (const Point& p : free_points(rise, drop, free, direction)) {
    if (!(p.rise > 0 && p.drop > 0)) continue;
    const double score = p.rise * p.drop;
    if (!best || score > best_score) best = p.index, best_score = score;
  }
  return best;
}

template <class T>
std::optional<std::pair<int64_t, int64_t>> best_pair(const T* rise, const T* drop,
                                                     const std::vector<bool>& free, double direction) {
  const std::vector<Point> points = front(contenders(free_points(rise, drop, free, direction)));
  std::optional<std::pair<int64_t, int64_t>> best;
  double best_score = 0;
  for (size_t p = 0; p < points.size(); ++p)
    for (size_t q = p + 1; q < points.size(); ++q) {
      const double up = points[p].rise + points[q].rise, down = points[p].drop + points[q].drop;
      if (!(up > 0 && down > 0)) continue;
      if (!best || up * down > best_score) best = {points[p].index, points[q].index}, best_score = up * down;
    }
  return best;
}

template double slope_unit(const float*, int64_t);
template double slope_unit(const double*, int64_t);
template std::optional<int64_t> best_feature(const float*, const float*, const std::vector<bool>&, double);
template std::optional<int64_t> best_feature(const double*, const double*, const std::vector<bool>&, double);
template std::optional<std::pair<int64_t, int64_t>> best_pair(const float*, const float*,
                                                              const std::vector<bool>&, double);
template std::optional<std::pair<int64_t, int64_t>> best_pair(const double*, const double*,
                                                              const std::vector<bool>&, double);

}  // namespace hashgrad
