// Checks of what the attacks are told: outputs, gradients, and their scale.
#include <algorithm>
#include <cmath>

#include "attacks/checks/check.h"
#include "core/random.h"

namespace hashgrad {
namespace {

/// Rows of Gaussian directions of unit length, one for each image, the same for every batch.
Tensor directions(const Evidence& evidence, int64_t rows, uint32_t number) {
  const int64_t d = evidence.input().x.numel() / evidence.rows();
  Tensor u = Tensor::empty(evidence.input().x.shape().without(0).with(0, rows), DType::float64);
  for (int64_t row = 0; row < rows; ++row) {
    Random random(evidence.options().seed, Stream::attack,
                  static_cast<uint64_t>(evidence.input().samples[static_cast<size_t>(row)]),
                  1'000'000 + number);
    double sum = 0, *v = u.data<double>() + row * d;
    for (int64_t i = 0; i < d; ++i) v[i] = random.normal(), sum += v[i] * v[i];
    for (int64_t i = 0; i < d; ++i) v[i] /= std::sqrt(sum);
  }
  return u;
}

/// g . u of each row.
std::vector<double> products(const Tensor& g, const Tensor& u) {
  const int64_t d = g.numel() / std::max<int64_t>(1, g.size(0));
  std::vector<double> result;
  for (int64_t row = 0; row < g.size(0); ++row) {
    double sum = 0;
    for (int64_t i = row * d; i < (row + 1) * d; ++i) sum += g.data<double>()[i] * u.data<double>()[i];
    result.push_back(sum);
  }
  return result;
}

/// How far the slope of the margin along u is from the gradient's, relative to the larger, at the step where
/// they agree best: kinks disturb wide steps, rounding narrow ones.
std::vector<double> disagreement(const Oracle& oracle, const AttackInput& input, const Tensor& gradient,
                                 const Tensor& u) {
  const std::vector<double> told = products(gradient, u);
  std::vector<double> best(told.size(), 1);
  for (const double h : {1e-2, 1e-3, 1e-4, 1e-5}) {
    const auto value = [&](double t) {
      const Tensor moved = step(input.x, t, u);
      return Oracle::objective(oracle.logits(moved).to(Device{}), input.goal(), "margin").to_vector<double>();
    };
    const std::vector<double> up = value(h), down = value(-h);
    for (size_t i = 0; i < told.size(); ++i) {
      const double slope = (up[i] - down[i]) / (2 * h), larger = std::max(std::abs(slope), std::abs(told[i]));
      if (larger < 1e-12)
        best[i] = 0;
      else
        best[i] = std::min(best[i], std::abs(slope - told[i]) / larger);
    }
  }
  return best;
}

/// Pixels beyond black or white come back into the box by as much as they are outside. Cut off there, many
/// would be equal, which is a kink of max-pooling and of a median filter.
Tensor off_the_edges(const Tensor& x) {
  std::vector<double> pixels = x.to(Device{}).to_vector<double>();
  for (double& p : pixels) p = std::clamp(1 - std::abs(1 - std::abs(p)), 0.0, 1.0);
  return Tensor::of(pixels, x.shape()).to(x.device());
}

}  // namespace

std::optional<Model> with_scaled_logits(const Model& model, double scale) {
  const std::optional<size_t> layer = output_layer(model.spec());
  if (!layer) return std::nullopt;
  Model twin = model.to(Device{});
  bool finite = true;
  for (const char* part : {"weight", "bias"}) {
    const auto state = twin.state();
    const auto found = state.find(twin.parameter_name(*layer, part));
    if (found == state.end()) continue;
    Tensor t = found->second;
    for_float_type(t.dtype(), "check", [&]<class T>() {
      for (int64_t i = 0; i < t.numel(); ++i) {
        T& w = t.data<T>()[i];
        w *= static_cast<T>(scale);
        finite = finite && std::isfinite(w);
      }
    });
  }
  if (!finite) return std::nullopt;
  return model.device() == Device{} ? std::move(twin) : twin.to(model.device());
}

Finding check_outputs(Evidence& evidence) {
  const Tensor z = evidence.logits().to(DType::float64);
  int64_t alike = 0;
  for (int64_t row = 0; row < z.size(0); ++row) {
    double sum = 0, low = 0, high = 0;
    for (int64_t k = 0; k < z.size(1); ++k) {
      const double v = z.data<double>()[row * z.size(1) + k];
      sum += v, low = std::min(low, v), high = std::max(high, v);
    }
    alike += low >= -1e-4 && high <= 1 + 1e-4 && std::abs(sum - 1) <= 1e-3;
  }
  if (alike < z.size(0)) return {Verdict::passed, "the outputs are not probabilities"};
  return {Verdict::masked,
          "every output lies in [0,1] and each image's add up to 1: these are probabilities, and attacks "
          "that put them through softmax again see flattened gradients"};
}

Finding check_zero_gradients(Evidence& evidence) {
  const Oracle oracle = evidence.oracle();
  const auto zeros = [&](const char* loss) {
    return zero_rows(oracle.ascent(evidence.input().x, evidence.input().goal(), loss).gradient.to(Device{}));
  };
  const LossGradient pass = oracle.ascent(evidence.input().x, evidence.input().goal(), "ce");
  const std::vector<bool> finite = finite_rows(pass.gradient.to(Device{})),
                          zero = zero_rows(pass.gradient.to(Device{}));
  const int64_t n = evidence.rows(), bad = n - count(finite);
  if (bad > 0)
    return {Verdict::masked,
            fmt::format("the cross-entropy gradient of {} of {} images is not a number", bad, n),
            evidence.samples(without(std::vector<bool>(finite.size(), true), finite))};
  if (!notable(count(zero), n))
    return {Verdict::passed,
            fmt::format("{} of {} images have a cross-entropy gradient of exactly zero", count(zero), n),
            evidence.samples(zero)};
  return {
      Verdict::masked,
      fmt::format(
          "the cross-entropy gradient of {} of {} images is exactly zero, so attacks that follow it do not "
          "start; along the exact direction {} are zero",
          count(zero), n, count(zeros("ce-exact"))),
      evidence.samples(zero)};
}

Finding check_differences(Evidence& evidence) {
  constexpr int64_t most_rows = 64;
  constexpr uint32_t tries = 4;
  constexpr double far = 0.1;  // relative
  const int64_t rows = std::min(most_rows, evidence.rows());
  std::vector<int64_t> first;
  for (int64_t i = 0; i < rows; ++i) first.push_back(i);
  Model precise = evidence.model().to(DType::float64).clone();  // rounding is check D17's subject
  // A staircase has no slope to compare with. The gradient passes straight through its steps, so it is held
  // against the network without them; whether attacks by it see all there is, others ask (D8, D10, D14).
  const bool staircase = !precise.coding.activations.empty();
  precise.coding.activations.clear();
  const Oracle oracle(precise,
                      {.batch = evidence.options().batch, .draws = {.seed = evidence.options().seed}});
  AttackInput input = gather(evidence.input(), first);
  // A point of an l0 ball has most pixels as they were, and equal neighbours are a kink of max-pooling.
  const Threat& threat = evidence.threat();
  input.x = off_the_edges(ball_point(input.x.to(DType::float64),
                                     threat.norm == Norm::l0 ? Threat{Norm::linf, 0.1} : threat,
                                     evidence.options().seed, input.samples, 0));
  const Tensor gradient = oracle.ascent(input.x, input.goal(), "margin").gradient.to(Device{});
  std::vector<int> misses(static_cast<size_t>(rows));
  for (uint32_t t = 0; t < tries; ++t) {
    const std::vector<double> d = disagreement(oracle, input, gradient, directions(evidence, rows, t));
    for (size_t i = 0; i < d.size(); ++i) misses[i] += d[i] > far;
  }
  std::vector<bool> wrong(static_cast<size_t>(evidence.rows()));
  for (size_t i = 0; i < misses.size(); ++i) wrong[i] = misses[i] > static_cast<int>(tries) / 2;
  const std::string numbers = fmt::format(
      "{} of {} images have a gradient that differs from finite differences of the margin by more than "
      "{:.0f} % in most of {} directions{}",
      count(wrong), rows, 100 * far, tries,
      staircase ? ", both without the rounding of activations, which has no slope" : "");
  return {10 * count(wrong) > rows ? Verdict::masked : Verdict::passed, numbers, evidence.samples(wrong)};
}

Finding check_scale(Evidence& evidence) {
  if (randomised(evidence.model()))
    return {
        Verdict::not_applicable,
        "the logits of a randomised model do not scale with its weights; its draws do not grow with them"};
  if (!output_layer(evidence.model().spec()))
    return {Verdict::not_applicable, "the last layer has no weights whose scale could be changed"};
  const std::string spec = "bim:iters=10," + evidence.ball();
  const std::vector<bool> as_is = evidence.broken(spec);
  std::vector<bool> better(as_is.size());
  std::string numbers;
  int64_t most = 0;
  for (const double scale : {1e-3, 1e-2, 1e-1, 1e1, 1e2, 1e3}) {
    const std::optional<Model> twin = with_scaled_logits(evidence.model(), scale);
    if (!twin) continue;
    const std::vector<bool> broken =
        succeeded(evidence.attack(spec, *twin, fmt::format("logits times {}", scale)));
    numbers += fmt::format(", {} at {}", count(broken), scale);
    const std::vector<bool> gained = without(broken, as_is);
    if (count(gained) > most) most = count(gained), better = gained;
  }
  const bool flat = !notable(most, evidence.rows()) || 4 * most < evidence.rows();  // a little may be chance
  return {
      flat ? Verdict::passed : Verdict::masked,
      fmt::format("bim breaks {} of {} images; with logits scaled{}", count(as_is), evidence.rows(), numbers),
      flat ? std::vector<int64_t>{} : evidence.samples(better)};
}

}  // namespace hashgrad
