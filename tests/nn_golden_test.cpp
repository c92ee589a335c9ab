// Networks by name give the scores and input gradients that torchvision gives with the same weights.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/gradient.h"
#include "nn/models/zoo.h"
#include "tests/networks_golden.h"

namespace hashgrad {
namespace {

uint32_t mixed(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

/// In [0,1): element i of tensor `number`.
double uniform(uint32_t number, int64_t i) {
  return mixed(static_cast<uint32_t>(i) ^ mixed(number + 1)) / std::pow(2.0, 32);
}

/// What bench/parity/networks.py puts into element u of the tensor.
double value(const std::string& name, const Shape& shape, double u) {
  if (name.ends_with("running_var")) return 0.5 + u;
  if (name.ends_with("running_mean") || name.ends_with("bias")) return 0.2 * (u - 0.5);
  if (shape.rank() == 1) return 0.75 + 0.5 * u;
  return (u - 0.5) * std::sqrt(24.0 / static_cast<double>(shape.without(0).numel()));
}

Tensor filled(const std::string& name, const Shape& shape, uint32_t number) {
  Tensor t = Tensor::empty(shape, DType::float64);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = value(name, shape, uniform(number, i));
  return t;
}

Tensor images(const Shape& image) {
  Tensor x = Tensor::empty(image.with(0, 2), DType::float64);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = uniform(1'000'000, i);
  return x;
}

Model filled_model(const std::string& name) {
  Model model(spec_of(name), {.dtype = DType::float64, .init = Init::zeros});
  uint32_t number = 0;
  for (auto& [key, tensor] : model.state())  // in the order of their names
    if (!key.ends_with("num_batches_tracked"))
      Tensor(tensor).copy_from(filled(key, tensor.shape(), number++));
  return model;
}

void check_near(const std::vector<double>& found, const std::vector<double>& expected, double scale) {
  for (size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(found.at(i) - expected[i]) < 1e-9 * scale);
  }
}

TEST_CASE("networks by name compute what torchvision's compute") {
  for (const testing::Golden& golden : testing::golden_networks) {
    CAPTURE(golden.network);
    const Model model = filled_model(golden.network);
    const Tensor x = images(model.input_shape());
    const Tensor gradient = input_gradient(model, x, Tensor::zeros({2}, DType::int64), "logit:3");
    double largest = 0, sum = 0;
    for (const double g : gradient.to_vector<double>())
      sum += std::abs(g), largest = std::max(largest, std::abs(g));
    double score = 0;
    for (const double z : golden.scores) score = std::max(score, std::abs(z));
    check_near(model.logits(x).to_vector<double>(), golden.scores, score);
    check_near(gradient.to_vector<double>(), golden.gradient, largest);
    CHECK(sum == doctest::Approx(golden.gradient_sum).epsilon(1e-9));
  }
}

}  // namespace
}  // namespace hashgrad
