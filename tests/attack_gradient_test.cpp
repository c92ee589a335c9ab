// Input gradients and Jacobians of whole models.
#include <cmath>
#include <doctest/doctest.h>

#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// The loss of one row by name, from its logits in float64, written out anew.
double loss_by_hand(const std::string& name, const std::vector<double>& z, size_t y) {
  double sum = 0, others = 0, rival = -INFINITY;
  for (size_t j = 0; j < z.size(); ++j) {
    sum += std::exp(z[j]);
    if (j != y) others += std::exp(z[j]), rival = std::max(rival, z[j]);
  }
  std::vector<double> sorted = z;
  std::sort(sorted.rbegin(), sorted.rend());
  if (name == "ce") return std::log(sum) - z[y];
  if (name == "ce-exact") return std::log(others) - z[y];
  if (name == "margin") return z[y] - rival;
  if (name == "dlr") return -(z[y] - rival) / (sorted[0] - sorted[2]);
  if (name == "logit:2") return z[2];
  return std::exp(z[2]) / sum;  // prob:2
}

}  // namespace

TEST_CASE("input gradients of every loss agree with central differences") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(3, model.input_shape(), DType::float64);
  const Tensor y = classes({0, 3, 4});
  const double h = 1e-6;
  for (const char* name : {"ce", "ce-exact", "margin", "dlr", "logit:2", "prob:2"}) {
    CAPTURE(name);
    const LossGradient pass = Oracle(model).gradient(x, y, name);
    for (int64_t row = 0; row < 3; ++row)
      for (const int64_t pixel : {0, 7, 14, 21, 35}) {
        double values[2];
        for (const int side : {0, 1}) {
          Tensor moved = x.clone();
          moved.data<double>()[row * 36 + pixel] += side == 0 ? -h : h;
          const std::vector<double> z = model.logits(moved).slice(0, row, row + 1).to_vector<double>();
          values[side] = loss_by_hand(name, z, static_cast<size_t>(y.data<int64_t>()[row]));
        }
        CHECK(pass.gradient.data<double>()[row * 36 + pixel] ==
              doctest::Approx((values[1] - values[0]) / (2 * h)).epsilon(1e-5).scale(1));
      }
  }
}

TEST_CASE("the Jacobian holds the gradient of every logit, and of every probability") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(5, model.input_shape(), DType::float64);
  for (const Outputs of : {Outputs::logits, Outputs::probs}) {
    const Tensor all = jacobian(model, x, of);
    REQUIRE(all.shape() == Shape{5, 5, 1, 6, 6});
    for (int64_t k = 0; k < 5; ++k) {
      const Loss loss = fmt::format("{}:{}", of == Outputs::logits ? "logit" : "prob", k);
      const std::vector<double> one = input_gradient(model, x, {}, loss).to_vector<double>();
      const std::vector<double> row = all.slice(1, k, k + 1).to_vector<double>();
      for (size_t i = 0; i < one.size(); ++i)
        CHECK(row[i] == doctest::Approx(one[i]).epsilon(1e-12).scale(1e-6));
    }
  }
}

TEST_CASE("neither gradients nor Jacobians depend on how rows are cut into batches") {
  const Model model = small_net();
  const Tensor x = images(33, model.input_shape());
  const Tensor y = own_labels(model, x);
  CHECK(identical(input_gradient(model, x, y, "ce", 128), input_gradient(model, x, y, "ce", 5)));
  CHECK(identical(jacobian(model, x, Outputs::logits, 128), jacobian(model, x, Outputs::logits, 4)));
  CHECK(identical(Oracle(model, {.batch = 128}).logits(x), Oracle(model, {.batch = 7}).logits(x)));
}

TEST_CASE("the height of an image is what its ascent climbs, goal by goal") {
  const Model model = small_net();
  const Tensor x = images(3, model.input_shape());
  const Tensor y = classes({0, 3, 4}), targets = classes({1, 0, 2});
  const Oracle oracle(model);
  for (const Goal& goal : {Goal{y, {}}, Goal{y, targets}, Goal{}})
    for (const char* loss : {"ce", "margin"}) {
      const LossGradient flat = oracle.height(x, goal, loss), pass = oracle.ascent(x, goal, loss);
      CHECK(identical(flat.logits, pass.logits));
      CHECK(identical(flat.value, pass.value));
      CHECK_FALSE(flat.gradient.defined());
    }
}

TEST_CASE("an attack leaves no gradient in the parameters") {
  Model model = small_net();
  const Tensor x = images(3, model.input_shape());
  input_gradient(model, x, {}, "ce");
  for (const Parameter& p : model.parameters()) CHECK_FALSE(p.variable->grad().defined());
}

TEST_CASE("a class that the model does not have has no gradient") {
  const Model model = small_net();
  const Tensor x = images(1, model.input_shape());
  CHECK(error_of([&] { input_gradient(model, x, {}, "logit:5"); }) ==
        "loss: class 5 of a model with 5 classes");
}
