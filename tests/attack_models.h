// Small models and images for the tests of attacks.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "attacks/attack.h"
#include "core/random.h"
#include "tests/error_of.h"

namespace hashgrad::testing {

/// logits = weight x + bias, on images [1,1,features]; weight is [classes, features].
inline Model linear_model(const std::vector<double>& weight, const std::vector<double>& bias,
                          DType dtype = DType::float64) {
  const int64_t classes = static_cast<int64_t>(bias.size());
  const int64_t features = static_cast<int64_t>(weight.size()) / classes;
  Model model(fmt::format("1x1x{} flatten fc{}", features, classes), {.dtype = dtype, .init = Init::zeros});
  model.parameter("1.weight").value().copy_from(Tensor::of(weight, {classes, features}));
  model.parameter("1.bias").value().copy_from(Tensor::of(bias, {classes}));
  return model;
}

/// A net with every kind of layer that attacks go through, its weights enlarged so that predictions vary.
inline Model small_net(DType dtype = DType::float32, const std::string& rate = "") {
  Model model("1x6x6 conv4k3p1 relu maxpool2 flatten fc17" + rate + " relu fc5", {.dtype = dtype, .seed = 7});
  for (auto& [name, tensor] : model.state())
    for_float_type(dtype, "test", [&, t = tensor]<class T>() mutable {
      for (int64_t i = 0; i < t.numel(); ++i) t.template data<T>()[i] *= T{3};
    });
  return model;
}

/// Pixels on a grid in [0,1], some of them exactly 0 or 1.
inline Tensor images(int64_t n, const Shape& image, DType dtype = DType::float32, uint64_t seed = 1) {
  Tensor x = Tensor::empty(image.with(0, n), DType::float64);
  Random random(seed, Stream::test);
  for (int64_t i = 0; i < x.numel(); ++i)
    x.data<double>()[i] = std::min(1.0, std::max(0.0, 1.4 * random.uniform() - 0.2));
  return x.to(dtype);
}

inline Tensor classes(const std::vector<int64_t>& values) {
  return Tensor::of(values, {static_cast<int64_t>(values.size())});
}

/// The model's own predictions as labels, so that every row starts out right.
inline Tensor own_labels(const Model& model, const Tensor& x) { return classes(Oracle(model).predict(x)); }

/// Every output of an attack, row `row`, as one list of numbers to compare bit by bit.
inline std::vector<Tensor> row_of(const AttackResult& r, int64_t row) {
  std::vector<Tensor> parts;
  for (const Tensor& t :
       {r.x_adv, r.success, r.first_success, r.l0, r.l1, r.l2, r.linf, r.status, r.forwards, r.backwards})
    parts.push_back(t.slice(0, row, row + 1).contiguous());
  return parts;
}

inline bool same_row(const AttackResult& a, int64_t row, const AttackResult& b, int64_t other) {
  const std::vector<Tensor> x = row_of(a, row), y = row_of(b, other);
  for (size_t i = 0; i < x.size(); ++i)
    if (!identical(x[i], y[i])) return false;
  return true;
}

inline Status status_of(const AttackResult& r, int64_t row) {
  return static_cast<Status>(r.status.data<int64_t>()[row]);
}

}  // namespace hashgrad::testing
