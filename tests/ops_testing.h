// What the tests of ops share: inputs, gradients and comparisons.
#pragma once

#include <cmath>
#include <doctest/doctest.h>
#include <functional>
#include <string>
#include <vector>

#include "autograd/gradcheck.h"
#include "autograd/op_info.h"
#include "autograd/variable.h"

namespace hashgrad::testing {

using Function = std::function<Variable(const Variable&)>;

inline Tensor random_tensor(const Shape& shape, uint64_t seed, DType dtype = DType::float32) {
  return sample_inputs({shape}, OpInfo::Domain::real, seed, dtype)[0];
}

/// Value and gradient of f at x, for the cotangent dy (ones when undefined).
struct Result {
  Tensor value, gradient;
};
inline Result run(const Function& f, const Tensor& x, Tensor dy = {}) {
  const Variable leaf = Variable::leaf(x);
  const Variable y = f(leaf);
  if (!dy.defined()) dy = Tensor::full(y.shape(), 1, y.dtype());
  const Tensor dx = vjp(y, {leaf}, dy.reshape(dy.shape().with(0, 1)))[0];
  return {y.value(), dx.reshape(x.shape())};
}

/// Largest |a - b| / max(1, |b|); infinite when a NaN or the shapes differ.
inline double difference(const Tensor& a, const Tensor& b) {
  if (!(a.shape() == b.shape())) return INFINITY;
  const std::vector<double> u = a.to(DType::float64).to_vector<double>(),
                            v = b.to(DType::float64).to_vector<double>();
  double worst = 0;
  for (size_t i = 0; i < u.size(); ++i) {
    const double e = std::abs(u[i] - v[i]) / std::max(1.0, std::abs(v[i]));
    worst = std::isnan(e) ? INFINITY : std::max(worst, e);
  }
  return worst;
}

/// Rows alone give the same bits as in the batch: values, and gradients for the cotangent of that row.
inline void check_rows_stand_alone(const Function& f, const Tensor& x) {
  const Tensor dy = random_tensor(f(x).shape(), 99, x.dtype());
  const Result all = run(f, x, dy);
  for (int64_t i = 0; i < x.size(0); ++i) {
    CAPTURE(i);
    const Result one = run(f, x.slice(0, i, i + 1).contiguous(), dy.slice(0, i, i + 1).contiguous());
    CHECK(identical(one.value, all.value.slice(0, i, i + 1).contiguous()));
    CHECK(identical(one.gradient, all.gradient.slice(0, i, i + 1).contiguous()));
  }
}

/// Calls f(op, shapes) for every sample of every op, with the op's name in the failure message.
template <class F>
void for_each_sample(const F& f) {
  for (const OpInfo& op : all_ops()) {
    for (const std::vector<Shape>& shapes : op.samples) {
      std::string text;
      for (const Shape& s : shapes) text += to_string(s) + " ";
      INFO(op.name, " on ", text);
      f(op, shapes);
    }
  }
}

inline std::vector<Variable> constants(const std::vector<Tensor>& inputs) {
  return {inputs.begin(), inputs.end()};
}
inline std::vector<Variable> leaves(const std::vector<Tensor>& inputs) {
  std::vector<Variable> result;
  for (const Tensor& x : inputs) result.push_back(Variable::leaf(x));
  return result;
}

/// Result and, for an op that has them, the gradients under cotangents that depend on the shape alone.
inline std::vector<Tensor> results(const OpInfo& op, const std::vector<Tensor>& inputs) {
  if (!op.no_gradient.empty()) return {op.call(constants(inputs)).value()};
  const std::vector<Variable> x = leaves(inputs);
  const Variable y = op.call(x);
  const Tensor dy = sample_inputs({y.shape().with(0, 1)}, OpInfo::Domain::unit, 5, y.dtype())[0];
  std::vector<Tensor> all = vjp(y, x, dy);
  all.push_back(y.value());
  return all;
}

}  // namespace hashgrad::testing
