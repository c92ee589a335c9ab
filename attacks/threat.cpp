#include "attacks/threat.h"

#include <cmath>

#include "attacks/row_loops.h"
#include "core/random.h"
#include "cuda/attack_step.h"
#include "cuda/pointwise.h"

namespace hashgrad {
namespace {

void check_plain(const Tensor& t, const char* op) {
  check(t.is_contiguous(), "{}: views are not accepted, use contiguous()", op);
}

void check_pair(const Tensor& a, const Tensor& b, const char* op) {
  check_plain(a, op);
  check_plain(b, op);
  check(a.shape() == b.shape() && a.dtype() == b.dtype(), "{}: {} {} against {} {}", op, name_of(a.dtype()),
        a.shape(), name_of(b.dtype()), b.shape());
  check(a.device() == b.device(), "{}: one input is on {}, another on {}; move one with Tensor::to", op,
        to_string(a.device()), to_string(b.device()));
}

Tensor like(const Tensor& t) { return Tensor::empty(t.shape(), t.dtype(), t.device()); }

/// How far each random point of an L2 ball is from the centre: the radius that fills the ball evenly. [N]
/// float64; drawn behind the numbers that make the direction.
Tensor radii_of(double eps, int64_t columns, uint64_t seed, const std::vector<int64_t>& samples,
                uint32_t restart) {
  Tensor radii = Tensor::empty({static_cast<int64_t>(samples.size())}, DType::float64);
  for (size_t row = 0; row < samples.size(); ++row) {
    const Random random(seed, Stream::attack, static_cast<uint64_t>(samples[row]), restart);
    const auto words = random.block(static_cast<uint32_t>(columns));
    radii.data<double>()[row] =
        eps * std::pow(Random::fraction(words[0], words[1]), 1 / static_cast<double>(columns));
  }
  return radii;
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
  check_plain(gradient, "steepest");
  Tensor result = like(gradient);
  const int64_t rows = gradient.size(0), columns = row_size(gradient);
  for_float_type(gradient.dtype(), "steepest", [&]<class T>() {
    const T* g = gradient.data<T>();
    if (norm == Norm::linf)
      HASHGRAD_ON(gradient.device(), signs(gradient.numel(), g, result.data<T>()));
    else
      HASHGRAD_ON(gradient.device(), unit_rows(rows, columns, g, result.data<T>()));
  });
  return result;
}

Tensor step(const Tensor& x, double scale, const Tensor& direction) {
  check_pair(x, direction, "step");
  Tensor result = like(x);
  for_float_type(x.dtype(), "step", [&]<class T>() {
    HASHGRAD_ON(x.device(),
                step(x.numel(), static_cast<T>(scale), x.data<T>(), direction.data<T>(), result.data<T>()));
  });
  return result;
}

Tensor project(const Tensor& x, const Tensor& centre, const Threat& threat) {
  check_pair(x, centre, "project");
  Tensor result = like(x);
  const double eps = threat.eps;
  for_float_type(x.dtype(), "project", [&]<class T>() {
    const T *from = x.data<T>(), *c = centre.data<T>();
    if (threat.norm == Norm::linf)
      HASHGRAD_ON(x.device(), project_linf(x.numel(), eps, from, c, result.data<T>()));
    else
      HASHGRAD_ON(x.device(), project_l2(x.size(0), row_size(x), eps, from, c, result.data<T>()));
  });
  return result;
}

Tensor clip(const Tensor& x) {
  check_plain(x, "clip");
  Tensor result = like(x);
  for_float_type(x.dtype(), "clip", [&]<class T>() {
    HASHGRAD_ON(x.device(), clamp(x.numel(), T{0}, T{1}, x.data<T>(), result.data<T>()));
  });
  return result;
}

Tensor ascend(const Tensor& x, double scale, const Tensor& gradient, const Tensor& centre,
              const Threat& threat) {
  check_pair(x, gradient, "ascend");
  check_pair(x, centre, "ascend");
  Tensor result = like(x);
  const double eps = threat.eps;
  for_float_type(x.dtype(), "ascend", [&]<class T>() {
    const T *from = x.data<T>(), *g = gradient.data<T>(), *c = centre.data<T>();
    const T by = static_cast<T>(scale);
    if (threat.norm == Norm::linf)
      HASHGRAD_ON(x.device(), ascend_linf(x.numel(), by, eps, from, g, c, result.data<T>()));
    else
      HASHGRAD_ON(x.device(), ascend_l2(x.size(0), row_size(x), by, eps, from, g, c, result.data<T>()));
  });
  return result;
}

Tensor random_start(const Tensor& centre, const Threat& threat, uint64_t seed,
                    const std::vector<int64_t>& samples, uint32_t restart) {
  const Device device = centre.device();
  const int64_t rows = centre.size(0), columns = row_size(centre);
  check_plain(centre, "random_start");
  check(static_cast<int64_t>(samples.size()) == rows, "random_start: {} sample numbers for {} rows",
        samples.size(), rows);
  const Tensor keys = Tensor::of(samples, {rows}).to(device);
  Tensor start = like(centre);
  for_float_type(centre.dtype(), "random_start", [&]<class T>() {
    const T* c = centre.data<T>();
    const int64_t* sample = keys.data<int64_t>();
    if (threat.norm == Norm::linf) {
      HASHGRAD_ON(device, start_linf(rows, columns, threat.eps, seed, restart, sample, c, start.data<T>()));
    } else {
      const Tensor radii = radii_of(threat.eps, columns, seed, samples, restart).to(device);
      HASHGRAD_ON(device,
                  start_l2(rows, columns, seed, restart, sample, radii.data<double>(), c, start.data<T>()));
    }
  });
  return project(start, centre, threat);
}

Distances distances(const Tensor& x, const Tensor& x_adv) {
  check_pair(x, x_adv, "distances");
  const int64_t rows = x.size(0);
  Tensor all = Tensor::empty({4, rows}, DType::float64, x.device());
  for_float_type(x.dtype(), "distances", [&]<class T>() {
    HASHGRAD_ON(x.device(), distances(rows, row_size(x), x.data<T>(), x_adv.data<T>(), all.data<double>()));
  });
  all = all.to(Device{});
  const auto norm = [&](int64_t i) { return all.slice(0, i, i + 1).reshape({rows}); };
  return {norm(0), norm(1), norm(2), norm(3)};
}

}  // namespace hashgrad
