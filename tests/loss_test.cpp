#include "autograd/ops/loss.h"

#include <limits>

#include "autograd/ops/softmax.h"
#include "tests/ops_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

using Loss = std::function<Variable(const Variable&, const Tensor& labels)>;
const Loss plain = [](auto& z, auto& y) { return cross_entropy(z, y); };
const Loss exact = [](auto& z, auto& y) { return exact_cross_entropy(z, y); };
const Loss margin = [](auto& z, auto& y) { return margin_loss(z, y); };
const Loss dlr = [](auto& z, auto& y) { return dlr_loss(z, y); };

Tensor labels_of(const std::vector<int64_t>& y) { return Tensor::of(y, {static_cast<int64_t>(y.size())}); }

struct Row {
  double value;
  std::vector<double> gradient;
};

/// One row of logits through a loss, in the given element type.
Row row_of(const Loss& loss, const std::vector<double>& z, int64_t label, DType dtype = DType::float64) {
  const Tensor logits = Tensor::of(z, {1, static_cast<int64_t>(z.size())}).to(dtype);
  const Result r = run([&](const Variable& x) { return loss(x, labels_of({label})); }, logits);
  return {r.value.to(DType::float64).item(), r.gradient.to(DType::float64).to_vector<double>()};
}

void check_row(const Row& row, double value, const std::vector<double>& gradient) {
  CHECK(row.value == doctest::Approx(value).epsilon(1e-12));
  REQUIRE(row.gradient.size() == gradient.size());
  for (size_t j = 0; j < gradient.size(); ++j) {
    CAPTURE(j);
    CHECK(row.gradient[j] == doctest::Approx(gradient[j]).epsilon(1e-12));
  }
}

const double e = std::exp(1.0);
const double sum123 = 1 + e + e * e;  // of exp(z - 1) for z = 1, 2, 3

}  // namespace

TEST_CASE("cross_entropy of small logits is log-sum-exp minus the label's logit") {
  const double p[] = {1 / sum123, e / sum123, e * e / sum123};
  check_row(row_of(plain, {1, 2, 3}, 2), std::log(sum123) - 2, {p[0], p[1], p[2] - 1});
  check_row(row_of(plain, {1, 2, 3}, 0), std::log(sum123), {p[0] - 1, p[1], p[2]});
  check_row(row_of(plain, {5}, 0), 0, {0});
}

TEST_CASE("smoothing moves that share of the target to all classes alike") {
  const Loss smoothed = [](auto& z, auto& y) { return cross_entropy(z, y, 0.3); };
  check_row(row_of(smoothed, {1, 2, 3}, 0), std::log(sum123) - 0.3,
            {1 / sum123 - 0.8, e / sum123 - 0.1, e * e / sum123 - 0.1});
  CHECK_THROWS_WITH_AS(smoothed_one_hot(labels_of({0}), 3, 1.5, DType::float32),
                       "cross_entropy: smoothing 1.5, a number in [0,1] expected", Error);
  CHECK_THROWS_AS(smoothed_one_hot(labels_of({0}), 3, -0.1, DType::float32), Error);
}

TEST_CASE("soft targets weigh the log-probabilities, whatever they sum to") {
  const auto with = [](const std::vector<double>& t) {
    return [t](const Variable& z, const Tensor&) { return cross_entropy_soft(z, Tensor::of(t, z.shape())); };
  };
  const double p[] = {1 / sum123, e / sum123, e * e / sum123};
  check_row(row_of(with({0.5, 0.25, 0.25}), {1, 2, 3}, 0), std::log(sum123) - 0.75,
            {p[0] - 0.5, p[1] - 0.25, p[2] - 0.25});
  check_row(row_of(with({0, 2, 0}), {1, 2, 3}, 0), 2 * std::log(sum123) - 2,
            {2 * p[0], 2 * p[1] - 2, 2 * p[2]});
  check_row(row_of(with({1, 0}), {3, -infinity}, 0), 0, {0, 0});  // 0 * log 0 counts as 0
  CHECK_THROWS_AS(cross_entropy_soft(Tensor::zeros({2, 3}), Tensor::zeros({3, 2})), Error);
}

TEST_CASE("cross_entropy in float32 loses exactly the gradient that its rounding loses") {
  const auto gradient = [](double gap) { return row_of(plain, {gap, 0}, 0, DType::float32).gradient; };
  CHECK(gradient(16.5)[0] < 0);
  for (double gap : {17.4, 20.0, 40.0, 103.9}) {
    CAPTURE(gap);
    CHECK(gradient(gap)[0] == 0);
    CHECK(gradient(gap)[1] > 0);
  }
  CHECK(gradient(100)[1] / std::exp(-100.0) == doctest::Approx(1).epsilon(0.02));  // a denormal, kept
  for (double gap : {104.0, 110.0, 1000.0}) {
    CAPTURE(gap);
    CHECK(gradient(gap) == std::vector<double>{0, 0});
  }
  // Float64 moves the thresholds (37.4 and 745), it does not remove them.
  CHECK(row_of(plain, {30, 0}, 0).gradient[0] < 0);
  CHECK(row_of(plain, {1000, 0}, 0).gradient == std::vector<double>{0, 0});
}

TEST_CASE("exact_cross_entropy has the direction of cross_entropy where that can be computed") {
  for (double gap : {-8.0, -1.0, 0.0, 1.0, 8.0}) {
    CAPTURE(gap);
    const std::vector<double> z{0.3, gap, -0.7, 0.1};
    const Row ours = row_of(exact, z, 1), theirs = row_of(plain, z, 1);
    CHECK(ours.value == doctest::Approx(std::log(std::expm1(theirs.value))).epsilon(1e-9));
    for (size_t j = 0; j < z.size(); ++j)
      CHECK(ours.gradient[j] == doctest::Approx(theirs.gradient[j] / -theirs.gradient[1]).epsilon(1e-9));
  }
}

TEST_CASE("exact_cross_entropy in float32 keeps the float64 direction at every gap") {
  for (double gap : {0.0, 20.0, 40.0, 110.0, 1000.0, 1e6}) {
    CAPTURE(gap);
    const std::vector<double> z{0.5, -1.25, gap, 0.75, 0, -30};
    double sum = 0;  // the reference, written out
    for (size_t j = 0; j < z.size(); ++j) sum += j == 2 ? 0 : std::exp(z[j]);
    const Row row = row_of(exact, z, 2, DType::float32);
    CHECK(row.value == doctest::Approx(std::log(sum) - gap).epsilon(1e-6));
    for (size_t j = 0; j < z.size(); ++j)
      CHECK(row.gradient[j] == doctest::Approx(j == 2 ? -1 : std::exp(z[j]) / sum).epsilon(1e-6));
  }
}

TEST_CASE("margin_loss is the label's lead over its best rival, and the first of equal rivals counts") {
  check_row(row_of(margin, {1, 4, 2}, 1), 2, {0, 1, -1});
  check_row(row_of(margin, {1, 4, 2}, 2), -2, {0, -1, 1});
  check_row(row_of(margin, {1, 3, 3}, 0), -2, {1, -1, 0});
  check_row(row_of(margin, {1, 3, 3}, 1), 0, {0, 1, -1});
  check_row(row_of(margin, {1, 3, 3}, 2), 0, {0, -1, 1});
}

TEST_CASE("dlr_loss divides by the spread of the sorted logits and is differentiated through it") {
  check_row(row_of(dlr, {3, 1, 2, -1}, 0), -0.5, {-0.25, -0.25, 0.5, 0});
  check_row(row_of(dlr, {3, 1, 2, -1}, 1), 1, {0, 0, 0, 0});  // label third: (z1 - z3) / (z1 - z3)
  check_row(row_of(dlr, {3, 1, 2, -1}, 3), 2, {-0.5, 1, 0, -0.5});
  check_row(row_of(dlr, {30, 10, 20, -10}, 0), -0.5, {-0.025, -0.025, 0.05, 0});
}

TEST_CASE("dlr_targeted pulls towards one class") {
  const Loss targeted = [](auto& z, auto& y) { return dlr_targeted(z, y, labels_of({1})); };
  const double unit = 1 / 2.5, through_scale = 3 / (2.5 * 2.5);
  check_row(row_of(targeted, {4, 1, 3, 0, 2}, 0), -1.2,
            {-unit + through_scale, unit - through_scale / 2, 0, 0, -through_scale / 2});
}

TEST_CASE("a row whose largest logits tie has no scale and gets the undivided margin") {
  check_row(row_of(dlr, {2, 2, 2, 1}, 3), 1, {1, 0, 0, -1});
  check_row(row_of(dlr, {2, 2, 2, 1}, 0), 0, {-1, 1, 0, 0});
  const Loss targeted = [](auto& z, auto& y) { return dlr_targeted(z, y, labels_of({4})); };
  check_row(row_of(targeted, {2, 2, 2, 2, 1}, 1), -1, {0, -1, 0, 0, 1});
}

TEST_CASE("a NaN logit makes the loss of its row NaN, and of no other row") {
  const Loss losses[] = {plain, exact, margin, dlr};
  for (const Loss& loss : losses)
    for (int64_t at = 0; at < 4; ++at) {
      CAPTURE(at);
      Tensor z = random_tensor({2, 4}, 1, DType::float32);
      z.data<float>()[at] = NAN;
      const std::vector<float> values = loss(z, labels_of({1, 1})).value().to_vector<float>();
      CHECK(std::isnan(values[0]));
      CHECK(std::isfinite(values[1]));
    }
}

TEST_CASE("labels of the wrong range, type or number are refused by name") {
  const Tensor z = Tensor::zeros({3, 4});
  CHECK_THROWS_WITH_AS(cross_entropy(z, labels_of({0, 4, 1})),
                       "cross_entropy: label 4 of row 1 is not in [0,4)", Error);
  CHECK_THROWS_WITH_AS(exact_cross_entropy(z, labels_of({0, 1, -1})),
                       "exact_cross_entropy: label -1 of row 2 is not in [0,4)", Error);
  CHECK_THROWS_WITH_AS(margin_loss(z, labels_of({0, 1})),
                       "margin_loss: labels are int64 [2], int64 [3] expected", Error);
  CHECK_THROWS_AS(dlr_loss(z, Tensor::zeros({3})), Error);
  CHECK_THROWS_AS(dlr_targeted(z, labels_of({0, 1, 2}), labels_of({0, 9, 2})), Error);
  CHECK_THROWS_AS(cross_entropy(Tensor::zeros({4}), labels_of({0})), Error);
}

TEST_CASE("losses that compare classes refuse too few of them") {
  CHECK_THROWS_AS(exact_cross_entropy(Tensor::zeros({2, 1}), labels_of({0, 0})), Error);
  CHECK_THROWS_AS(margin_loss(Tensor::zeros({2, 1}), labels_of({0, 0})), Error);
  CHECK_THROWS_WITH_AS(dlr_loss(Tensor::zeros({2, 2}), labels_of({0, 0})),
                       "dlr_loss: logits of shape [2,2], [N,K] with K >= 3 expected", Error);
  CHECK_THROWS_WITH_AS(dlr_targeted(Tensor::zeros({2, 3}), labels_of({0, 0}), labels_of({1, 1})),
                       "dlr_targeted: logits of shape [2,3], [N,K] with K >= 4 expected", Error);
  CHECK_THROWS_WITH_AS(cross_entropy_soft(Tensor::zeros({2, 0}), Tensor::zeros({2, 0})),
                       "cross_entropy: logits of shape [2,0], [N,K] with K >= 1 expected", Error);
}

TEST_CASE("a row's loss and gradient do not depend on its batch") {
  const Tensor z = random_tensor({17, 10}, 3);
  const auto threes = [](const Variable& x) { return Tensor::full({x.size(0)}, 3, DType::int64); };
  const Loss losses[] = {plain, exact, margin, dlr};
  for (const Loss& loss : losses)
    check_rows_stand_alone([&](const Variable& x) { return loss(x, threes(x)); }, z);
  check_rows_stand_alone([](const Variable& x) { return softmax(x); }, z);
  check_rows_stand_alone([](const Variable& x) { return log_softmax(x); }, z);
}

TEST_CASE("softmax survives extreme logits and keeps denormals") {
  const auto values = [](const std::vector<float>& z) {
    return softmax(Tensor::of(z, {1, static_cast<int64_t>(z.size())})).to_vector<float>();
  };
  CHECK(values({1e30f, -1e30f}) == std::vector<float>{1, 0});
  CHECK(values({100, 0})[1] / std::exp(-100.0) == doctest::Approx(1).epsilon(0.02));
  CHECK(std::isnan(values({NAN, 0})[1]));
  CHECK_THROWS_AS(softmax(Tensor::zeros({3, 0})), Error);
}
