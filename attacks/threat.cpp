#include "attacks/threat.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/random.h"

namespace hashgrad {
namespace {

constexpr int64_t rows_per_task = 16;

int64_t row_size(const Tensor& t) { return t.size(0) == 0 ? 0 : t.numel() / t.size(0); }

/// Calls body(row) for all rows of t, in parallel.
template <class F>
void for_rows(const Tensor& t, const F& body) {
  parallel_ranges(t.size(0), rows_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

void check_pair(const Tensor& a, const Tensor& b, const char* op) {
  check(a.is_contiguous() && b.is_contiguous(), "{}: views are not accepted, use contiguous()", op);
  check(a.shape() == b.shape() && a.dtype() == b.dtype(), "{}: {} {} against {} {}", op, name_of(a.dtype()),
        a.shape(), name_of(b.dtype()), b.shape());
}

template <class T>
double squared_distance(const T* a, const T* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return sum;
}

template <class T>
T into_box(T v) {
  return std::clamp(v, T{0}, T{1});
}

template <class T>
void project_linf(const T* x, const T* centre, double eps, int64_t n, T* out) {
  for (int64_t i = 0; i < n; ++i) {
    const double c = static_cast<double>(centre[i]);
    T v = into_box(static_cast<T>(std::clamp(static_cast<double>(x[i]), c - eps, c + eps)));
    // Rounding to T may have left the ball by half a unit in the last place.
    while (std::abs(static_cast<double>(v) - c) > eps) v = std::nextafter(v, centre[i]);
    out[i] = v;
  }
}

template <class T>
void project_l2(const T* x, const T* centre, double eps, int64_t n, T* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = into_box(x[i]);
  const double norm = std::sqrt(squared_distance(x, centre, n));
  if (!(norm > eps)) return;
  // The scaled row may be outside by rounding, so the factor shrinks, faster and faster, until it is not.
  double shrink = 0x1p-52;
  for (double factor = eps / norm;; factor *= 1 - shrink, shrink = std::min(1.0, 2 * shrink)) {
    for (int64_t i = 0; i < n; ++i) {
      const double c = static_cast<double>(centre[i]);
      out[i] = into_box(static_cast<T>(c + factor * (static_cast<double>(x[i]) - c)));
    }
    if (std::sqrt(squared_distance(out, centre, n)) <= eps) return;
  }
}

/// gradient / ||gradient||_2, by way of gradient / max |gradient| so that no square underflows.
template <class T>
void unit_l2(const T* g, int64_t n, T* out) {
  double largest = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(static_cast<double>(g[i])));
  for (int64_t i = 0; i < n; ++i) sum += std::pow(static_cast<double>(g[i]) / largest, 2);
  for (int64_t i = 0; i < n; ++i)
    out[i] = largest == 0 ? T{0} : static_cast<T>(static_cast<double>(g[i]) / largest / std::sqrt(sum));
}

}  // namespace

Norm parse_norm(const std::string& text) {
  check(text == "linf" || text == "l2", "norm: '{}' is neither linf nor l2", text);
  return text == "linf" ? Norm::linf : Norm::l2;
}

const char* name_of(Norm norm) { return norm == Norm::linf ? "linf" : "l2"; }

void validate(const Threat& threat, const char* attack) {
  check(threat.eps >= 0 && threat.eps <= 1e30, "{}: eps = {}, a number in [0, 1e30] expected", attack,
        threat.eps);
}

Tensor steepest(const Tensor& gradient, Norm norm) {
  Tensor result = Tensor::empty(gradient.shape(), gradient.dtype());
  const int64_t d = row_size(gradient);
  for_float_type(gradient.dtype(), "steepest", [&]<class T>() {
    const T* g = gradient.data<T>();
    T* out = result.data<T>();
    for_rows(gradient, [&](int64_t row) {
      if (norm == Norm::l2) return unit_l2(g + row * d, d, out + row * d);
      for (int64_t i = row * d; i < (row + 1) * d; ++i) out[i] = static_cast<T>((g[i] > 0) - (g[i] < 0));
    });
  });
  return result;
}

Tensor step(const Tensor& x, double scale, const Tensor& direction) {
  check_pair(x, direction, "step");
  Tensor result = Tensor::empty(x.shape(), x.dtype());
  for_float_type(x.dtype(), "step", [&]<class T>() {
    const T *from = x.data<T>(), *along = direction.data<T>();
    T* out = result.data<T>();
    for (int64_t i = 0; i < x.numel(); ++i) out[i] = from[i] + static_cast<T>(scale) * along[i];
  });
  return result;
}

Tensor project(const Tensor& x, const Tensor& centre, const Threat& threat) {
  check_pair(x, centre, "project");
  Tensor result = Tensor::empty(x.shape(), x.dtype());
  const int64_t d = row_size(x);
  for_float_type(x.dtype(), "project", [&]<class T>() {
    const T *from = x.data<T>(), *c = centre.data<T>();
    T* out = result.data<T>();
    for_rows(x, [&](int64_t row) {
      const auto one = threat.norm == Norm::linf ? project_linf<T> : project_l2<T>;
      one(from + row * d, c + row * d, threat.eps, d, out + row * d);
    });
  });
  return result;
}

Tensor clip(const Tensor& x) {
  Tensor result = Tensor::empty(x.shape(), x.dtype());
  for_float_type(x.dtype(), "clip", [&]<class T>() {
    std::transform(x.data<T>(), x.data<T>() + x.numel(), result.data<T>(), into_box<T>);
  });
  return result;
}

Tensor random_start(const Tensor& centre, const Threat& threat, uint64_t seed,
                    const std::vector<int64_t>& samples, uint32_t restart) {
  Tensor start = Tensor::empty(centre.shape(), centre.dtype());
  const int64_t d = row_size(centre);
  for_float_type(centre.dtype(), "random_start", [&]<class T>() {
    const T* c = centre.data<T>();
    T* out = start.data<T>();
    for_rows(centre, [&](int64_t row) {
      Random random(seed, Stream::attack, static_cast<uint64_t>(samples[static_cast<size_t>(row)]), restart);
      std::vector<double> offset(static_cast<size_t>(d));
      double scale = threat.eps;
      if (threat.norm == Norm::linf) {
        for (double& o : offset) o = 2 * random.uniform_double() - 1;
      } else {  // a uniform direction, and the radius that fills the ball evenly
        double sum = 0;
        for (double& o : offset) o = random.normal(), sum += o * o;
        scale *=
            std::pow(random.uniform_double(), 1 / static_cast<double>(d)) / std::sqrt(std::max(sum, 1e-300));
      }
      for (int64_t i = 0; i < d; ++i)
        out[row * d + i] =
            static_cast<T>(static_cast<double>(c[row * d + i]) + scale * offset[static_cast<size_t>(i)]);
    });
  });
  return project(start, centre, threat);
}

Distances distances(const Tensor& x, const Tensor& x_adv) {
  check_pair(x, x_adv, "distances");
  const Shape rows{x.size(0)};
  Distances result{Tensor::zeros(rows, DType::float64), Tensor::zeros(rows, DType::float64),
                   Tensor::zeros(rows, DType::float64), Tensor::zeros(rows, DType::float64)};
  const int64_t d = row_size(x);
  for_float_type(x.dtype(), "distances", [&]<class T>() {
    const T *a = x.data<T>(), *b = x_adv.data<T>();
    for_rows(x, [&](int64_t row) {
      double l0 = 0, l1 = 0, linf = 0;
      for (int64_t i = row * d; i < (row + 1) * d; ++i) {
        const double difference = std::abs(static_cast<double>(b[i]) - static_cast<double>(a[i]));
        l0 += a[i] != b[i];
        l1 += difference;
        linf = std::max(linf, difference);
      }
      result.l0.data<double>()[row] = l0;
      result.l1.data<double>()[row] = l1;
      result.l2.data<double>()[row] = std::sqrt(squared_distance(b + row * d, a + row * d, d));
      result.linf.data<double>()[row] = linf;
    });
  });
  return result;
}

}  // namespace hashgrad
