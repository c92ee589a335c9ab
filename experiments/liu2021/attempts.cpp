// What attacks do to the networks of a laboratory.
#include <algorithm>
#include <numeric>

#include "attacks/registry.h"
#include "attacks/target.h"
#include "experiments/liu2021/laboratory.h"
#include "experiments/study/outcomes.h"

namespace hashgrad::liu2021 {
namespace {

using study::Json;

/// What is counted, in words: part of a cell's settings.
std::string success_of(const Attempt& attempt, Targets targets) {
  if (!attempt.targeted) return "prediction is not the label, of those of n images that are right before";
  return targets == Targets::all
             ? "prediction is the target; first n images that are right, all other classes"
             : "prediction is the target; first n images that are right, the class behind the label";
}

/// Euclidean norm of each image.
std::vector<double> lengths(const Tensor& x) {
  return distances(Tensor::zeros(x.shape(), x.dtype()), x).l2.to_vector<double>();
}

}  // namespace

const Json* Laboratory::attack(const std::string& network, const Attempt& attempt) {
  Json settings{{"measure", "attack"},
                {"attack", attempt.attack},
                {"n", attempt.images},
                {"draws", attempt.draws},
                {"stand_ins", attempt.stand_ins},
                {"lead", attempt.lead},
                {"skip", attempt.skip},
                {"success", success_of(attempt, protocol.targets)}};
  if (!attempt.crafted_on.empty()) settings["crafted_on"] = settings_of(attempt.crafted_on);
  const double asks = attempt.passes * static_cast<double>(attempt.draws) +
                      (answers_by_draw(network) ? static_cast<double>(judge_draws) : 1);
  study::Cell cell = new_cell(attempt.attack, network, settings,
                              asks * static_cast<double>(attempt.images * rows_per_image(attempt)));
  if (!attempt.crafted_on.empty()) cell.networks.push_back(in_study(attempt.crafted_on));
  cell.measure = [this, network, attempt] { return measure_attack(network, attempt); };
  return cells.ask(std::move(cell));
}

int64_t Laboratory::rows_per_image(const Attempt& attempt) const {
  return attempt.targeted && protocol.targets == Targets::all ? classes_ - 1 : 1;
}

std::string Laboratory::shown_success(const Attempt& attempt, const Json* values) const {
  if (values == nullptr) return study::not_run;
  Rate rate = study::rate_from(values->at("success"));
  rate.per_image = rows_per_image(attempt);  // which older cells do not say
  return study::shown(rate);
}

std::vector<int64_t> Laboratory::rows_of(const std::string& network, const Attempt& attempt) {
  if (attempt.targeted) return first_right(network, attempt.images, attempt.skip);
  std::vector<int64_t> rows(static_cast<size_t>(attempt.images));
  std::iota(rows.begin(), rows.end(), attempt.skip);
  return rows;
}

AttackInput Laboratory::input_of(const std::string& network, const Attempt& attempt) {
  const std::vector<int64_t> rows = rows_of(network, attempt);
  const Dataset chosen = test_set().select(rows);
  const AttackInput input{
      chosen.images_float(0, chosen.size(), flags.common.type()), chosen.labels, {}, rows};
  return attempt.targeted ? aimed(input) : input;
}

AttackInput Laboratory::aimed(const AttackInput& input) const {
  if (protocol.targets == Targets::all) return with_all_targets(input, classes_);
  AttackInput result = input;
  const Tensor any_logits = Tensor::zeros({input.y.numel(), classes_}, flags.common.type());
  result.targets = choose_targets(TargetRule::next, any_logits, input.y);
  return result;
}

std::string Laboratory::with_kappa(const Model& source, const Attempt& attempt,
                                   const AttackInput& input) const {
  if (attempt.lead == 0 || input.x.size(0) == 0) return attempt.attack;
  const Tensor lead =
      Oracle::objective(Oracle(source, asked(attempt.draws)).logits(input.x), {input.y, {}}, "margin");
  std::vector<double> leads = lead.to(DType::float64).to(Device{}).to_vector<double>();
  std::nth_element(leads.begin(), leads.begin() + static_cast<std::ptrdiff_t>(leads.size() / 2), leads.end());
  const double median = -leads[leads.size() / 2];  // the objective is minus the lead
  if (!(median > 0)) return attempt.attack;        // a broken network: there is no lead to go by
  const bool first = attempt.attack.find(':') == std::string::npos;
  return fmt::format("{}{}kappa={}", attempt.attack, first ? ":" : ",", attempt.lead * median);
}

Json Laboratory::measure_attack(const std::string& network, const Attempt& attempt) {
  const AttackInput input = input_of(network, attempt);
  const bool elsewhere = !attempt.crafted_on.empty();
  const Model& source = model(elsewhere ? attempt.crafted_on : network);
  const std::unique_ptr<Attack> attack = make_attack(with_kappa(source, attempt, input), flags.common.seed);
  const AttackResult result = attack->run(source, input, asked(attempt.draws, attempt.stand_ins));
  std::vector<bool> reached;
  if (elsewhere) {
    const std::vector<int64_t> found = Oracle::judge(model(network), asked(1)).predict(result.x_adv);
    for (int64_t i = 0; i < input.x.size(0); ++i)
      reached.push_back(input.goal().reached(i, found[static_cast<size_t>(i)]));
  } else {
    for (const uint8_t success : result.success.to_vector<uint8_t>()) reached.push_back(success != 0);
  }
  return count(network, attempt, input, result, reached);
}

Json Laboratory::count(const std::string& network, const Attempt& attempt, const AttackInput& input,
                       const AttackResult& result, const std::vector<bool>& reached) {
  const int64_t n = input.x.size(0);
  const std::vector<int64_t>& clean = answers(network, attempt.targeted ? 0 : attempt.skip + attempt.images);
  const std::vector<double> size = lengths(input.x);
  const int64_t per_image = rows_per_image(attempt);
  Rate all{0, n, per_image}, of_right{0, 0, per_image}, zero{0, n, per_image};
  std::vector<double> far;
  double relative = 0;
  for (int64_t i = 0; i < n; ++i) {
    const size_t row = static_cast<size_t>(i), sample = static_cast<size_t>(attempt.skip) + row;
    const bool right = attempt.targeted || clean[sample] == input.y.data<int64_t>()[i];
    all.hits += reached[row];
    of_right.trials += right;
    of_right.hits += right && reached[row];
    zero.hits += result.status.data<int64_t>()[i] == static_cast<int64_t>(Status::zero_grad);
    if (!right || !reached[row]) continue;
    far.push_back(result.l2.data<double>()[i]);
    relative += far.back() / size[row];
  }
  std::sort(far.begin(), far.end());
  return {{"success", study::json_of(of_right)},
          {"all", study::json_of(all)},
          {"zero_gradient", study::json_of(zero)},
          {"median_l2", far.empty() ? Json() : Json(far[far.size() / 2])},
          {"relative_l2", far.empty() ? Json() : Json(relative / static_cast<double>(far.size()))}};
}

std::vector<int64_t> Laboratory::first_right(const std::string& network, int64_t n, int64_t skip) {
  const int64_t all = test_set().size();
  std::vector<int64_t> right;
  for (int64_t i = skip; i < all && static_cast<int64_t>(right.size()) < n; ++i) {
    const int64_t seen = std::min(all, (i / n + 1) * n);  // asked in portions of n
    if (answers(network, seen)[static_cast<size_t>(i)] == test_set().labels.data<int64_t>()[i])
      right.push_back(i);
  }
  return right;
}

}  // namespace hashgrad::liu2021
