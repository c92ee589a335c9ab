#include "experiments/zhao2019/study.h"

#include <algorithm>

#include "attacks/registry.h"
#include "compression/dns.h"
#include "compression/fixed_point.h"
#include "datasets/loader.h"
#include "experiments/zhao2019/distributions.h"
#include "nn/evaluate.h"

namespace hashgrad::zhao2019 {
namespace {

using study::Cell;
using study::Json;

constexpr const char* accuracy = "the answer is the label, of all images";

Json json_of(const Training& t) {
  return {{"images", t.images}, {"epochs", t.epochs},       {"batch", t.batch},
          {"lr", t.lr},         {"optimizer", t.optimizer}, {"schedule", t.schedule}};
}

double mean(const Tensor& values) {
  const std::vector<double> v = values.to_vector<double>();
  double sum = 0;
  for (const double x : v) sum += x;
  return sum / static_cast<double>(v.size());
}

}  // namespace

Experiment::Experiment(Setup setup, const study::PaperFlags& flags, study::Study& study)
    : setup_(std::move(setup)),
      flags_(flags),
      study_(study),
      spec_(Model(setup_.network, {.init = Init::zeros}).spec()),
      train_(study::first(setup_.data, Split::train, std::max(setup_.base.images, setup_.retraining.images),
                          flags)),
      test_(study::first(setup_.data, Split::test, std::max(setup_.attacked, setup_.scrutinised), flags)) {
  const Model network(spec_, {.init = Init::zeros});
  for (const Dataset& data : {train_, test_}) check_fits(network, data);
  declare_networks();
}

void Experiment::declare_networks() {
  const uint64_t seed = flags_.common.seed;
  const Json dense{{"network", to_string(spec_)},
                   {"data", setup_.data},
                   {"training", json_of(setup_.base)},
                   {"seed", seed}};
  study_.declare(study::Network{.label = Variant{}.label(),
                                .settings = dense,
                                .flops = study::training_flops(spec_, setup_.base.images, setup_.base.epochs),
                                .networks = {},
                                .make = [this](const std::string& checkpoint) {
                                  const Model start(setup_.network, {.seed = flags_.common.seed});
                                  return trained(start, setup_.base.images, options_of(setup_.base),
                                                 checkpoint);
                                }});
  const auto declare = [&](const Variant& variant, Json settings,
                           std::function<Model(const std::string&)> make) {
    settings.update({{"of", dense}, {"training", json_of(setup_.retraining)}, {"seed", seed}});
    study_.declare(study::Network{
        .label = variant.label(),
        .settings = settings,
        .flops = study::training_flops(spec_, setup_.retraining.images, setup_.retraining.epochs),
        .networks = {Variant{}.label()},
        .make = std::move(make)});
  };
  for (const Variant& v : setup_.pruned())
    declare(v, {{"pruning", "surgery"}, {"gradients", setup_.gradients}, {"density", v.density}},
            [this, v](const std::string& checkpoint) { return pruned(v.density, checkpoint); });
  for (const Variant& v : setup_.quantised())
    declare(v, {{"width", v.width}, {"point", format_of(v.width).point}},
            [this, v](const std::string& checkpoint) { return quantised(v.width, checkpoint); });
}

/// Dynamic network surgery (C-E3), each layer to the density, masks anew in front of every epoch.
Model Experiment::pruned(double density, const std::string& checkpoint) {
  Model sparse = study_.network(Variant{}.label()).clone();
  TrainOptions options = options_of(setup_.retraining);
  prepare_surgery(sparse,
                  {.value = density,
                   .pruned_learn = setup_.gradients == "all",
                   .statistics_once = false,
                   .by_epoch = true},
                  options);
  return trained(sparse, setup_.retraining.images, options, checkpoint);
}

Model Experiment::quantised(int width, const std::string& checkpoint) {
  Model rounded = study_.network(Variant{}.label()).clone();
  declare_fixed_point(rounded, {.format = format_of(width)});
  return trained(rounded, setup_.retraining.images, options_of(setup_.retraining), checkpoint);
}

TrainOptions Experiment::options_of(const Training& training) const {
  return {.epochs = training.epochs,
          .batch = training.batch,
          .optimizer = parse_optimizer(training.optimizer),
          .lr = training.lr,
          .schedule = Schedule(training.schedule),
          .seed = flags_.common.seed};
}

/// On the device that was asked for, and back.
Model Experiment::trained(const Model& start, int64_t images, const TrainOptions& options,
                          const std::string& checkpoint) const {
  Model model = start.to(flags_.common.where());
  study::resume_training(model, train_.first(images), options, checkpoint, flags_.common.quiet);
  return model.to(Device{});
}

Model Experiment::network(const Variant& variant) {
  return study_.network(variant.label()).to(flags_.common.type()).to(flags_.common.where());
}

AttackInput Experiment::input(int64_t n) const {
  return {test_.images_float(0, n, flags_.common.type()), test_.labels_of(0, n), {}, {}};
}

AttackResult Experiment::attacked(const Model& model, const Search& attack, const AttackInput& input) const {
  Model unrounded = model.clone();
  unrounded.coding.activations.clear();
  return make_attack(attack.spec, flags_.common.seed)
      ->run(model, input,
            {.batch = flags_.common.batch, .surrogate = attack.float_gradients ? &unrounded : nullptr});
}

const Tensor& Experiment::images_from_dense(const Search& attack) {
  const auto known = from_dense_.find(attack.spec);
  if (known != from_dense_.end()) return known->second;
  const AttackResult crafted = attacked(network({}), attack, input(setup_.attacked));
  return from_dense_.emplace(attack.spec, crafted.x_adv).first->second;
}

Cell Experiment::cell(const std::string& what, const Variant& variant, int64_t n, const char* success) const {
  return {.label = variant.label() + ", " + what,
          .settings = {{"what", what},
                       {"network", study_.settings_of(variant.label())},
                       {"data", setup_.data + ", test split"},
                       {"dtype", flags_.common.dtype},
                       {"n", n},
                       {"seed", flags_.common.seed},
                       {"success", success}},
          .flops = 0,
          .networks = {variant.label()},
          .measure = {}};
}

Cell Experiment::attack_cell(const std::string& what, const Variant& variant, const Search& attack,
                             int64_t n) const {
  Cell result = cell(what, variant, n, accuracy);
  result.label += ", " + attack.name;
  result.settings["attack"] = attack.spec;
  result.settings["gradients"] = attack.float_gradients ? "float" : "own";
  result.flops = attack.passes * static_cast<double>(n) * study::flops_per_image(spec_);
  return result;
}

const Json* Experiment::clean(const Variant& variant, int64_t n) {
  Cell result = cell("without attack", variant, n, accuracy);
  result.measure = [=, this]() -> Json {
    const AttackInput images = input(n);
    return {{"own", study::right(network(variant), images, images.x, flags_.common.batch)}};
  };
  return study_.ask(std::move(result));
}

const Json* Experiment::crafted_on(const Variant& variant, const Search& attack, int64_t n) {
  Cell result = attack_cell("crafted on it", variant, attack, n);
  result.networks = {variant.label(), Variant{}.label()};
  result.settings["dense"] = study_.settings_of(Variant{}.label());
  result.measure = [=, this]() -> Json {
    const AttackInput images = input(n);
    const Model model = network(variant);
    const AttackResult crafted = attacked(model, attack, images);
    const double pixels = static_cast<double>(images.x.numel() / n);
    return {{"own", study::right(model, images, crafted.x_adv, flags_.common.batch)},
            {"dense", study::right(network({}), images, crafted.x_adv, flags_.common.batch)},
            {"amplitude", mean(crafted.l1) / pixels},
            {"changed", mean(crafted.l0) / pixels}};
  };
  return study_.ask(std::move(result));
}

const Json* Experiment::crafted_on_dense(const Variant& variant, const Search& attack) {
  Cell result = attack_cell("crafted on the dense network", variant, attack, setup_.attacked);
  result.networks = {variant.label(), Variant{}.label()};
  result.settings["dense"] = study_.settings_of(Variant{}.label());
  result.flops =
      static_cast<double>(setup_.attacked) * study::flops_per_image(spec_);  // they are crafted once
  result.measure = [=, this]() -> Json {
    const Tensor& crafted = images_from_dense(attack);
    return {{"own", study::right(network(variant), input(setup_.attacked), crafted, flags_.common.batch)}};
  };
  return study_.ask(std::move(result));
}

const Json* Experiment::stronger(const Variant& variant, const Search& attack) {
  Cell result = attack_cell("stronger attack", variant, attack, setup_.scrutinised);
  result.measure = [=, this]() -> Json {
    const AttackInput images = input(setup_.scrutinised);
    const Model model = network(variant);
    const AttackResult crafted = attacked(model, attack, images);
    return {{"own", study::right(model, images, crafted.x_adv, flags_.common.batch)},
            {"median_l2", study::median_l2(crafted)}};
  };
  return study_.ask(std::move(result));
}

const Json* Experiment::gradients(const Variant& variant) {
  Cell result = cell("gradients", variant, setup_.scrutinised,
                     "every element of the image's cross-entropy gradient is exactly 0");
  result.measure = [=, this]() -> Json {
    const AttackInput images = input(setup_.scrutinised);
    const Model model = network(variant);
    const std::vector<bool> zero =
        zero_rows(Oracle(model, {.batch = flags_.common.batch}).gradient(images.x, images.y, "ce").gradient);
    study::Outcomes outcomes;
    for (const bool z : zero) outcomes += z ? '1' : '0';
    return {{"zero", outcomes}};
  };
  return study_.ask(std::move(result));
}

const Json* Experiment::distributions(const Variant& variant) {
  Cell result =
      cell("distributions", variant, images_of_distributions,
           "shares of weights, and of activations, that are at most a value, or at the range's ends");
  result.settings["drawn_from"] = test_.size();
  result.settings["reach"] = {{"weights", reach_of_weights}, {"activations", reach_of_activations}};
  result.settings["points"] = points_of_distributions;
  result.flops = static_cast<double>(images_of_distributions) * study::flops_per_image(spec_);
  result.measure = [=, this]() -> Json {
    const Model model = network(variant);
    const Loader shuffled(test_, {.batch = images_of_distributions,
                                  .dtype = model.dtype(),
                                  .seed = flags_.common.seed,
                                  .augmentation = {}});
    const Tensor images = shuffled.epoch(0).next()->images.to(model.device());
    const std::optional<FixedPointFormat> format =
        variant.width == 0 ? std::nullopt : std::optional(format_of(variant.width));
    return {{"weights", distribution(weights_of(study_.network(variant.label())), reach_of_weights, format)},
            {"activations", distribution(activations_of(model, images), reach_of_activations, format)}};
  };
  return study_.ask(std::move(result));
}

Scenarios Experiment::scenarios(const Variant& variant, const Search& attack) {
  const Json *unharmed = clean(variant, setup_.attacked),
             *here = crafted_on(variant, attack, setup_.attacked), *there = crafted_on_dense(variant, attack);
  return {study::share(unharmed, "own"), study::share(here, "own"), study::share(there, "own"),
          study::share(here, "dense")};
}

std::optional<Rate> Experiment::worst_case(const Variant& variant, double radius) {
  std::vector<const Json*> cells{clean(variant, setup_.scrutinised)};
  for (const Search& attack : stronger_attacks(radius, variant.width != 0, setup_))
    cells.push_back(stronger(variant, attack));
  study::Outcomes standing(static_cast<size_t>(setup_.scrutinised), '1');
  for (const Json* values : cells) {
    if (values == nullptr) return std::nullopt;
    standing = study::both(standing, values->at("own").get<study::Outcomes>());
  }
  return study::share(standing);
}

}  // namespace hashgrad::zhao2019
