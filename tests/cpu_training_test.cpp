#include "core/error.h"
#include "cpu/batch_norm.h"
#include "cpu/optim.h"
#include "cpu/tally.h"
#include "tests/cpu_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;

const cpu::BatchNormShape shape{5, 3, 17};
constexpr int64_t count = 5 * 3 * 17;

/// Loss = sum(dy * batch_norm(x)) with the statistics of x.
double loss(const std::vector<double>& x, const std::vector<double>& gamma, const std::vector<double>& beta,
            const std::vector<double>& dy) {
  auto mean = poisoned<double>(3), variance = mean, y = poisoned<double>(count);
  cpu::batch_norm_statistics(shape, x.data(), mean.data(), variance.data());
  cpu::batch_norm_forward<double>(shape, x.data(), mean.data(), variance.data(), 1e-5, gamma.data(),
                                  beta.data(), nullptr, false, y.data());
  double total = 0;
  for (size_t i = 0; i < y.size(); ++i) total += dy[i] * y[i];
  return total;
}

TEST_CASE("batch normalisation gives channels of mean 0 and variance 1") {
  auto x = random_values<float>(count, 1);
  for (float& value : x) value = 1000 + 3 * value;
  auto mean = poisoned<float>(3), variance = mean, y = poisoned<float>(count);
  cpu::batch_norm_statistics(shape, x.data(), mean.data(), variance.data());
  cpu::batch_norm_forward<float>(shape, x.data(), mean.data(), variance.data(), 0, nullptr, nullptr, nullptr,
                                 false, y.data());
  cpu::batch_norm_statistics(shape, y.data(), mean.data(), variance.data());
  for (size_t c = 0; c < 3; ++c) {
    CHECK(std::abs(mean[c]) < 1e-4);
    CHECK(variance[c] == doctest::Approx(1).epsilon(1e-4));
  }
  CHECK_THROWS_AS(cpu::batch_norm_statistics<float>({0, 3, 17}, nullptr, mean.data(), variance.data()),
                  Error);
}

TEST_CASE("the statistics of many channels are those of each") {
  const cpu::BatchNormShape many{3, 150, 18};
  const auto x = random_values<double>(3 * 150 * 18, 1);
  auto mean = poisoned<double>(150), variance = mean;
  cpu::batch_norm_statistics(many, x.data(), mean.data(), variance.data());
  for (size_t c = 0; c < 150; ++c) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < 3 * 18; ++i) {
      const double v = x[(i / 18 * 150 + c) * 18 + i % 18];
      sum += v, squares += v * v;
    }
    CHECK(mean[c] == doctest::Approx(sum / 54).epsilon(1e-12));
    CHECK(variance[c] == doctest::Approx(squares / 54 - sum / 54 * sum / 54).epsilon(1e-12));
  }
}

TEST_CASE("batch normalisation gradients agree with central differences") {
  auto x = random_values<double>(count, 1), gamma = random_values<double>(3, 2),
       beta = random_values<double>(3, 3);
  const auto dy = random_values<double>(count, 4);
  auto mean = poisoned<double>(3), variance = mean, dgamma = mean, dbeta = mean, dx = poisoned<double>(count);
  cpu::batch_norm_statistics(shape, x.data(), mean.data(), variance.data());
  cpu::batch_norm_backward<double>(shape, x.data(), {dy.data()}, mean.data(), variance.data(), 1e-5,
                                   gamma.data(), dx.data(), dgamma.data(), dbeta.data());
  const auto slope = [&](double& parameter) {
    const double h = 1e-5, before = parameter;
    parameter = before + h;
    const double up = loss(x, gamma, beta, dy);
    parameter = before - h;
    const double down = loss(x, gamma, beta, dy);
    parameter = before;
    return (up - down) / (2 * h);
  };
  for (size_t i = 0; i < x.size(); i += 7) CHECK(dx[i] == doctest::Approx(slope(x[i])).epsilon(1e-5));
  for (size_t c = 0; c < 3; ++c) {
    CHECK(dgamma[c] == doctest::Approx(slope(gamma[c])).epsilon(1e-6));
    CHECK(dbeta[c] == doctest::Approx(slope(beta[c])).epsilon(1e-6));
  }
  auto inference_dx = poisoned<double>(count);
  cpu::batch_norm_inference_backward<double>(shape, x.data(), {dy.data()}, mean.data(), variance.data(), 1e-5,
                                             gamma.data(), inference_dx.data(), nullptr, nullptr);
  CHECK(inference_dx[0] == doctest::Approx(dy[0] * gamma[0] / std::sqrt(variance[0] + 1e-5)));
}

TEST_CASE("the tally adds losses and hits up and remembers the first step whose loss is not finite") {
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<int64_t> predicted{1, 2, 3}, labels{1, 0, 3};
  cpu::Tally tally;
  int64_t step = 7;
  for (const double loss : {0.5, -infinity, std::numeric_limits<double>::quiet_NaN(), 0.25}) {
    cpu::add_step<double>(3, &loss, predicted.data(), labels.data(), &step, &tally);
    if (step == 7) CHECK((tally.loss == 1.5 && tally.bad_step == -1));
    ++step;
  }
  CHECK(tally.correct == 8);
  CHECK(tally.bad_step == 8);
  CHECK(tally.bad_loss == -infinity);
}

TEST_CASE("optimisers take the steps of PyTorch") {
  // Two steps with the gradients 0.5 and -0.25 from w = 1, worked out by hand from the formulas in
  // cpu/optim.h.
  const double first = 0.5, second = -0.25;
  double w = 1, v = 0;
  const cpu::Pace pace{0.1};
  cpu::sgd_step<double>({0.9, true}, &pace, {{1, 1, 0.01, &first, &v, nullptr, &w}});
  CHECK(w == doctest::Approx(1 - 0.1 * (0.51 + 0.9 * 0.51)));
  cpu::sgd_step<double>({}, &pace, {{1, 1, 0, &second, nullptr, nullptr, &w}});
  CHECK(w == doctest::Approx(1 - 0.1 * (0.51 + 0.9 * 0.51) + 0.025));

  double m = 0;
  w = 1;
  v = 0;
  const cpu::Pace one = cpu::adam_pace({}, 0.1, 1), two = cpu::adam_pace({}, 0.1, 2);
  cpu::adam_step<double>({}, &one, {{1, 1, 0, &first, &m, &v, &w}});
  CHECK(w == doctest::Approx(0.9));
  cpu::adam_step<double>({}, &two, {{1, 1, 0, &second, &m, &v, &w}});
  CHECK(w == doctest::Approx(0.9 - 0.1 * (0.02 / 0.19) / std::sqrt(3.1225e-4 / 1.999e-3)));

  double s = 0, buffer = 0;
  w = 1;
  cpu::rmsprop_step<double>({.momentum = 0.5}, &pace, {{1, 1, 0, &first, &s, &buffer, &w}});
  CHECK(w == doctest::Approx(0.0));
  cpu::rmsprop_step<double>({.momentum = 0.5}, &pace, {{1, 1, 0, &second, &s, &buffer, &w}});
  CHECK(w == doctest::Approx(-0.1 * (5 - 0.25 / std::sqrt(0.0031))));

  CHECK_THROWS_AS(cpu::sgd_step<double>({0.9}, &pace, {{1, 1, 0, &first, nullptr, nullptr, &w}}), Error);
  CHECK_THROWS_AS(cpu::rmsprop_step<double>({.momentum = 0.5}, &pace, {{1, 1, 0, &first, &s, nullptr, &w}}),
                  Error);
  CHECK_THROWS_AS(cpu::adam_pace({}, 0.1, 0), Error);

  // An eps that counts, and a rate of the parameter's own.
  m = v = s = 0, w = 1;
  const cpu::Pace third = cpu::adam_pace({}, 0.1, 1);
  cpu::adam_step<double>({.eps = 0.5}, &third, {{1, 2, 0, &first, &m, &v, &w}});
  CHECK(w == doctest::Approx(1 - 0.2 * 0.5 / (0.5 + 0.5)));
  w = 1;
  cpu::rmsprop_step<double>({.eps = 0.5}, &pace, {{1, 2, 0, &first, &s, nullptr, &w}});
  CHECK(w == doctest::Approx(1 - 0.2 * 0.5 / (0.05 + 0.5)));
  w = 1;
  cpu::sgd_step<double>({}, &pace, {{1, 2, 0, &first, nullptr, nullptr, &w}});
  CHECK(w == doctest::Approx(0.9));
}

}  // namespace
