#include "experiments/liu2018/study.h"

#include <algorithm>

#include "defenses/gradient_inhibition.h"
#include "experiments/report/html.h"
#include "experiments/report/picture.h"

namespace hashgrad::liu2018 {
namespace {

using study::Cell;
using study::Json;

constexpr int64_t pictured = 12;

Json json_of(const Training& t) {
  return {{"images", t.images},
          {"epochs", t.epochs},
          {"batch", t.batch},
          {"lr", t.lr},
          {"optimizer", t.optimizer},
          {"schedule", t.schedule},
          {"augmentation", t.augmentation},
          {"init", to_string(t.init)}};
}

/// One rate per budget, counted by `count(budget's number)`.
template <class Count>
Json rates(const Growth& growth, const Count& count) {
  Json result = Json::array();
  for (size_t b = 0; b < growth.budgets.size(); ++b)
    result.push_back(study::json_of(Rate{count(b), growth.rows()}));
  return result;
}

std::vector<Rate> rates_from(const Json& json) {
  std::vector<Rate> result;
  for (const Json& rate : json) result.push_back(study::rate_from(rate));
  return result;
}

Json json_of(const GradientHistogram& h) {
  return {{"images", h.images},
          {"zeros", h.zeros},
          {"not_finite", h.not_finite},
          {"below", h.below},
          {"counts", h.counts}};
}

GradientHistogram gradients_from(const Json& json) {
  return {json.at("images").get<int64_t>(), json.at("zeros").get<int64_t>(),
          json.at("not_finite").get<int64_t>(), json.at("below").get<int64_t>(),
          json.at("counts").get<std::vector<int64_t>>()};
}

Json json_of(const WeightHistogram& h) {
  return {{"weights", h.weights}, {"largest", h.largest}, {"range", h.range}, {"counts", h.counts}};
}

WeightHistogram weights_from(const Json& json) {
  return {json.at("weights").get<int64_t>(), json.at("largest").get<double>(), json.at("range").get<double>(),
          json.at("counts").get<std::vector<int64_t>>()};
}

/// Originals, changes (amplified; gray is zero) and results, one above the other.
std::string png_of(const Tensor& x, const Tensor& x_adv) {
  Tensor change = Tensor::empty(x.shape(), DType::float64);
  const std::vector<double> before = x.to(DType::float64).to_vector<double>(),
                            after = x_adv.to(DType::float64).to_vector<double>();
  for (size_t i = 0; i < before.size(); ++i) change.data<double>()[i] = after[i] - before[i];
  return report::png_grid(
      {{x, report::Shade::pixels}, {change, report::Shade::signs}, {x_adv, report::Shade::pixels}}, 2);
}

}  // namespace

const char* const success_definition =
    "success: the prediction differs from the network's own clean prediction (A-ALG1)";

Experiment::Experiment(Setup setup, const study::StudyFlags& flags, study::Study& study)
    : setup_(std::move(setup)),
      flags_(flags),
      study_(study),
      train_(study::first(setup_.data, Split::train, setup_.training.images, flags)),
      test_(study::first(setup_.data, Split::test,
                         std::max({setup_.tested, setup_.attacked, setup_.inhibited}), flags)) {
  for (const Subject& subject : setup_.subjects) declare(subject);
}

void Experiment::declare(const Subject& subject) {
  const Training& t = setup_.training;
  study_.declare(study::Network{
      .label = subject.name,
      .settings = {{"network", to_string(subject.spec())},
                   {"hashed_lr", subject.hashed_lr},
                   {"data", setup_.data},
                   {"training", json_of(t)},
                   {"seed", flags_.common.seed}},
      .flops = study::training_flops(subject.spec(), t.images, t.epochs),
      .networks = {},
      .make = [this, subject](const std::string& checkpoint) { return trained(subject, checkpoint); }});
}

/// On the device that was asked for, and back.
Model Experiment::trained(const Subject& subject, const std::string& checkpoint) const {
  const Training& t = setup_.training;
  const uint64_t seed = flags_.common.seed;
  Model model =
      Model(subject.spec(), {.init = t.init, .seed = seed, .hash = {.seed = seed}}).to(flags_.common.where());
  const TrainOptions options{.epochs = t.epochs,
                             .batch = t.batch,
                             .optimizer = parse_optimizer(t.optimizer),
                             .lr = t.lr,
                             .schedule = Schedule(t.schedule),
                             .hashed_lr = subject.hashed_lr,
                             .augmentation = parse_augmentation(t.augmentation),
                             .seed = seed};
  study::resume_training(model, train_, options, checkpoint, flags_.common.quiet);
  return model.to(Device{});
}

Model Experiment::network(const Subject& subject, const Inhibition& inhibition) {
  Model model = study_.network(subject.name).to(flags_.common.type()).to(flags_.common.where());
  if (!inhibition.none()) gradient_inhibition_1(model, inhibition.tau, inhibition.layers);
  return model;
}

Tensor Experiment::images(int64_t n) const { return test_.images_float(0, n, flags_.common.type()); }

Cell Experiment::cell(const std::string& what, const Subject& subject, const Inhibition& inhibition,
                      int64_t n, const std::string& success, double passes) const {
  Cell cell{.label = subject.name + ", " + what,
            .settings = {{"what", what},
                         {"network", study_.settings_of(subject.name)},
                         {"tau", inhibition.tau},
                         {"data", setup_.data + ", test split"},
                         {"dtype", flags_.common.dtype},
                         {"n", n},
                         {"seed", flags_.common.seed},
                         {"success", success}},
            .flops = passes * static_cast<double>(n) * study::flops_per_image(subject.spec()),
            .networks = {subject.name},
            .measure = {}};
  if (inhibition.none()) return cell;
  cell.settings["layers"] = inhibition.layers;
  cell.label += fmt::format(", tau {:g} on {}", inhibition.tau, inhibition.layers);
  return cell;
}

std::optional<Rate> Experiment::accuracy(const Subject& subject, const Inhibition& inhibition, int64_t n) {
  Cell c = cell("accuracy", subject, inhibition, n, "the answer is the label", 1);
  c.measure = [=, this]() -> Json {
    const Score score = evaluate(network(subject, inhibition), test_.first(n), flags_.common.batch);
    return {{"accuracy", study::json_of(Rate{score.correct, score.samples})}};
  };
  const Json* values = study_.ask(std::move(c));
  if (values == nullptr) return std::nullopt;
  return study::rate_from(values->at("accuracy"));
}

std::optional<Attacked> Experiment::hfgsm(const Subject& subject, const Inhibition& inhibition,
                                          const std::string& loss, int64_t n) {
  Cell c = cell("hfgsm along " + loss, subject, inhibition, n, success_definition,
                3 + static_cast<double>(setup_.eps.size()));
  c.settings["eps"] = setup_.eps;
  c.measure = [=, this]() -> Json {
    const Growth growth = grow_fgsm(network(subject, inhibition), images(n), loss,
                                    {.budgets = setup_.eps, .batch = flags_.common.batch});
    const int64_t zeros = std::count(growth.zero_gradient.begin(), growth.zero_gradient.end(), true);
    return {{"grown", rates(growth, [&](size_t b) { return growth.cumulative(b); })},
            {"fixed", rates(growth, [&](size_t b) { return growth.fixed(b); })},
            {"zero", study::json_of(Rate{zeros, growth.rows()})}};
  };
  const Json* values = study_.ask(std::move(c));
  if (values == nullptr) return std::nullopt;
  return Attacked{rates_from(values->at("grown")), rates_from(values->at("fixed")),
                  study::rate_from(values->at("zero"))};
}

std::optional<std::vector<Rate>> Experiment::hjsma(const Subject& subject) {
  const auto classes = static_cast<double>(layer_shapes(subject.spec()).back()[0]);
  Cell c = cell("hjsma", subject, {}, setup_.attacked, success_definition,
                1 + classes + static_cast<double>(setup_.elements.size()));
  c.settings["elements"] = setup_.elements;
  c.measure = [=, this]() -> Json {
    const Growth growth =
        grow_jsma(network(subject, {}), images(setup_.attacked), Outputs::probs,
                  {.budgets = setup_.elements, .fixed = false, .batch = flags_.common.batch});
    return {{"grown", rates(growth, [&](size_t b) { return growth.cumulative(b); })}};
  };
  const Json* values = study_.ask(std::move(c));
  if (values == nullptr) return std::nullopt;
  return rates_from(values->at("grown"));
}

std::optional<GradientHistogram> Experiment::gradients(const Subject& subject, const Inhibition& inhibition) {
  Cell c =
      cell("gradients", subject, inhibition, setup_.inhibited,
           "images by the mean size of the gradient of the cross-entropy for the network's own answer", 3);
  c.measure = [=, this]() -> Json {
    const Model model = network(subject, inhibition);
    const Oracle oracle(model, {.batch = flags_.common.batch});
    return json_of(gradient_histogram(oracle.gradient(images(setup_.inhibited), {}, "ce").gradient));
  };
  const Json* values = study_.ask(std::move(c));
  if (values == nullptr) return std::nullopt;
  return gradients_from(*values);
}

std::optional<WeightHistogram> Experiment::weights(const Subject& subject) {
  Cell c = cell("weights", subject, {}, 0, "weights are counted, no images", 0);
  c.measure = [=, this]() -> Json {
    return json_of(weight_histogram(all_weights(study_.network(subject.name))));
  };
  const Json* values = study_.ask(std::move(c));
  if (values == nullptr) return std::nullopt;
  return weights_from(*values);
}

std::optional<std::string> Experiment::picture(const Subject& subject, const Gallery& gallery) {
  Cell c = cell("picture", subject, gallery.inhibition, std::min(pictured, setup_.tested),
                "nothing is counted", 4);
  c.settings["attack"] = gallery.loss.empty() ? "hjsma" : "hfgsm along " + gallery.loss;
  c.settings["budget"] = gallery.budget;
  c.measure = [=, this]() -> Json {
    const Model model = network(subject, gallery.inhibition);
    const Tensor x = images(std::min(pictured, setup_.tested));
    const int64_t batch = flags_.common.batch;
    const Tensor x_adv = gallery.loss.empty() ? jsma_images(model, x, Outputs::probs,
                                                            static_cast<int64_t>(gallery.budget), batch)
                                              : fgsm_images(model, x, gallery.loss, gallery.budget, batch);
    return {{"png", report::base64(png_of(x, x_adv))}};
  };
  const Json* values = study_.ask(std::move(c));
  if (values == nullptr) return std::nullopt;
  return report::from_base64(values->at("png").get<std::string>());
}

}  // namespace hashgrad::liu2018
