#include "attacks/threat.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "attacks/row_loops.h"
#include "core/random.h"
#include "cpu/attack_step_sparse.h"
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

constexpr std::array<std::pair<Norm, const char*>, 4> norm_names = {
    {{Norm::linf, "linf"}, {Norm::l2, "l2"}, {Norm::l1, "l1"}, {Norm::l0, "l0"}}};

/// What the functions of cpu/attack_step_sparse.h may read.
void check_on_cpu(const Tensor& t, const char* op) {
  check(t.device() == Device{},
        "{}: l1 and l0 are computed on the CPU, the input is on {}; move it with Tensor::to", op,
        to_string(t.device()));
}

/// Every row scaled to the L1 norm `length`.
Tensor scaled(const Tensor& gradient, double length, const char* op) {
  check_plain(gradient, op);
  check_on_cpu(gradient, op);
  Tensor result = like(gradient);
  for_float_type(gradient.dtype(), op, [&]<class T>() {
    cpu::scaled_rows(gradient.size(0), row_size(gradient), length, gradient.data<T>(), result.data<T>());
  });
  return result;
}

/// project() for l1 and l0.
Tensor project_sparse(const Tensor& x, const Tensor& centre, const Threat& threat) {
  check_on_cpu(x, "project");
  Tensor result = like(x);
  for_float_type(x.dtype(), "project", [&]<class T>() {
    const auto nearest = threat.norm == Norm::l1 ? cpu::project_l1<T> : cpu::project_l0<T>;
    nearest(x.size(0), row_size(x), threat.eps, x.data<T>(), centre.data<T>(), result.data<T>());
  });
  return result;
}

/// random_start() for l1 and l0, not yet projected.
Tensor start_sparse(const Tensor& centre, const Threat& threat, uint64_t seed,
                    const std::vector<int64_t>& samples, uint32_t restart) {
  check_on_cpu(centre, "random_start");
  Tensor start = like(centre);
  for_float_type(centre.dtype(), "random_start", [&]<class T>() {
    const auto draw = threat.norm == Norm::l1 ? cpu::start_l1<T> : cpu::start_l0<T>;
    draw(centre.size(0), row_size(centre), threat.eps, seed, restart, samples.data(), centre.data<T>(),
         start.data<T>());
  });
  return start;
}

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
  for (const auto& [norm, name] : norm_names)
    if (text == name) return norm;
  fail("norm: '{}' is none of linf, l2, l1, l0", text);
}

const char* name_of(Norm norm) { return norm_names[static_cast<size_t>(norm)].second; }

void validate(const Threat& threat, const char* attack, std::initializer_list<Norm> norms) {
  check(std::find(norms.begin(), norms.end(), threat.norm) != norms.end(), "{}: has no norm {}", attack,
        name_of(threat.norm));
  check(threat.eps >= 0 && threat.eps <= 1e30, "{}: eps = {}, a number in [0, 1e30] expected", attack,
        threat.eps);
}

Tensor steepest(const Tensor& gradient, Norm norm) {
  check_plain(gradient, "steepest");
  if (norm == Norm::l0) return scaled(gradient, static_cast<double>(row_size(gradient)), "steepest");
  if (norm == Norm::l1)
    return sparse_signs(gradient, std::vector<int64_t>(static_cast<size_t>(gradient.size(0)), 1));
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

Tensor unit_l1(const Tensor& gradient) { return scaled(gradient, 1, "unit_l1"); }

Tensor sparse_signs(const Tensor& gradient, const std::vector<int64_t>& kept) {
  check_plain(gradient, "sparse_signs");
  check_on_cpu(gradient, "sparse_signs");
  check(static_cast<int64_t>(kept.size()) == gradient.size(0), "sparse_signs: {} numbers for {} rows",
        kept.size(), gradient.size(0));
  Tensor result = like(gradient);
  for_float_type(gradient.dtype(), "sparse_signs", [&]<class T>() {
    cpu::sparse_signs(gradient.size(0), row_size(gradient), kept.data(), gradient.data<T>(),
                      result.data<T>());
  });
  return result;
}

Tensor inward(const Tensor& gradient, const Tensor& x) {
  check_pair(gradient, x, "inward");
  check_on_cpu(x, "inward");
  Tensor result = like(x);
  for_float_type(x.dtype(), "inward", [&]<class T>() {
    cpu::inward(x.numel(), x.data<T>(), gradient.data<T>(), result.data<T>());
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
  if (!on_every_engine(threat.norm)) return project_sparse(x, centre, threat);
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
  if (!on_every_engine(threat.norm))
    return project(step(x, scale, steepest(gradient, threat.norm)), centre, threat);
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

Tensor ball_point(const Tensor& centre, const Threat& threat, uint64_t seed,
                  const std::vector<int64_t>& samples, uint32_t restart) {
  const Device device = centre.device();
  const int64_t rows = centre.size(0), columns = row_size(centre);
  check_plain(centre, "random_start");
  check(static_cast<int64_t>(samples.size()) == rows, "random_start: {} sample numbers for {} rows",
        samples.size(), rows);
  if (!on_every_engine(threat.norm)) return start_sparse(centre, threat, seed, samples, restart);
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
  return start;
}

Tensor random_start(const Tensor& centre, const Threat& threat, uint64_t seed,
                    const std::vector<int64_t>& samples, uint32_t restart) {
  return project(ball_point(centre, threat, seed, samples, restart), centre, threat);
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
