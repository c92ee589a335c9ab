#include "cpu/attack_step_sparse.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "cpu/attack_step.h"
#include "cpu/attack_step_functions.h"

namespace hashgrad::cpu {
namespace {

using namespace functions;

/// body(row, its first element) for every row, in parallel.
template <class Body>
void for_rows(int64_t rows, int64_t columns, const Body& body) {
  parallel_for(rows, [&](int64_t row) { body(row, row * columns); });
}

/// The indices of the `count` largest of n values, of those above 0, so of no NaN; in no order.
template <class Value>
std::vector<int64_t> largest_indices(int64_t n, double count, const Value& value) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < n; ++i)
    if (value(i) > 0) order.push_back(i);
  if (count >= static_cast<double>(order.size())) return order;
  const auto end = order.begin() + static_cast<int64_t>(count);
  std::nth_element(order.begin(), end, order.end(), [&](int64_t a, int64_t b) {
    return value(a) > value(b) || (value(a) == value(b) && a < b);
  });
  order.erase(end, order.end());
  return order;
}

/// An element that wants to move by `wanted` and can move by `room`, both at least 0.
struct Reach {
  double wanted, room;
};

/// How much to take off every wanted way so that the rooms and `eps` suffice: the root t of
/// sum min(max(wanted - t, 0), room) = eps, where the sum at 0 exceeds eps. The sum is piecewise linear in t,
/// so going down through its sorted kinks from where it is 0 finds the piece that crosses eps.
double threshold_of(const std::vector<Reach>& reaches, double eps) {
  struct Kink {
    double at;
    int turn;  // elements that begin to grow, or stop
  };
  std::vector<Kink> kinks;
  for (const Reach& r : reaches) {
    if (r.wanted <= 0 || r.room <= 0) continue;
    kinks.push_back({r.wanted, 1});
    kinks.push_back({r.wanted - r.room, -1});
  }
  std::sort(kinks.begin(), kinks.end(), [](const Kink& a, const Kink& b) { return a.at > b.at; });
  double sum = 0, growing = 0, above = 0;
  for (const Kink& kink : kinks) {
    const double next = sum + growing * (above - kink.at);
    if (growing > 0 && next >= eps) break;
    sum = next, growing += kink.turn, above = kink.at;
  }
  return growing > 0 ? std::max(above - (eps - sum) / growing, 0.0) : 0;
}

/// centre + way in T, rounded towards the centre, in the box.
template <class T>
T moved_by(T centre, double way) {
  const T v = in_box(static_cast<T>(static_cast<double>(centre) + way));
  return std::abs(difference_of(v, centre)) > std::abs(way) ? std::nextafter(v, centre) : v;
}

template <class T>
double l1_of_difference(int64_t n, const T* x, const T* centre) {
  double all[4];
  distances(1, n, centre, x, all);
  return all[1];
}

template <class T>
void project_l1_row(int64_t n, double eps, const T* x, const T* centre, T* out) {
  std::vector<double> ways(static_cast<size_t>(n));
  std::vector<Reach> reaches(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const size_t at = static_cast<size_t>(i);
    ways[at] = difference_of(x[i], centre[i]);
    reaches[at] = {std::abs(ways[at]),
                   ways[at] > 0 ? difference_of(T{1}, centre[i]) : static_cast<double>(centre[i])};
  }
  std::transform(x, x + n, out, in_box<T>);
  if (!(l1_of_difference(n, out, centre) > eps)) return;
  const double threshold = threshold_of(reaches, eps);
  // The sum may still be above eps by rounding, so more is taken off, faster and faster, until it is not.
  const double least = std::max(0x1p-52 * (threshold + eps), std::numeric_limits<double>::denorm_min());
  for (double more = 0;; more = std::max(2 * more, least)) {
    for (int64_t i = 0; i < n; ++i) {
      const Reach& reach = reaches[static_cast<size_t>(i)];
      const double way = std::min(std::max(reach.wanted - (threshold + more), 0.0), reach.room);
      out[i] = moved_by(centre[i], std::copysign(way, ways[static_cast<size_t>(i)]));
    }
    if (!(l1_of_difference(n, out, centre) > eps)) return;
  }
}

/// The gain of an element is how much farther from x the row would be without its change.
template <class T>
void project_l0_row(int64_t n, double eps, const T* x, const T* centre, T* out) {
  const std::vector<T> from(x, x + n);
  const auto gain = [&](int64_t i) {
    const T v = from[static_cast<size_t>(i)];
    return square_of(difference_of(v, centre[i])) - square_of(difference_of(v, in_box(v)));
  };
  const std::vector<int64_t> kept = largest_indices(n, std::floor(eps), gain);
  std::copy_n(centre, n, out);
  for (const int64_t i : kept) out[i] = in_box(from[static_cast<size_t>(i)]);
}

}  // namespace

template <class T>
void sparse_signs(int64_t rows, int64_t columns, const int64_t* kept, const T* gradient, T* out) {
  for_rows(rows, columns, [=](int64_t row, int64_t at) {
    const std::vector<T> g(gradient + at, gradient + at + columns);
    const std::vector<int64_t> indices =
        largest_indices(columns, static_cast<double>(kept[row]),
                        [&](int64_t i) { return std::abs(g[static_cast<size_t>(i)]); });
    std::fill_n(out + at, columns, T{0});
    for (const int64_t i : indices)
      out[at + i] = direction_of(g[static_cast<size_t>(i)]) / static_cast<T>(indices.size());
  });
}

template <class T>
void scaled_rows(int64_t rows, int64_t columns, double length, const T* gradient, T* out) {
  for_rows(rows, columns, [=](int64_t, int64_t at) {
    double largest = 0, sum = 0;
    for (int64_t i = at; i < at + columns; ++i)
      largest = larger_of(largest, std::abs(static_cast<double>(gradient[i])));
    for (int64_t i = at; i < at + columns && largest > 0; ++i)
      sum += std::abs(static_cast<double>(gradient[i])) / largest;
    for (int64_t i = at; i < at + columns; ++i)
      out[i] =
          largest > 0 ? static_cast<T>(length * (static_cast<double>(gradient[i]) / largest / sum)) : T{0};
  });
}

template <class T>
void inward(int64_t n, const T* x, const T* gradient, T* out) {
  for (int64_t i = 0; i < n; ++i)
    out[i] = (x[i] <= 0 && gradient[i] < 0) || (x[i] >= 1 && gradient[i] > 0) ? T{0} : gradient[i];
}

template <class T>
void project_l1(int64_t rows, int64_t columns, double eps, const T* x, const T* centre, T* out) {
  for_rows(rows, columns,
           [=](int64_t, int64_t at) { project_l1_row(columns, eps, x + at, centre + at, out + at); });
}

template <class T>
void project_l0(int64_t rows, int64_t columns, double eps, const T* x, const T* centre, T* out) {
  for_rows(rows, columns,
           [=](int64_t, int64_t at) { project_l0_row(columns, eps, x + at, centre + at, out + at); });
}

template <class T>
void start_l1(int64_t rows, int64_t columns, double eps, uint64_t seed, uint32_t restart,
              const int64_t* samples, const T* centre, T* out) {
  for_rows(rows, columns, [=](int64_t row, int64_t at) {
    const Random random(seed, Stream::attack, static_cast<uint64_t>(samples[row]), restart);
    std::vector<double> ways(static_cast<size_t>(columns) + 1);  // the last spacing is what is left of eps
    double sum = 0;
    for (size_t i = 0; i < ways.size(); ++i) {
      const auto words = random.block(static_cast<uint32_t>(i));
      const double spacing = -normal::log_of(1 - Random::fraction(words[0], words[1]));
      sum += spacing;
      ways[i] = words[2] % 2 == 0 ? spacing : -spacing;
    }
    for (int64_t i = 0; i < columns; ++i)
      out[at + i] = offset_by(centre[at + i], eps / larger_of(sum, 1e-300), ways[static_cast<size_t>(i)]);
  });
}

template <class T>
void start_l0(int64_t rows, int64_t columns, double eps, uint64_t seed, uint32_t restart,
              const int64_t* samples, const T* centre, T* out) {
  for_rows(rows, columns, [=](int64_t row, int64_t at) {
    const Random random(seed, Stream::attack, static_cast<uint64_t>(samples[row]), restart);
    const auto draw = [&](int64_t i, size_t which) {
      const auto words = random.block(static_cast<uint32_t>(i));
      return Random::fraction(words[2 * which], words[2 * which + 1]);
    };
    const std::vector<int64_t> chosen =
        largest_indices(columns, std::floor(eps), [&](int64_t i) { return 1 + draw(i, 0); });
    std::copy_n(centre + at, columns, out + at);
    for (const int64_t i : chosen) out[at + i] = static_cast<T>(draw(i, 1));
  });
}

#define INSTANTIATE(T)                                                                                \
  template void sparse_signs(int64_t, int64_t, const int64_t*, const T*, T*);                         \
  template void scaled_rows(int64_t, int64_t, double, const T*, T*);                                  \
  template void inward(int64_t, const T*, const T*, T*);                                              \
  template void project_l1(int64_t, int64_t, double, const T*, const T*, T*);                         \
  template void project_l0(int64_t, int64_t, double, const T*, const T*, T*);                         \
  template void start_l1(int64_t, int64_t, double, uint64_t, uint32_t, const int64_t*, const T*, T*); \
  template void start_l0(int64_t, int64_t, double, uint64_t, uint32_t, const int64_t*, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
