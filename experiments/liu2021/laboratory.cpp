#include "experiments/liu2021/laboratory.h"

#include <algorithm>

#include "attacks/estimator.h"
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
