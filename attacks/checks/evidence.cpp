#include "attacks/checks/evidence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "attacks/registry.h"
#include "attacks/target.h"

namespace hashgrad {

Evidence::Evidence(const Model& model, const AttackInput& rows, const Threat& threat, EvidenceOptions options)
    : model_(model),
      threat_(threat),
      options_(std::move(options)),
      given_(rows.x.size(0)),
      judge_(Oracle::judge(model, {.batch = options_.batch,
                                   .draws = {.judge = options_.draws.judge, .seed = options_.seed},
                                   .stop = options_.stop})) {
  validate(threat, "report", {Norm::linf, Norm::l2, Norm::l1, Norm::l0});
  check(threat.eps > 0, "report: a threat of eps 0 allows no attack");
  check(threat.norm != Norm::l0 || threat.eps >= 1, "report: l0 counts pixels, eps = {} allows none",
        threat.eps);
  validate(model, rows, "report");
  check(!rows.targets.defined(), "report: rows with targets; it asks about untargeted attacks");
  AttackInput named = rows;
  if (named.samples.empty()) {
    named.samples.resize(static_cast<size_t>(given_));
    std::iota(named.samples.begin(), named.samples.end(), 0);
  }
  const std::vector<int64_t> predictions = judge_.predict(named.x);
  std::vector<int64_t> right;
  for (int64_t i = 0; i < given_; ++i)
    if (predictions[static_cast<size_t>(i)] == named.y.data<int64_t>()[i]) right.push_back(i);
  check(!right.empty(), "report: the model gets none of the {} images right; there is nothing to attack",
        given_);
  right_ = gather(named, right);
  logits_ = judge_.logits(right_.x).to(Device{});
  worst_.resize(right.size());
  distance_.assign(right.size(), std::numeric_limits<double>::infinity());
  nearest_ = right_.x.clone();
}

/// Judges images made anywhere, which may lie outside the ball, by the model itself.
void Evidence::note(const Tensor& made) {
  const Tensor x_adv = made.to(Device{}).to(right_.x.dtype());
  const Distances far = distances(right_.x, x_adv);
  const Tensor& length = in_norm(far, threat_.norm);
  const std::vector<int64_t> seen = judge_.predict(x_adv);
  for (int64_t i = 0; i < rows(); ++i) {
    const size_t row = static_cast<size_t>(i);
    const double distance = length.data<double>()[i];
    if (!right_.goal().reached(i, seen[row]) || distance > threat_.eps || distance >= distance_[row])
      continue;
    worst_[row] = true;
    distance_[row] = distance;
    scatter(nearest_, {i}, gather(x_adv, {i}));
  }
}

std::string Evidence::ball(double factor) const {
  return fmt::format("norm={},eps={}", name_of(threat_.norm), threat_.eps * factor);
}

double Evidence::whole_box() const {
  const double pixels = static_cast<double>(right_.x.numel() / rows());
  const double radius = threat_.norm == Norm::linf ? 1
                        : threat_.norm == Norm::l2 ? std::sqrt(pixels)
                                                   : pixels;
  return radius / threat_.eps;
}

OracleOptions Evidence::asked(int64_t draws) const {
  OracleOptions asked = judge_.options();  // with the draws made so far
  asked.draws.count = draws;
  return asked;
}

const AttackResult& Evidence::attack(const std::string& spec) { return run(spec, spec, 1); }

const AttackResult& Evidence::over_draws(const std::string& spec) {
  if (!randomised(model_)) return attack(spec);
  return run(name_over_draws(spec), spec, options_.draws.count);
}

std::vector<std::string> with_stand_ins(std::vector<std::string> specs, const Evidence& evidence) {
  if (evidence.model().transforms().empty()) return specs;
  for (size_t i = 0, n = specs.size(); i < n; ++i) specs.push_back(std::string(bpda) + specs[i]);
  return specs;
}

std::string Evidence::name_over_draws(const std::string& spec) const {
  return fmt::format("{} over {} draws", spec, options_.draws.count);
}

/// What is known of it, from this run or another, or else what it does now.
const AttackResult& Evidence::once(Results& results, const std::string& what,
                                   const std::function<AttackResult()>& attack) {
  const auto found = results.find(what);
  if (found != results.end()) return found->second;
  if (options_.progress) options_.progress(what);
  std::optional<AttackResult> result;
  if (options_.recall) result = options_.recall(what, right_.x);
  if (!result) {
    result = attack();
    if (options_.keep) options_.keep(what, *result);
  }
  note(result->x_adv);
  return results.emplace(what, std::move(*result)).first->second;
}

const AttackResult& Evidence::run(const std::string& name, const std::string& spec, int64_t draws) {
  return once(attacks_, name, [&] {
    const bool stand_ins = spec.starts_with(bpda);
    OracleOptions options = asked(draws);
    options.stand_ins = stand_ins;
    const auto attack = make_attack(stand_ins ? spec.substr(bpda.size()) : spec, options_.seed);
    return attack->run(model_, right_, options);
  });
}

const AttackResult& Evidence::attack(const std::string& spec, const Model& other, const std::string& name) {
  return once(others_, spec + " on " + name, [&] {
    AttackInput input = right_;
    input.x = input.x.to(other.dtype());
    return make_attack(spec, options_.seed)->run(other, input, asked(1));
  });
}

const AttackResult& Evidence::attack_rival(const std::string& spec, int64_t rank) {
  return once(others_, fmt::format("{} at likely class {}", spec, rank + 1), [&] {
    AttackInput input = right_;
    input.targets = rivals(logits_, right_.y, rank);
    return make_attack(spec, options_.seed)->run(model_, input, asked(1));
  });
}

std::vector<bool> Evidence::broken(const std::string& spec) { return succeeded(attack(spec)); }

std::vector<bool> Evidence::within(const AttackResult& result) const {
  const Tensor& far = in_norm(result, threat_.norm);
  std::vector<bool> inside = succeeded(result);
  for (size_t i = 0; i < inside.size(); ++i) inside[i] = inside[i] && far.data<double>()[i] <= threat_.eps;
  return inside;
}

std::vector<int64_t> Evidence::samples(const std::vector<bool>& mask) const {
  std::vector<int64_t> numbers;
  for (size_t i = 0; i < mask.size(); ++i)
    if (mask[i]) numbers.push_back(right_.samples[i]);
  return numbers;
}

std::vector<bool> succeeded(const AttackResult& result) {
  const uint8_t* success = result.success.data<uint8_t>();
  return std::vector<bool>(success, success + result.success.numel());
}

int64_t count(const std::vector<bool>& mask) { return std::count(mask.begin(), mask.end(), true); }

std::vector<bool> without(const std::vector<bool>& a, const std::vector<bool>& b) {
  std::vector<bool> rest(a.size());
  for (size_t i = 0; i < a.size(); ++i) rest[i] = a[i] && !b[i];
  return rest;
}

std::vector<bool> either(std::vector<bool> a, const std::vector<bool>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] = a[i] || b[i];
  return a;
}

}  // namespace hashgrad
