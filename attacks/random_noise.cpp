#include "attacks/random_noise.h"

#include <cmath>
#include <limits>

#include "attacks/probes.h"
#include "attacks/rows.h"
#include "core/random.h"

namespace hashgrad {
namespace {

/// centre + normal noise: as it is for linf, of length eps for l2 and l1. Not yet inside the ball.
template <class T>
void gaussian(const T* centre, int64_t n, const Threat& ball, Random random, T* out) {
  std::vector<double> noise(static_cast<size_t>(n));
  double sum = 0;
  for (double& v : noise) v = random.normal(), sum += ball.norm == Norm::l1 ? std::abs(v) : v * v;
  const double length = std::max(ball.norm == Norm::l1 ? sum : std::sqrt(sum), 1e-150);
  const double scale = ball.norm == Norm::linf ? ball.eps : ball.eps / length;
  for (int64_t i = 0; i < n; ++i)
    out[i] = static_cast<T>(static_cast<double>(centre[i]) + scale * noise[static_cast<size_t>(i)]);
}

}  // namespace

RandomNoise::RandomNoise(Options options) : options_(options) {
  validate(Threat{options_.norm, options_.eps}, "random-noise", {Norm::linf, Norm::l2, Norm::l1, Norm::l0});
  check(options_.rule == Rule::uniform || options_.norm != Norm::l0,
        "random-noise: has no gaussian noise for l0");
  validate_count(options_.draws, "draws", "random-noise", 10'000'000);
}

std::string RandomNoise::repr() const {
  return fmt::format(
      "RandomNoise({{.rule = RandomNoise::Rule::{}, .norm = Norm::{}, .eps = {}, .draws = {}, .seed = {}}})",
      name_of(options_.rule), name_of(options_.norm), options_.eps, options_.draws, options_.seed);
}

/// The image number `number` of each row, by (seed, sample, number).
Tensor RandomNoise::draw(const AttackInput& rows, uint32_t number) const {
  const Threat ball{options_.norm, options_.eps};
  if (options_.rule == Rule::uniform) return random_start(rows.x, ball, options_.seed, rows.samples, number);
  const int64_t n = rows.x.size(0), d = rows.x.numel() / n;
  Tensor noisy = Tensor::empty(rows.x.shape(), rows.x.dtype());
  for_float_type(rows.x.dtype(), "random-noise", [&]<class T>() {
    const T* x = rows.x.data<T>();
    T* out = noisy.data<T>();
    for_images(n, d, [&](int64_t i) {
      const uint64_t sample = static_cast<uint64_t>(rows.samples[static_cast<size_t>(i)]);
      gaussian(x + i * d, d, ball, Random(options_.seed, Stream::attack, sample, number), out + i * d);
    });
  });
  return project(noisy, rows.x, ball);
}

Crafted RandomNoise::craft(const Oracle& oracle, const AttackInput& input) const {
  Crafted out(input.x);
  LiveRows live(input, judge_clean(oracle, input, out).open);
  std::vector<double> best(live.size(), -std::numeric_limits<double>::infinity());
  for (int64_t tried = 1; tried <= options_.draws && !live.empty(); ++tried) {
    const Tensor noisy = draw(live.input(), static_cast<uint32_t>(tried - 1));
    const Tensor logits = oracle.exact_logits(noisy);
    const std::vector<int64_t> predictions = predictions_of(logits);
    const Goal goal = live.goal();
    const std::vector<double> margin =
        Oracle::objective(logits, goal, "margin").to(DType::float64).to_vector<double>();
    std::vector<int64_t> going_on;
    for (size_t i = 0; i < live.size(); ++i) {
      const size_t row = live.row(i);
      const int64_t at = static_cast<int64_t>(i);
      const bool success = goal.reached(at, predictions[i]);
      ++out.forwards[row];
      if (success || margin[i] > best[i])
        scatter(out.x_adv, {live.rows()[i]}, gather(noisy, {at})), best[i] = margin[i];
      if (success)
        out.status[row] = Status::ok, out.first_success[row] = tried;
      else
        going_on.push_back(at);
    }
    live.keep(going_on, best);
  }
  return out;
}

RandomNoise::Rule parse_noise_rule(const std::string& text) {
  check(text == "uniform" || text == "gaussian", "random-noise: rule '{}' is neither uniform nor gaussian",
        text);
  return text == "uniform" ? RandomNoise::Rule::uniform : RandomNoise::Rule::gaussian;
}

const char* name_of(RandomNoise::Rule rule) {
  return rule == RandomNoise::Rule::uniform ? "uniform" : "gaussian";
}

AttackInfo RandomNoise::info() {
  return {"random-noise",
          "the best of many random points of the ball: a baseline",
          {eps_setting(0.3), norm_setting("linf", {"linf", "l2", "l1", "l0"}),
           AttackSetting::word("rule", "uniform", {"uniform", "gaussian"}, "how the noise is distributed"),
           draws_setting(1000)},
          [](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<RandomNoise>(Options{.rule = parse_noise_rule(s.word("rule")),
                                                         .norm = parse_norm(s.word("norm")),
                                                         .eps = s.number("eps"),
                                                         .draws = s.integer("draws"),
                                                         .seed = s.seed()});
          },
          {"eps=0.4,draws=9", "norm=l2,eps=2,draws=9", "rule=gaussian,eps=0.4,draws=9",
           "rule=gaussian,norm=l2,eps=2,draws=9", "norm=l1,eps=12,draws=9", "norm=l0,eps=12,draws=9",
           "rule=gaussian,norm=l1,eps=12,draws=9"}};
}

}  // namespace hashgrad
