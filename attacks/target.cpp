#include "attacks/target.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/random.h"

namespace hashgrad {
namespace {

constexpr std::pair<TargetRule, const char*> rule_names[] = {{TargetRule::next, "next"},
                                                             {TargetRule::random, "random"},
                                                             {TargetRule::least_likely, "least-likely"},
                                                             {TargetRule::runner_up, "runner-up"}};

/// Sequence of its own beside those of random starts, whose step counts restarts from 0.
constexpr uint32_t target_step = 0xffffffffu;

/// The class other than `label` whose logit no other such class beats; `better` orders logits.
template <class T, class Better>
int64_t extreme(const T* z, int64_t k, int64_t label, const Better& better) {
  int64_t best = label == 0 ? 1 : 0;
  for (int64_t c = best + 1; c < k; ++c)
    if (c != label && better(z[c], z[best])) best = c;
  return best;
}

template <class T>
int64_t choose(TargetRule rule, const T* z, int64_t k, int64_t label, uint64_t seed, int64_t sample) {
  if (rule == TargetRule::next) return (label + 1) % k;
  if (rule == TargetRule::least_likely) return extreme(z, k, label, std::less<T>());
  if (rule == TargetRule::runner_up) return extreme(z, k, label, std::greater<T>());
  Random random(seed, Stream::attack, static_cast<uint64_t>(sample), target_step);
  const int64_t other = random.below(static_cast<uint32_t>(k - 1));
  return other < label ? other : other + 1;
}

}  // namespace

TargetRule parse_target_rule(const std::string& text) {
  for (const auto& [rule, name] : rule_names)
    if (text == name) return rule;
  fail("target: '{}' is none of next, random, least-likely, runner-up", text);
}

Tensor choose_targets(TargetRule rule, const Tensor& scores, const Tensor& labels, uint64_t seed,
                      const std::vector<int64_t>& samples) {
  const Tensor logits = scores.to(Device{}).contiguous();
  const int64_t n = logits.size(0), k = logits.size(1);
  check(k >= 2, "target: no other class in a model with {}", k);
  check(labels.shape() == Shape{n}, "target: labels of shape {} for logits of shape {}", labels.shape(),
        logits.shape());
  Tensor targets = Tensor::empty({n}, DType::int64);
  for_float_type(logits.dtype(), "target", [&]<class T>() {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t label = labels.data<int64_t>()[i];
      check(0 <= label && label < k, "target: label {} of row {} is not in [0, {})", label, i, k);
      const int64_t sample = samples.empty() ? i : samples[static_cast<size_t>(i)];
      targets.data<int64_t>()[i] = choose(rule, logits.data<T>() + i * k, k, label, seed, sample);
    }
  });
  return targets;
}

std::vector<int64_t> by_logit(const std::vector<double>& logits, int64_t label) {
  std::vector<int64_t> classes;
  for (int64_t c = 0; c < static_cast<int64_t>(logits.size()); ++c)
    if (c != label) classes.push_back(c);
  const auto rank = [&](int64_t c) {  // what is not a number comes last
    const double z = logits[static_cast<size_t>(c)];
    return std::isnan(z) ? -std::numeric_limits<double>::infinity() : z;
  };
  std::stable_sort(classes.begin(), classes.end(), [&](int64_t a, int64_t b) { return rank(a) > rank(b); });
  return classes;
}

Tensor rivals(const Tensor& logits, const Tensor& labels, int64_t rank) {
  const int64_t n = logits.size(0), k = logits.size(1);
  check(0 <= rank && rank < k - 1, "target: no rival of rank {} among {} classes", rank, k);
  const std::vector<double> z = logits.to(DType::float64).to_vector<double>();
  Tensor result = Tensor::empty({n}, DType::int64);
  for (int64_t i = 0; i < n; ++i)
    result.data<int64_t>()[i] = by_logit({z.begin() + i * k, z.begin() + (i + 1) * k},
                                         labels.data<int64_t>()[i])[static_cast<size_t>(rank)];
  return result;
}

AttackInput with_all_targets(const AttackInput& input, int64_t classes) {
  std::vector<int64_t> rows, targets, samples;
  for (int64_t i = 0; i < input.x.size(0); ++i)
    for (int64_t t = 0; t < classes; ++t) {
      if (t == input.y.data<int64_t>()[i]) continue;
      rows.push_back(i);
      targets.push_back(t);
      samples.push_back(input.samples.empty() ? i : input.samples[static_cast<size_t>(i)]);
    }
  const int64_t n = static_cast<int64_t>(rows.size());
  return {gather(input.x, rows), gather(input.y, rows), Tensor::of(targets, {n}), samples};
}

}  // namespace hashgrad
