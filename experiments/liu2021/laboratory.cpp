#include "experiments/liu2021/laboratory.h"

#include <algorithm>
#include <cmath>

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

/// Euclidean norm of each image.
std::vector<double> lengths(const Tensor& x) {
  return distances(Tensor::zeros(x.shape(), x.dtype()), x).l2.to_vector<double>();
}

}  // namespace

Laboratory::Laboratory(const study::PaperFlags& flags)
    : protocol(protocol_of(flags.size())),
      cells(flags.study()),
      flags_(flags),
      spec_(spec_of(protocol.network)),
      flops_(study::flops_per_image(spec_)) {
  const std::vector<Shape> shapes = layer_shapes(spec_);
  const std::vector<size_t> last = select_layers(spec_, "last:2", "liu2021");
  const size_t inner = last[0], outer = last[1];
  weights_first_ = virtual_weights(spec_.layers[inner], shapes[inner]);
  weights_second_ = virtual_weights(spec_.layers[outer], shapes[outer]);
  inputs_second_ = shapes[outer][0];
  declare_networks();
}

double Laboratory::flops_per_second() const {
  return study::measured_flops_per_second(spec_, flags_.common.batch);
}

const Dataset& Laboratory::train_set() {
  if (!train_) train_ = study::first(protocol.data, Split::train, protocol.train_images, flags_);
  return *train_;
}

const Dataset& Laboratory::test_set() {
  if (!test_) test_ = study::first(protocol.data, Split::test, protocol.test_images, flags_);
  return *test_;
}

const Model& Laboratory::model(const std::string& label) {
  if (const auto known = models_.find(label); known != models_.end()) return known->second;
  return models_.emplace(label, cells.network(label).to(flags_.common.type()).to(flags_.common.where()))
      .first->second;
}

OracleOptions Laboratory::asked(int64_t draws, bool stand_ins) const {
  return {.batch = flags_.common.batch,
          .draws = {.count = draws, .judge = judge_draws, .seed = flags_.common.seed},
          .stand_ins = stand_ins};
}

const std::vector<int64_t>& Laboratory::answers(const std::string& label, int64_t n) {
  std::vector<int64_t>& known = answers_[label];
  const int64_t begin = static_cast<int64_t>(known.size());
  if (begin >= n) return known;
  const Tensor x = test_set().images_float(begin, n, flags_.common.type());
  const std::vector<int64_t> more = Oracle::judge(model(label), asked(1)).predict(x);
  known.insert(known.end(), more.begin(), more.end());
  return known;
}

std::vector<int64_t> Laboratory::first_right(const std::string& label, int64_t n, int64_t skip) {
  const int64_t all = test_set().size();
  std::vector<int64_t> right;
  for (int64_t i = skip; i < all && static_cast<int64_t>(right.size()) < n; ++i) {
    const int64_t seen = std::min(all, (i / n + 1) * n);  // asked in portions of n
    if (answers(label, seen)[static_cast<size_t>(i)] == test_set().labels.data<int64_t>()[i])
      right.push_back(i);
  }
  check(static_cast<int64_t>(right.size()) == n,
        "liu2021: {} of {} test images are classified rightly by '{}', {} wanted", right.size(), all - skip,
        label, n);
  return right;
}

Model Laboratory::trained(Model model, int64_t images, int64_t epochs, const std::string& checkpoint,
                          const AdversarialTraining* attack) {
  model = model.to(flags_.common.where());
  TrainOptions options{.epochs = epochs,
                       .batch = train_batch,
                       .optimizer = parse_optimizer("adam"),
                       .lr = protocol.lr,
                       .schedule = Schedule("cosine"),
                       .seed = flags_.common.seed};
  if (attack) train_adversarially(model, *attack, options);
  const Dataset data = train_set().first(images);
  if (checkpoint.empty())
    train(model, data, options);
  else
    study::resume_training(model, data, options, checkpoint, flags_.common.quiet);
  return model.to(Device{});
}

study::Cell Laboratory::new_cell(const std::string& what, const std::string& network, Json settings,
                                 double passes) const {
  settings.update({{"network", cells.settings_of(network)},
                   {"dtype", flags_.common.dtype},
                   {"judge_draws", judge_draws},
                   {"data", protocol.data},
                   {"seed", flags_.common.seed}});
  return {.label = network + ": " + what,
          .settings = std::move(settings),
          .flops = passes * flops_,
          .networks = {network},
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
                {"success", attempt.targeted
                                ? "prediction is the target; first n images that are right, all other classes"
                                : "prediction is not the label, of those of n images that are right before"}};
  if (!attempt.crafted_on.empty()) settings["crafted_on"] = cells.settings_of(attempt.crafted_on);
  const double rows = static_cast<double>(attempt.images * (attempt.targeted ? 9 : 1));
  const bool drawn = answers_by_draw(network);
  study::Cell cell =
      new_cell(attempt.attack, network, settings,
               rows * (attempt.passes * static_cast<double>(attempt.draws) + (drawn ? judge_draws : 1)));
  if (!attempt.crafted_on.empty()) cell.networks.push_back(attempt.crafted_on);
  cell.measure = [this, network, attempt] { return measure_attack(network, attempt); };
  return cells.ask(std::move(cell));
}

AttackInput Laboratory::input_of(const std::string& network, const Attempt& attempt) {
  std::vector<int64_t> rows;
  if (attempt.targeted) {
    rows = first_right(network, attempt.images, attempt.skip);
  } else {
    for (int64_t i = 0; i < attempt.images; ++i) rows.push_back(attempt.skip + i);
  }
  const Dataset chosen = test_set().select(rows);
  const AttackInput input{
      chosen.images_float(0, chosen.size(), flags_.common.type()), chosen.labels, {}, rows};
  return attempt.targeted ? with_all_targets(input, chosen.classes) : input;
}

std::string Laboratory::with_kappa(const Model& source, const Attempt& attempt,
                                   const AttackInput& input) const {
  if (attempt.lead == 0) return attempt.attack;
  const Tensor lead =
      Oracle::objective(Oracle(source, asked(attempt.draws)).logits(input.x), {input.y, {}}, "margin");
  std::vector<double> leads = lead.to(DType::float64).to(Device{}).to_vector<double>();
  std::nth_element(leads.begin(), leads.begin() + static_cast<std::ptrdiff_t>(leads.size() / 2), leads.end());
  const double median = -leads[leads.size() / 2];  // the objective is minus the lead
  check(median > 0, "liu2021: the right class leads on fewer than half of the images");
  const bool first = attempt.attack.find(':') == std::string::npos;
  return fmt::format("{}{}kappa={}", attempt.attack, first ? ":" : ",", attempt.lead * median);
}

Json Laboratory::measure_attack(const std::string& network, const Attempt& attempt) {
  const AttackInput input = input_of(network, attempt);
  const bool elsewhere = !attempt.crafted_on.empty();
  const Model& source = model(elsewhere ? attempt.crafted_on : network);
  const std::unique_ptr<Attack> attack = make_attack(with_kappa(source, attempt, input), flags_.common.seed);
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
    const Tensor x = test_set().images_float(begin, end, flags_.common.type());
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
                          .to(flags_.common.type())
                          .to(flags_.common.where());
  const Score score = evaluate(model, test_set().first(protocol.search_tested), flags_.common.batch);
  const Estimate estimate = estimate_robustness(
      Oracle(model, asked(1)), test_set().images_float(0, protocol.search_estimated, flags_.common.type()));
  return {{"accuracy", study::json_of(Rate{score.correct, score.samples})},
          {"g", estimate.g},
          {"phi", estimate.phi}};
}

}  // namespace hashgrad::liu2021
