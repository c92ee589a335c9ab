#include "autograd/ops/loss.h"

#include <array>
#include <cmath>
#include <limits>

#include "autograd/op_info.h"
#include "autograd/ops/piece.h"
#include "cpu/softmax.h"

namespace hashgrad {
namespace {

void check_logits(const char* op, const Tensor& logits, int64_t least_classes) {
  check(logits.rank() == 2 && logits.size(1) >= least_classes,
        "{}: logits of shape {}, [N,K] with K >= {} expected", op, logits.shape(), least_classes);
}

/// Refuses labels that are not int64 [rows] in [0, classes).
Tensor checked_labels(const char* op, const Tensor& labels, int64_t rows, int64_t classes) {
  check(labels.defined() && labels.dtype() == DType::int64 && labels.shape() == Shape{rows},
        "{}: labels are {} {}, int64 [{}] expected", op, name_of(labels.dtype()), labels.shape(), rows);
  const Tensor c = labels.contiguous();
  for (int64_t i = 0; i < rows; ++i)
    check(c.data<int64_t>()[i] >= 0 && c.data<int64_t>()[i] < classes,
          "{}: label {} of row {} is not in [0,{})", op, c.data<int64_t>()[i], i, classes);
  return c;
}

/// NaN counts as larger than every number, so that it reaches the result.
template <class T>
bool greater(T a, T b) {
  return std::isnan(a) ? !std::isnan(b) : a > b;
}

/// Columns of the `count` largest logits of a row, falling; equal ones in column order.
template <class T>
std::array<int64_t, 4> largest(const T* z, int64_t classes, size_t count) {
  std::array<int64_t, 4> top{};
  size_t found = 0;
  for (int64_t j = 0; j < classes; ++j) {
    size_t place = found;
    while (place > 0 && greater(z[j], z[top[place - 1]])) --place;
    if (place == count) continue;
    if (found < count) ++found;
    for (size_t p = found - 1; p > place; --p) top[p] = top[p - 1];
    top[place] = j;
  }
  return top;
}

/// Column of the largest logit but y.
template <class T>
int64_t best_rival(const T* z, int64_t classes, int64_t y) {
  const auto top = largest(z, classes, 2);
  return top[0] == y ? top[1] : top[0];
}

/// dz [copies*N,K]: row i of d [N,K], the gradient of one loss, times each of its cotangents dy [copies*N].
Tensor scale_rows(const Tensor& dy, const Tensor& d) {
  const Tensor g = dy.contiguous();
  const int64_t n = d.size(0), classes = d.size(1);
  Tensor dz = Tensor::empty({g.numel(), classes}, g.dtype());
  for_float_type(g.dtype(), "loss", [&]<class T>() {
    for (int64_t i = 0; i < g.numel(); ++i)
      for (int64_t j = 0; j < classes; ++j)
        dz.data<T>()[i * classes + j] = g.data<T>()[i] * d.data<T>()[i % n * classes + j];
  });
  return dz;
}

}  // namespace

Tensor smoothed_one_hot(const Tensor& labels, int64_t classes, double smoothing, DType dtype) {
  check(smoothing >= 0 && smoothing <= 1, "cross_entropy: smoothing {}, a number in [0,1] expected",
        smoothing);
  check(labels.rank() == 1 && classes >= 1, "cross_entropy: labels of shape {} for {} classes, [N] expected",
        labels.shape(), classes);
  const Tensor y = checked_labels("cross_entropy", labels, labels.size(0), classes);
  const double rest = smoothing / static_cast<double>(classes);
  Tensor t = Tensor::full({labels.size(0), classes}, rest, dtype);
  for_float_type(dtype, "cross_entropy", [&]<class T>() {
    for (int64_t i = 0; i < t.size(0); ++i)
      t.data<T>()[i * classes + y.data<int64_t>()[i]] = static_cast<T>(1 - smoothing + rest);
  });
  return t;
}

// loss_i = -sum_j t_ij log softmax(z_i)_j
Tensor CrossEntropy::forward(Needs needs, const Tensor& z) {
  check_logits(name, z, 1);
  check(targets.shape() == z.shape(), "cross_entropy: targets of shape {}, {} expected", targets.shape(),
        z.shape());
  targets = targets.to(z.dtype()).contiguous();
  const int64_t n = z.size(0), classes = z.size(1);
  const Tensor c = z.contiguous();
  Tensor loss = Tensor::empty({n}, z.dtype()), log_p = Tensor::empty(z.shape(), z.dtype());
  for_float_type(z.dtype(), name, [&]<class T>() {
    cpu::log_softmax(n, classes, c.data<T>(), log_p.data<T>());
    for (int64_t i = 0; i < n; ++i) {
      const T *t = targets.data<T>() + i * classes, *l = log_p.data<T>() + i * classes;
      double sum = 0;
      for (int64_t j = 0; j < classes; ++j)
        if (t[j] != 0) sum -= static_cast<double>(t[j]) * static_cast<double>(l[j]);  // 0 * log 0 is 0
      loss.data<T>()[i] = static_cast<T>(sum);
    }
  });
  if (needs[0]) logits = c;
  return loss;
}

// dz_ij = dy_i * (softmax(z_i)_j * sum_k t_ik - t_ij)
Gradients<1> CrossEntropy::backward(Needs, const Tensor& dy, int64_t) const {
  const int64_t n = logits.size(0), classes = logits.size(1);
  Tensor d = Tensor::empty(logits.shape(), logits.dtype());
  for_float_type(d.dtype(), name, [&]<class T>() {
    cpu::softmax(n, classes, logits.data<T>(), d.data<T>());
    for (int64_t i = 0; i < n; ++i) {
      const T* t = targets.data<T>() + i * classes;
      double total = 0;
      for (int64_t j = 0; j < classes; ++j) total += static_cast<double>(t[j]);
      for (int64_t j = 0; j < classes; ++j) {
        T& p = d.data<T>()[i * classes + j];
        p = p * static_cast<T>(total) - t[j];
      }
    }
  });
  return {scale_rows(dy, d)};
}

// loss_i = log sum_{j != y} exp(z_j) - z_y, in double: a large gap must not round the sum away.
Tensor ExactCrossEntropy::forward(Needs needs, const Tensor& z) {
  check_logits(name, z, 2);
  const int64_t n = z.size(0), classes = z.size(1);
  labels = checked_labels(name, labels, n, classes);
  const Tensor c = z.contiguous();
  Tensor loss = Tensor::empty({n}, z.dtype());
  for_float_type(z.dtype(), name, [&]<class T>() {
    for (int64_t i = 0; i < n; ++i) {
      const T* row = c.data<T>() + i * classes;
      const int64_t y = labels.data<int64_t>()[i];
      const double max = static_cast<double>(row[best_rival(row, classes, y)]);
      double sum = 0;
      for (int64_t j = 0; j < classes; ++j)
        if (j != y) sum += std::exp(static_cast<double>(row[j]) - max);
      loss.data<T>()[i] = static_cast<T>(max - static_cast<double>(row[y]) + std::log(sum));
    }
  });
  if (needs[0]) logits = c;
  return loss;
}

// dz_j = dy * q_j for j != y, q = softmax over j != y;  dz_y = -dy
Gradients<1> ExactCrossEntropy::backward(Needs, const Tensor& dy, int64_t) const {
  const int64_t n = logits.size(0), classes = logits.size(1);
  Tensor d = logits.clone();
  for_float_type(d.dtype(), name, [&]<class T>() {
    const auto at_label = [&](int64_t i) -> T& {
      return d.data<T>()[i * classes + labels.data<int64_t>()[i]];
    };
    for (int64_t i = 0; i < n; ++i) at_label(i) = -std::numeric_limits<T>::infinity();  // takes y out of q
    cpu::softmax(n, classes, d.data<T>(), d.data<T>());
    for (int64_t i = 0; i < n; ++i) at_label(i) = T{-1};
  });
  return {scale_rows(dy, d)};
}

namespace {

using Row = LogitDifference::Row;
using Kind = LogitDifference::Kind;

constexpr const char* loss_name(Kind kind) {
  return kind == Kind::margin ? "margin_loss" : kind == Kind::dlr ? "dlr_loss" : "dlr_targeted";
}

/// z_first - (z_third + z_fourth) / 2, or 1 where the row has no scale.
template <class T>
double scale_of(const Row& r, const T* z) {
  if (!r.scaled) return 1;
  return static_cast<double>(z[r.first]) -
         0.5 * (static_cast<double>(z[r.third]) + static_cast<double>(z[r.fourth]));
}

/// Which logits of a row the loss is made of, given its label y (and target t).
template <class T>
Row choose(Kind kind, const T* z, int64_t classes, int64_t y, int64_t t) {
  const int64_t rival = best_rival(z, classes, y);
  if (kind == Kind::margin) return {y, rival};
  const auto top = largest(z, classes, 4);
  const bool targeted = kind == Kind::dlr_targeted;
  Row r{targeted ? t : rival, y, true, top[0], top[2], targeted ? top[3] : top[2]};
  r.scaled = scale_of(r, z) != 0;
  return r;
}

}  // namespace

// loss = (z_plus - z_minus) / scale
Tensor LogitDifference::forward(Needs needs, const Tensor& z) {
  check_logits(loss_name(kind), z, kind == Kind::margin ? 2 : kind == Kind::dlr ? 3 : 4);
  const int64_t n = z.size(0), classes = z.size(1);
  labels = checked_labels(loss_name(kind), labels, n, classes);
  if (kind == Kind::dlr_targeted) targets = checked_labels("dlr_targeted (targets)", targets, n, classes);
  const Tensor c = z.contiguous();
  Tensor loss = Tensor::empty({n}, z.dtype());
  for_float_type(z.dtype(), loss_name(kind), [&]<class T>() {
    for (int64_t i = 0; i < n; ++i) {
      const T* row = c.data<T>() + i * classes;
      const int64_t t = kind == Kind::dlr_targeted ? targets.data<int64_t>()[i] : 0;
      const Row r = choose(kind, row, classes, labels.data<int64_t>()[i], t);
      const double difference = static_cast<double>(row[r.plus]) - static_cast<double>(row[r.minus]);
      loss.data<T>()[i] = static_cast<T>(difference / scale_of(r, row));
      if (needs[0]) rows.push_back(r);
    }
  });
  if (needs[0]) logits = c;
  return loss;
}

// With s = scale: dz += dy / s * (e_plus - e_minus) - dy * loss / s * (e_first - (e_third + e_fourth) / 2)
Gradients<1> LogitDifference::backward(Needs, const Tensor& dy, int64_t copies) const {
  const int64_t n = logits.size(0), classes = logits.size(1);
  const Tensor g = dy.contiguous();
  Tensor dz = Tensor::zeros({copies * n, classes}, g.dtype());
  for_float_type(g.dtype(), name, [&]<class T>() {
    for (int64_t i = 0; i < copies * n; ++i) {
      const Row& r = rows[static_cast<size_t>(i % n)];
      const T* z = logits.data<T>() + i % n * classes;
      T* d = dz.data<T>() + i * classes;
      const auto add = [&](int64_t j, double value) {
        d[j] = static_cast<T>(static_cast<double>(d[j]) + value);
      };
      const double s = scale_of(r, z), unit = static_cast<double>(g.data<T>()[i]) / s;
      add(r.plus, unit);
      add(r.minus, -unit);
      if (!r.scaled) continue;
      const double difference = static_cast<double>(z[r.plus]) - static_cast<double>(z[r.minus]);
      const double through_scale = unit * difference / s;
      add(r.first, -through_scale);
      add(r.third, 0.5 * through_scale);
      add(r.fourth, 0.5 * through_scale);
    }
  });
  return {dz};
}

namespace {

/// Labels that move through all classes.
Tensor cycling(const Variable& logits, int64_t first) {
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < logits.size(0); ++i) labels.push_back((i + first) % logits.size(1));
  return Tensor::of(labels, {logits.size(0)});
}

const std::vector<std::vector<Shape>> samples = {{{3, 5}}, {{17, 4}}, {{1, 33}}, {{0, 5}}};

const RegisterOp registered[] = {
    RegisterOp({"cross_entropy", "log(sum(exp(z))) - z_y",
                [](const std::vector<Variable>& in) { return cross_entropy(in[0], cycling(in[0], 0)); },
                samples}),
    RegisterOp({"cross_entropy_smoothed", "-sum(t * log_softmax(z)), t = 0.9 * onehot(y) + 0.1 / K",
                [](const std::vector<Variable>& in) { return cross_entropy(in[0], cycling(in[0], 1), 0.1); },
                samples}),
    RegisterOp({"cross_entropy_soft", "-sum(t * log_softmax(z))",
                [](const std::vector<Variable>& in) {
                  return cross_entropy_soft(
                      in[0], smoothed_one_hot(cycling(in[0], 2), in[0].size(1), 0.5, DType::float64));
                },
                samples}),
    RegisterOp({"exact_cross_entropy", "log(sum(exp(z_j), j != y)) - z_y",
                [](const std::vector<Variable>& in) { return exact_cross_entropy(in[0], cycling(in[0], 0)); },
                samples}),
    RegisterOp({"margin_loss", "z_y - max(z_j, j != y)",
                [](const std::vector<Variable>& in) { return margin_loss(in[0], cycling(in[0], 0)); },
                samples}),
    RegisterOp({"dlr_loss", "-(z_y - max(z_j, j != y)) / (z_(1) - z_(3))",
                [](const std::vector<Variable>& in) { return dlr_loss(in[0], cycling(in[0], 0)); }, samples}),
    RegisterOp({"dlr_targeted", "-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)",
                [](const std::vector<Variable>& in) {
                  return dlr_targeted(in[0], cycling(in[0], 0), cycling(in[0], 3));
                },
                samples})};

}  // namespace
}  // namespace hashgrad
