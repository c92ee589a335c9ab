#include "experiments/wang2018/study.h"

#include <algorithm>

#include "attacks/registry.h"
#include "attacks/target.h"
#include "autograd/ops/softmax.h"
#include "compression/layers.h"
#include "defenses/logits_augmentation.h"
#include "nn/evaluate.h"
#include "nn/materialise.h"

namespace hashgrad::wang2018 {
namespace {

using study::Cell;
using study::Json;
using study::Outcomes;

/// D7 clips one-hot targets to [0.1 / 9, 0.9], which is label smoothing of this strength.
constexpr double label_smoothing = 1.0 / 9;

Json json_of(const Training& t) { return {{"images", t.images}, {"epochs", t.epochs}, {"batch", t.batch}}; }

std::vector<size_t> fully_connected(const Spec& spec) {
  std::vector<size_t> layers;
  for (size_t i = 0; i < spec.layers.size(); ++i)
    if (spec.layers[i].kind == LayerSpec::Kind::fc) layers.push_back(i);
  return layers;
}

template <class Values, class Test>
Outcomes outcomes_of(const Values& values, const Test& test) {
  Outcomes outcomes;
  for (const auto value : values) outcomes += test(value) ? '1' : '0';
  return outcomes;
}

Outcomes zero_gradients(const Model& model, const AttackInput& input, int64_t batch) {
  const Tensor x = input.x.to(model.dtype());
  return outcomes_of(zero_rows(Oracle(model, {.batch = batch}).gradient(x, input.y, "ce").gradient),
                     [](bool zero) { return zero; });
}

/// Images whose label has a probability of exactly 1 in the model's element type: 1 - p, by which the
/// gradient follows the label, is 0.
Outcomes certain(const Model& model, const AttackInput& input, int64_t batch) {
  const Tensor p = softmax(Oracle(model, {.batch = batch}).logits(input.x));  // [N,K]
  const std::vector<double> shares = p.to(DType::float64).to_vector<double>();
  std::vector<double> of_label;
  for (int64_t i = 0; i < p.size(0); ++i)
    of_label.push_back(shares[static_cast<size_t>(i * p.size(1) + input.y.data<int64_t>()[i])]);
  return outcomes_of(of_label, [](double share) { return share == 1; });
}

/// Logit of the label minus the largest other one, of each image.
std::vector<double> leads(const Model& model, const AttackInput& input, int64_t batch) {
  const Tensor behind =
      Oracle::objective(Oracle(model, {.batch = batch}).logits(input.x), input.goal(), "margin");
  std::vector<double> result = behind.to(DType::float64).to_vector<double>();
  for (double& lead : result) lead = -lead;
  return result;
}

}  // namespace

Experiment::Experiment(Setup setup, const study::PaperFlags& flags, study::Study& study)
    : setup_(std::move(setup)),
      flags_(flags),
      study_(study),
      spec_(Model(setup_.network, {.init = Init::zeros}).spec()),
      m0_(setup_.names[0]),
      m1_(setup_.names[1]),
      m2_(setup_.names[2]),
      train_(study::first(setup_.data, Split::train, std::max(setup_.base.images, setup_.retraining.images),
                          flags)),
      test_(study::first(setup_.data, Split::test, std::max(setup_.attacked, setup_.scrutinised), flags)) {
  const Model network(spec_, {.init = Init::zeros});
  for (const Dataset& data : {train_, test_}) check_fits(network, data);
  declare_networks();
}

void Experiment::declare_networks() {
  const Json plain_settings{{"network", to_string(spec_)},        {"data", setup_.data},
                            {"training", json_of(setup_.base)},   {"optimizer", "adam, 1e-3"},
                            {"label_smoothing", label_smoothing}, {"seed", flags_.common.seed}};
  const IterativePruning& p = setup_.pruning;
  const double rounds = static_cast<double>(p.rounds);
  study_.declare(study::Network{m0_,
                                plain_settings,
                                study::training_flops(spec_, setup_.base.images, setup_.base.epochs),
                                {},
                                [this](const std::string& checkpoint) { return plain(checkpoint); }});
  study_.declare(study::Network{
      m1_,
      {{"of", plain_settings},
       {"rounds", p.rounds},
       {"percent", {p.conv_percent, p.fc_percent}},
       {"training", json_of(setup_.retraining)},
       {"seed", flags_.common.seed}},
      rounds * study::training_flops(spec_, setup_.retraining.images, setup_.retraining.epochs),
      {m0_},
      [this](const std::string& checkpoint) { return pruned(checkpoint); }});
}

/// D7: filters of about unit norm, fully connected layers by Glorot and Bengio.
Model Experiment::plain(const std::string& checkpoint) {
  const uint64_t seed = flags_.common.seed;
  Model start(setup_.network, {.init = Init::xavier_uniform, .seed = seed});
  const Model filters(setup_.network, {.init = Init::lecun_normal, .seed = seed});
  copy_other_layers(filters, start, fully_connected(spec_));
  return trained(start, setup_.base, seed, checkpoint);
}

/// D2. A run that was interrupted finds its rounds by their checkpoints, and goes on within the last one.
Model Experiment::pruned(const std::string& checkpoint) {
  return compress_iterative_prune(study_.network(m0_), setup_.pruning, [&](Model& model, int64_t round) {
    const uint64_t seed = flags_.common.seed + static_cast<uint64_t>(round);
    model = trained(model, setup_.retraining, seed, fmt::format("{}.round{}", checkpoint, round));
  });
}

/// On the device that was asked for, and back.
Model Experiment::trained(const Model& start, const Training& training, uint64_t seed,
                          const std::string& checkpoint) const {
  Model model = start.to(flags_.common.where());
  const TrainOptions options{.epochs = training.epochs,
                             .batch = training.batch,
                             .optimizer = parse_optimizer("adam"),
                             .lr = 1e-3,
                             .label_smoothing = label_smoothing,
                             .seed = seed};
  study::resume_training(model, train_.first(training.images), options, checkpoint, flags_.common.quiet);
  return model.to(Device{});
}

Model Experiment::network(const std::string& name) {
  if (name == m2_) return augmented_network(setup_.eps);
  return study_.network(name).to(flags_.common.where());
}

Model Experiment::augmented_network(double eps) {
  Model model = study_.network(m1_).to(flags_.common.where());
  if (eps > 0) logits_augmentation(model, eps);
  return model;
}

AttackInput Experiment::input(const Search& attack) const {
  const AttackInput plain{test_.images_float(0, attack.images), test_.labels_of(0, attack.images), {}, {}};
  const int64_t classes = layer_shapes(spec_).back()[0];
  if (attack.aim == Aim::away) return plain;
  if (attack.aim == Aim::all) return with_all_targets(plain, classes);
  AttackInput aimed = plain;
  aimed.targets = choose_targets(TargetRule::next, Tensor::zeros({attack.images, classes}), plain.y);
  return aimed;
}

/// Images crafted in float64 are rounded before anybody is shown them.
AttackResult Experiment::attacked(const Model& model, const Search& attack, const AttackInput& input) const {
  const std::unique_ptr<Attack> search = make_attack(attack.spec, flags_.common.seed);
  const OracleOptions options{.batch = flags_.common.batch};
  if (!attack.float64) return search->run(model, input, options);
  AttackInput wide = input;
  wide.x = input.x.to(DType::float64);
  AttackResult result = search->run(model.to(DType::float64), wide, options);
  result.x_adv = result.x_adv.to(DType::float32);
  return result;
}

Cell Experiment::cell(const std::string& what, const std::string& network, int64_t n,
                      const char* success) const {
  const std::string made = network == m2_ ? m1_ : network;
  return {.label = network + ", " + what,
          .settings = {{"what", what},
                       {"network", study_.settings_of(made)},
                       {"eps", network == m2_ ? setup_.eps : 0},
                       {"data", setup_.data + ", test split"},
                       {"n", n},
                       {"seed", flags_.common.seed},
                       {"success", success}},
          .flops = 0,
          .networks = {made},
          .measure = {}};
}

Cell Experiment::attack_cell(const std::string& what, const std::string& network,
                             const Search& attack) const {
  Cell result = cell(what, network, attack.images, "the goal is reached");
  result.label += ", " + attack.name;
  result.settings["attack"] = attack.spec;
  result.settings["aim"] = name_of(attack.aim);
  result.settings["crafted_in"] = attack.float64 ? "float64" : "float32";
  result.flops = attack.passes * static_cast<double>(attack.images) * study::flops_per_image(spec_);
  return result;
}

const Json* Experiment::clean(const std::string& name, const Search& attack) {
  Cell result = cell("without attack", name, attack.images, "the answer is the label");
  result.settings["aim"] = name_of(attack.aim);
  result.measure = [=, this]() -> Json {
    const AttackInput images = input(attack);
    return {{"right", study::right(network(name), images, images.x, flags_.common.batch)}};
  };
  return study_.ask(std::move(result));
}

const Json* Experiment::crafted_on(const std::string& source, const Search& attack) {
  Cell result = attack_cell("crafted on it", source, attack);
  result.networks = {m0_, m1_};
  result.settings["shown to"] = {study_.settings_of(m0_), study_.settings_of(m1_), setup_.eps};
  result.measure = [=, this]() -> Json {
    const AttackInput images = input(attack);
    const AttackResult crafted = attacked(network(source), attack, images);
    Json values{{"median_l2", study::median_l2(crafted)}};
    for (const std::string& name : setup_.names)
      values[name] = study::reached(network(name), images, crafted.x_adv, flags_.common.batch);
    return values;
  };
  return study_.ask(std::move(result));
}

/// Of M0, or of M1 under augmentation.
const Json* Experiment::gradients_of(const std::string& name, double eps) {
  Cell result = cell("gradients", name, setup_.scrutinised,
                     "every element of the image's cross-entropy gradient is exactly 0");
  result.settings["eps"] = eps;
  result.flops = 6 * static_cast<double>(setup_.scrutinised) * study::flops_per_image(spec_);
  result.measure = [=, this]() -> Json {
    const AttackInput images{
        test_.images_float(0, setup_.scrutinised), test_.labels_of(0, setup_.scrutinised), {}, {}};
    const Model model = name == m0_ ? network(name) : augmented_network(eps);
    const int64_t batch = flags_.common.batch;
    const std::vector<double> lead = leads(model, images, batch);
    return {{"zero", zero_gradients(model, images, batch)},
            {"zero64", zero_gradients(model.to(DType::float64), images, batch)},
            {"certain", certain(model, images, batch)},
            {"beyond_ftz", outcomes_of(lead, [](double l) { return l > lead_of_smallest_normal; })},
            {"beyond", outcomes_of(lead, [](double l) { return l > lead_of_zero; })},
            {"median_lead", percentile(lead, 50)}};
  };
  return study_.ask(std::move(result));
}

const Json* Experiment::gradients(double eps) { return gradients_of(m1_, eps); }

const Json* Experiment::plain_gradients() { return gradients_of(m0_, 0); }

const Json* Experiment::augmented(double eps, const Search& attack) {
  Cell result = attack_cell(fmt::format("augmented by {:g}", eps), m1_, attack);
  result.settings["eps"] = eps;
  result.measure = [=, this]() -> Json {
    const AttackInput images = input(attack);
    const Model model = augmented_network(eps);
    const AttackResult crafted = attacked(model, attack, images);
    return {{"right", study::right(model, images, images.x, flags_.common.batch)},
            {"reached", study::reached(model, images, crafted.x_adv, flags_.common.batch)}};
  };
  return study_.ask(std::move(result));
}

const Json* Experiment::size() {
  Cell result = cell("size", m1_, 0, "weights, without biases, that are not zero");
  result.measure = [this]() -> Json {
    const auto state = study_.network(m1_).state();
    int64_t weights = 0, kept = 0;
    for (const size_t i : select_layers(spec_, "all", "wang2018")) {
      const std::vector<float> w = state.at(parameter_name(spec_, i, "weight")).to_vector<float>();
      weights += std::ssize(w);
      kept += std::count_if(w.begin(), w.end(), [](float value) { return value != 0; });
    }
    return {{"weights", weights}, {"kept", kept}};
  };
  return study_.ask(std::move(result));
}

std::optional<Rate> Experiment::success(const std::string& source, const std::string& network,
                                        const Search& attack) {
  const Json *unharmed = clean(network, attack), *crafted = crafted_on(source, attack);
  if (unharmed == nullptr || crafted == nullptr) return std::nullopt;
  return study::share_of(crafted->at(network).get<Outcomes>(), unharmed->at("right").get<Outcomes>());
}

}  // namespace hashgrad::wang2018
