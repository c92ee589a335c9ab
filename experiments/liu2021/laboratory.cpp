#include "experiments/liu2021/laboratory.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "attacks/estimator.h"
#include "attacks/registry.h"
#include "attacks/target.h"
#include "compression/layers.h"
#include "experiments/liu2021/networks.h"
#include "nn/models/zoo.h"

namespace hashgrad::liu2021 {
namespace {

using study::Json;

/// Number of a histogram's images by decade, first zeros, then those below 1e-45, then from 1e-45 on.
Json decades(const GradientHistogram& h) {
  Json counts = Json::array({h.zeros, h.below});
  for (const int64_t count : h.counts) counts.push_back(count);
  return counts;
}

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

Laboratory::Laboratory(const study::PaperFlags& given, Protocol its_protocol, study::Study& study)
    : protocol(std::move(its_protocol)),
      flags(given),
      cells(study),
      spec_(spec_of(protocol.network)),
      hashed_spec_(protocol.hashed.empty() ? spec_ : spec_of(protocol.hashed)),
      flops_(study::flops_per_image(spec_)) {
  const std::vector<Shape> shapes = layer_shapes(spec_);
  const std::vector<size_t> last = select_layers(spec_, "last:2", "liu2021");
  const size_t inner = last[0], outer = last[1];
  weights_first_ = virtual_weights(spec_.layers[inner], shapes[inner]);
  weights_second_ = virtual_weights(spec_.layers[outer], shapes[outer]);
  classes_ = shapes.back()[0];
  const std::vector<size_t> ends = select_layers(hashed_spec_, "last:2", "liu2021");
  rates_ = protocol.hashed.empty()
               ? rate_rule(weights_first_, shapes[outer][0])
               : RatePair{hashed_spec_.layers[ends[0]].rate, hashed_spec_.layers[ends[1]].rate};
  declare_networks();
  for (const Protocol& other : protocol.residual)
    residual_.push_back(std::make_unique<Laboratory>(flags, other, cells));
}

const Json& Laboratory::settings_of(const std::string& network) const {
  return cells.settings_of(in_study(network));
}

const Model& Laboratory::made(const std::string& network) { return cells.network(in_study(network)); }

/// Of the original network, or of the hash classifier, which `network` is or was made from.
const Spec& Laboratory::spec_behind(const std::string& network) const {
  return network.starts_with("hash") ? hashed_spec_ : spec_;
}

bool Laboratory::answers_by_draw(const std::string& network) const {
  return settings_of(network).value("defence", "") == "gi3";
}

std::string Laboratory::inhibited(const std::string& network) const {
  const Spec& spec = spec_behind(network);
  std::string names;
  for (const size_t i : select_layers(spec, inhibited_layers(spec, protocol.gi_convolution), "liu2021"))
    names += (names.empty() ? "" : " ") + to_string(spec.layers[i]);
  return names;
}

double Laboratory::flops_per_second() const { return study::measured_flops_per_second(spec_, flags.common); }

const Dataset& Laboratory::train_set() {
  if (!train_)
    train_ = study::first(protocol.data, Split::train, protocol.train_images, flags,
                          {protocol.size, protocol.size});
  return *train_;
}

const Dataset& Laboratory::test_set() {
  if (!test_)
    test_ =
        study::first(protocol.data, Split::test, protocol.test_images, flags, {protocol.size, protocol.size});
  return *test_;
}

const Model& Laboratory::model(const std::string& network) {
  if (const auto known = models_.find(network); known != models_.end()) return known->second;
  return models_.emplace(network, made(network).to(flags.common.type()).to(flags.common.where()))
      .first->second;
}

OracleOptions Laboratory::asked(int64_t draws, bool stand_ins) const {
  return {.batch = flags.common.batch,
          .draws = {.count = draws, .judge = judge_draws, .seed = flags.common.seed},
          .stand_ins = stand_ins};
}

const std::vector<int64_t>& Laboratory::answers(const std::string& network, int64_t n) {
  std::vector<int64_t>& known = answers_[network];
  const int64_t begin = static_cast<int64_t>(known.size());
  if (begin >= n) return known;
  const Tensor x = test_set().images_float(begin, n, flags.common.type());
  const std::vector<int64_t> more = Oracle::judge(model(network), asked(1)).predict(x);
  known.insert(known.end(), more.begin(), more.end());
  return known;
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

Model Laboratory::trained(Model model, int64_t images, int64_t epochs, const std::string& checkpoint,
                          const AdversarialTraining* attack) {
  model = model.to(flags.common.where());
  TrainOptions options{.epochs = epochs,
                       .batch = train_batch,
                       .optimizer = parse_optimizer("adam"),
                       .lr = protocol.lr,
                       .schedule = Schedule("cosine"),
                       .augmentation = parse_augmentation(protocol.augmentation),
                       .seed = flags.common.seed};
  if (attack) train_adversarially(model, *attack, options);
  const Dataset data = train_set().first(images);
  if (checkpoint.empty())
    train(model, data, options);
  else
    study::resume_training(model, data, options, checkpoint, flags.common.quiet);
  return model.to(Device{});
}

study::Cell Laboratory::new_cell(const std::string& what, const std::string& network, Json settings,
                                 double passes) const {
  settings.update({{"network", settings_of(network)},
                   {"dtype", flags.common.dtype},
                   {"judge_draws", judge_draws},
                   {"data", protocol.data},
                   {"seed", flags.common.seed}});
  return {.label = in_study(network) + ": " + what,
          .settings = std::move(settings),
          .flops = passes * flops_,
          .networks = {in_study(network)},
          .measure = {}};
}

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
  const int64_t targets = !attempt.targeted || protocol.targets == Targets::next ? 1 : classes_ - 1;
  const double asks = attempt.passes * static_cast<double>(attempt.draws) +
                      (answers_by_draw(network) ? static_cast<double>(judge_draws) : 1);
  study::Cell cell =
      new_cell(attempt.attack, network, settings, asks * static_cast<double>(attempt.images * targets));
  if (!attempt.crafted_on.empty()) cell.networks.push_back(in_study(attempt.crafted_on));
  cell.measure = [this, network, attempt] { return measure_attack(network, attempt); };
  return cells.ask(std::move(cell));
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
  Rate all{0, n}, of_right, zero{0, n};
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

const Json* Laboratory::accuracy(const std::string& network) {
  const int64_t n = protocol.accuracy;
  study::Cell cell = new_cell("accuracy", network,
                              {{"measure", "accuracy"}, {"n", n}, {"success", "prediction is the label"}},
                              static_cast<double>(n * (answers_by_draw(network) ? judge_draws : 1)));
  cell.measure = [this, network, n]() -> Json {
    const std::vector<int64_t>& found = answers(network, n);
    Rate right{0, n};
    for (int64_t i = 0; i < n; ++i)
      right.hits += found[static_cast<size_t>(i)] == test_set().labels.data<int64_t>()[i];
    return {{"accuracy", study::json_of(right)}};
  };
  return cells.ask(std::move(cell));
}

const Json* Laboratory::zero_gradients(const std::string& network) {
  const int64_t n = protocol.gradients;
  study::Cell cell = new_cell(
      "zero gradients", network,
      {{"measure", "zero gradients"}, {"n", n}, {"success", "every element of d ce / d x is exactly 0"}},
      6.0 * static_cast<double>(n));
  cell.measure = [this, network, n] {
    Json values;
    for (const DType type : {DType::float32, DType::float64}) {
      const Model as = model(network).to(type);
      const Tensor x = test_set().images_float(0, n, type);
      const LossGradient pass = Oracle(as, asked(1)).gradient(x, test_set().labels_of(0, n), "ce");
      values[name_of(type)] = study::json_of(gradient_histogram(pass.gradient).zero_share());
    }
    return values;
  };
  return cells.ask(std::move(cell));
}

const Json* Laboratory::gradients(const std::string& network) {
  const int64_t n = protocol.gradients;
  study::Cell cell =
      new_cell("gradients", network,
               {{"measure", "gradient histograms"},
                {"n", n},
                {"success", "images by decade of the mean absolute derivative; first zeros, then < 1e-45"}},
               24.0 * static_cast<double>(n));
  cell.measure = [this, network] { return measure_gradients(network); };
  return cells.ask(std::move(cell));
}

Json Laboratory::measure_gradients(const std::string& network) {
  const int64_t n = protocol.gradients, portion = 500;  // Jacobians take 31 kB per image of MNIST
  const Oracle oracle(model(network), asked(1));
  std::vector<Tensor> loss, probs, logits;
  Json values{{"loss", {}}, {"probs", {}}, {"logits", {}}};
  const auto add = [&](const char* name, const Tensor& derivative) {
    const Json more = decades(gradient_histogram(derivative));
    Json& sum = values[name];
    for (size_t i = 0; i < more.size(); ++i)
      sum[i] = (sum.size() > i ? sum[i].get<int64_t>() : 0) + more[i].get<int64_t>();
  };
  for (int64_t begin = 0; begin < n; begin += portion) {
    const int64_t end = std::min(n, begin + portion);
    const Tensor x = test_set().images_float(begin, end, flags.common.type());
    add("loss", oracle.gradient(x, test_set().labels_of(begin, end), "ce").gradient);
    add("probs", oracle.jacobian(x, Outputs::probs));
    add("logits", oracle.jacobian(x, Outputs::logits));
  }
  return values;
}

const Json* Laboratory::search_point(double first, double second) {
  study::Cell cell =
      new_cell(fmt::format("search at {}, {}", rate_name(first), rate_name(second)), "original",
               {{"measure", "rate search"},
                {"rates", {first, second}},
                {"images", protocol.search_images},
                {"epochs", protocol.search_epochs},
                {"lr", protocol.lr},
                {"estimated", protocol.search_estimated},
                {"n", protocol.search_tested},
                {"success", "prediction is the label"}},
               study::training_flops(spec_, protocol.search_images, protocol.search_epochs) / flops_ +
                   static_cast<double>(protocol.search_tested + 12 * protocol.search_estimated));
  cell.measure = [this, first, second] { return measure_search_point(first, second); };
  return cells.ask(std::move(cell));
}

Json Laboratory::measure_search_point(double first, double second) {
  const Model model = trained(hashed({first, second}), protocol.search_images, protocol.search_epochs, "")
                          .to(flags.common.type())
                          .to(flags.common.where());
  const Score score = evaluate(model, test_set().first(protocol.search_tested), flags.common.batch);
  const Estimate estimate = estimate_robustness(
      Oracle(model, asked(1)), test_set().images_float(0, protocol.search_estimated, flags.common.type()));
  return {{"accuracy", study::json_of(Rate{score.correct, score.samples})},
          {"g", estimate.g},
          {"phi", estimate.phi}};
}

}  // namespace hashgrad::liu2021
