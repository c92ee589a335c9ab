#include "experiments/liu2021/networks.h"

#include "attacks/substitute.h"
#include "compression/kmeans.h"
#include "compression/prune.h"
#include "defenses/adversarial_training.h"
#include "defenses/gradient_inhibition.h"
#include "defenses/hash_classifier.h"
#include "defenses/input_transforms.h"
#include "experiments/liu2021/laboratory.h"

namespace hashgrad::liu2021 {
namespace {

using study::Json;

constexpr double kept_weights = 0.1;  // of B-T7's pruning; the paper gives no rate

Model inhibited(const Model& plain, const std::string& method, double strength) {
  Model model = plain.clone();
  if (method == "gi1")
    gradient_inhibition_1(model, strength, inhibited_layers);
  else if (method == "gi2")
    gradient_inhibition_2(model, strength, inhibited_layers);
  else
    gradient_inhibition_3(model, strength, Redraw::forward, inhibited_layers);
  return model;
}

Json training_json(const Protocol& p, int64_t images, int64_t epochs) {
  return {{"images", images},    {"epochs", epochs}, {"batch", train_batch},
          {"optimizer", "adam"}, {"lr", p.lr},       {"schedule", "cosine"}};
}

}  // namespace

std::string mean_network(const std::string& gi3) { return "mean of " + gi3; }

std::string substitute_of(const std::string& victim) { return "substitute of " + victim; }

std::string rate_name(double rate) { return fmt::format("1/{:g}", 1 / rate); }

void Laboratory::declare_networks() {
  declare_original();
  declare_hash();
  for (const char* from : {"original", "hash"}) declare_inhibited(from);
  declare_compressed();
  declare_transformed();
  declare_adversarial();
  for (const char* victim : {"original", "hash", "GI3", "hash+GI3"}) declare_substitute(victim);
}

void Laboratory::declare_original() {
  cells.declare(study::Network{
      .label = "original",
      .settings = {{"network", protocol.network},
                   {"data", protocol.data},
                   {"training", training_json(protocol, protocol.train_images, protocol.epochs)},
                   {"seed", flags_.common.seed}},
      .flops = study::training_flops(spec_, protocol.train_images, protocol.epochs),
      .networks = {},
      .make = [this](const std::string& checkpoint) {
        return trained(Model(protocol.network, {.seed = flags_.common.seed}), protocol.train_images,
                       protocol.epochs, checkpoint);
      }});
}

/// Untrained.
Model Laboratory::hashed(const RatePair& rates) {
  const uint64_t seed = flags_.common.seed;
  return hash_classifier(cells.network("original"),
                         {.rates = {rates.first, rates.second}, .hash = {.seed = seed}, .seed = seed});
}

void Laboratory::declare_hash() {
  const RatePair rates = hash_rule();
  cells.declare(study::Network{
      .label = "hash",
      .settings = {{"from", cells.settings_of("original")},
                   {"hashed", {rates.first, rates.second}},
                   {"training", training_json(protocol, protocol.train_images, protocol.hash_epochs)},
                   {"seed", flags_.common.seed}},
      .flops = study::training_flops(spec_, protocol.train_images, protocol.hash_epochs),
      .networks = {"original"},
      .make = [this, rates](const std::string& checkpoint) {
        return trained(hashed(rates), protocol.train_images, protocol.hash_epochs, checkpoint);
      }});
}

void Laboratory::declare_inhibited(const std::string& from) {
  const auto declare = [&](const std::string& label, const std::string& method, double strength) {
    cells.declare(study::Network{.label = label,
                                 .settings = {{"from", cells.settings_of(from)},
                                              {"defence", method},
                                              {"eps", strength},
                                              {"layers", inhibited_layers},
                                              {"seed", flags_.common.seed}},
                                 .flops = 0,
                                 .networks = {from},
                                 .make = [this, from, method, strength](const std::string&) {
                                   return inhibited(cells.network(from), method, strength);
                                 }});
  };
  for (const Defended& d : defended) {
    if (d.twin != from || *d.method == '\0') continue;
    declare(d.name, d.method, d.eps);
    if (std::string(d.method) == "gi3") declare(mean_network(d.name), "gi1", d.eps / 2);
  }
}

void Laboratory::declare_compressed() {
  cells.declare(study::Network{
      .label = "pruned",
      .settings = {{"from", cells.settings_of("original")},
                   {"density", kept_weights},
                   {"training", training_json(protocol, protocol.train_images, protocol.prune_epochs)},
                   {"seed", flags_.common.seed}},
      .flops = study::training_flops(spec_, protocol.train_images, protocol.prune_epochs),
      .networks = {"original"},
      .make = [this](const std::string& checkpoint) {
        return trained(compress_prune(cells.network("original"), {.value = kept_weights}),
                       protocol.train_images, protocol.prune_epochs, checkpoint);
      }});
  for (const int bits : {8, 3})
    cells.declare(study::Network{.label = fmt::format("{} bits", bits),
                                 .settings = {{"from", cells.settings_of("original")},
                                              {"kmeans_bits", bits},
                                              {"seed", flags_.common.seed}},
                                 .flops = 0,
                                 .networks = {"original"},
                                 .make = [this, bits](const std::string&) {
                                   return compress_kmeans(cells.network("original"), {.bits = bits});
                                 }});
}

void Laboratory::declare_transformed() {
  const auto declare = [&](const std::string& label, const std::string& method, int64_t value) {
    cells.declare(study::Network{.label = label,
                                 .settings = {{"from", cells.settings_of("original")},
                                              {"transform", method},
                                              {"value", value},
                                              {"seed", flags_.common.seed}},
                                 .flops = 0,
                                 .networks = {"original"},
                                 .make = [this, method, value](const std::string&) {
                                   Model model = cells.network("original").clone();
                                   add_input_transform(model, method, value);
                                   return model;
                                 }});
  };
  declare("bit depth 1", "bit-depth", 1);
  declare("median 2x2", "median", 2);
}

void Laboratory::declare_adversarial() {
  AdversarialTraining attack = AdversarialTraining::of("pgd", eps);
  attack.iters = protocol.pgd_steps;
  attack.step = 2.5 * eps / static_cast<double>(attack.iters);
  const double passes = 2.0 * static_cast<double>(attack.iters) / 3 + 1;  // against one of training
  cells.declare(study::Network{
      .label = "PGD training",
      .settings = {{"from", cells.settings_of("original")},
                   {"pgd", {{"eps", eps}, {"step", attack.step}, {"iters", attack.iters}}},
                   {"training", training_json(protocol, protocol.pgd_images, protocol.pgd_epochs)},
                   {"seed", flags_.common.seed}},
      .flops = passes * study::training_flops(spec_, protocol.pgd_images, protocol.pgd_epochs),
      .networks = {"original"},
      .make = [this, attack](const std::string& checkpoint) {
        Model model = trained(cells.network("original").clone(), protocol.pgd_images, protocol.pgd_epochs,
                              checkpoint, &attack);
        record_adversarial_training(model, attack);
        return model;
      }});
}

void Laboratory::declare_substitute(const std::string& victim) {
  cells.declare(study::Network{
      .label = substitute_of(victim),
      .settings = {{"victim", cells.settings_of(victim)},
                   {"network", protocol.substitute},
                   {"seeds", protocol.seeds},
                   {"rounds", protocol.rounds},
                   {"judge_draws", judge_draws},
                   {"seed", flags_.common.seed}},
      .flops = flops_ * static_cast<double>(protocol.seeds << protocol.rounds),
      .networks = {victim},
      .make = [this, victim](const std::string&) {
        const Oracle oracle = Oracle::judge(model(victim), asked(1));
        Model substitute = Model(protocol.substitute, {.seed = flags_.common.seed}).to(flags_.common.where());
        SubstituteOptions options{.rounds = protocol.rounds};
        options.training.batch = train_batch;
        options.training.seed = flags_.common.seed;
        train_substitute(oracle, substitute, test_set().images_float(0, protocol.seeds), options);
        return substitute.to(Device{});
      }});
}

}  // namespace hashgrad::liu2021
