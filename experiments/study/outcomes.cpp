#include "experiments/study/outcomes.h"

#include <algorithm>

#include "core/error.h"
#include "experiments/report/table.h"

namespace hashgrad::study {

Outcomes right(const Model& model, const AttackInput& input, const Tensor& images, int64_t batch) {
  const std::vector<int64_t> answers = Oracle(model, {.batch = batch}).predict(images);
  const int64_t* labels = input.y.data<int64_t>();
  Outcomes outcomes;
  for (size_t i = 0; i < answers.size(); ++i) outcomes += answers[i] == labels[i] ? '1' : '0';
  return outcomes;
}

Outcomes reached(const Model& model, const AttackInput& input, const Tensor& images, int64_t batch) {
  const std::vector<int64_t> answers = Oracle(model, {.batch = batch}).predict(images);
  const Goal goal = input.goal();
  Outcomes outcomes;
  for (size_t i = 0; i < answers.size(); ++i)
    outcomes += goal.reached(static_cast<int64_t>(i), answers[i]) ? '1' : '0';
  return outcomes;
}

Outcomes both(const Outcomes& a, const Outcomes& b) {
  check(a.size() == b.size(), "study: outcomes of {} and of {} images do not go together", a.size(),
        b.size());
  Outcomes result = a;
  for (size_t i = 0; i < b.size(); ++i)
    if (b[i] != '1') result[i] = '0';
  return result;
}

Rate share(const Outcomes& outcomes) {
  return {std::count(outcomes.begin(), outcomes.end(), '1'), std::ssize(outcomes)};
}

Rate share_of(const Outcomes& outcomes, const Outcomes& counted) {
  return {share(both(outcomes, counted)).hits, share(counted).hits};
}

double median_l2(const AttackResult& crafted) {
  return median_of_successes(crafted.l2, crafted.success, crafted.status).value_or(0);
}

std::optional<Rate> share(const Json* values, const std::string& name) {
  if (values == nullptr) return std::nullopt;
  return share(values->at(name).get<Outcomes>());
}

std::string shown(const std::optional<Rate>& rate) { return rate ? report::percent(*rate) : not_run; }

std::string shown(const Json* values, const std::string& rate) {
  return shown(values ? std::optional(rate_from(values->at(rate))) : std::nullopt);
}

std::string widest_interval(int64_t n) {
  const Interval widest = wilson(n / 2, n);
  return fmt::format("95 % Wilson intervals: at most +-{:.1f} points, each in its cell",
                     50 * (widest.high - widest.low));
}

Change change(const Rate& from, const Rate& to) {
  const Interval a = from.interval(), b = to.interval();
  return b.low > a.high ? Change::rises : b.high < a.low ? Change::falls : Change::none;
}

bool beats_chance(const Rate& right, int64_t classes) {
  return right.interval().low > 1.0 / static_cast<double>(classes);
}

const char* verdict(bool held) { return held ? "held" : "did not hold"; }

std::string finding(const std::string& claim, const std::string& measured, bool held) {
  return fmt::format("{} Measured: {}. It {}.", claim, measured, verdict(held));
}

std::string by_chance(const std::string& claim, const std::string& measured, const std::string& label,
                      const Rate& clean) {
  return fmt::format(
      "{} Measured: {}. It says nothing: without attack {} answers {} % right, by chance as many.", claim,
      measured, label, shown(clean));
}

std::string unjudged(const std::string& claim) { return claim + " Not judged: cells are missing."; }

}  // namespace hashgrad::study
