#include "experiments/liu2021/networks.h"

#include <algorithm>

#include "attacks/substitute.h"
#include "compression/kmeans.h"
#include "compression/layers.h"
#include "compression/prune.h"
#include "defenses/adversarial_training.h"
#include "defenses/gradient_inhibition.h"
#include "defenses/hash_classifier.h"
#include "defenses/input_transforms.h"
#include "defenses/record.h"
#include "experiments/liu2021/laboratory.h"
#include "nn/materialise.h"
#include "nn/models/zoo.h"

namespace hashgrad::liu2021 {
namespace {

using study::Json;

constexpr double kept_weights = 0.1;  // of B-T7's pruning; the paper gives no rate

Model inhibited_by(const std::string& method, const Model& plain, double eps, const std::string& layers) {
  Model model = plain.clone();
  if (method == "gi1")
    gradient_inhibition_1(model, eps, layers);
  else if (method == "gi2")
    gradient_inhibition_2(model, eps, layers);
  else
    gradient_inhibition_3(model, eps, Redraw::forward, layers);
  return model;
}

Json training_json(const Protocol& p, int64_t images, int64_t epochs) {
  Json json{{"images", images},    {"epochs", epochs}, {"batch", train_batch},
            {"optimizer", "adam"}, {"lr", p.lr},       {"schedule", "cosine"}};
  if (p.augmentation != "none") json["augmentation"] = p.augmentation;
  return json;
}

}  // namespace

const Defended& defended_as(const std::string& name) {
  for (const Defended& d : defended)
    if (d.name == name) return d;
  fail("liu2021: no network is named '{}'", name);
}

double strength(const Protocol& p, const std::string& method) {
  return method == "gi1" ? p.gi1 : method == "gi2" ? p.gi2 : p.gi3;
}

std::string inhibited_layers(const Spec& spec, bool convolution) {
  size_t connected = 0, wanted = 3;
  for (const LayerSpec& layer : spec.layers) {
    if (layer.kind == LayerSpec::Kind::conv) connected = 0;
    connected += layer.kind == LayerSpec::Kind::fc;
  }
  return fmt::format("last:{}", std::min(wanted, connected + convolution));
}

std::string mean_network(const std::string& gi3) { return "mean of " + gi3; }

std::string substitute_of(const std::string& victim) { return "substitute of " + victim; }

std::string quantised(const Protocol& p) { return fmt::format("bit depth {}", p.bit_depth); }

std::string rate_name(double rate) { return fmt::format("1/{:g}", 1 / rate); }

void Laboratory::declare(const std::string& network, const std::string& from, Json settings, double flops,
                         Make make) {
  settings["seed"] = flags.common.seed;
  std::vector<std::string> needed;
  if (!from.empty()) needed.push_back(in_study(from));
  cells.declare(
      study::Network{in_study(network), std::move(settings), flops, std::move(needed), std::move(make)});
}

void Laboratory::declare_networks() {
  declare_original();
  declare_hash();
  for (const char* from : {"original", "hash"}) declare_inhibited(from);
  declare_compressed();
  declare_transformed();
  declare_adversarial();
  for (const PaperSuccess& row : protocol.paper->black_box) declare_substitute(row.network);
}

void Laboratory::declare_original() {
  Json settings{{"network", protocol.network},
                {"data", protocol.data},
                {"training", training_json(protocol, protocol.train_images, protocol.epochs)}};
  if (protocol.init != "pytorch") settings["init"] = protocol.init;
  if (protocol.size > 0) settings["size"] = protocol.size;
  declare("original", "", settings, study::training_flops(spec_, protocol.train_images, protocol.epochs),
          [this](const std::string& checkpoint) {
            const ModelOptions options{.init = parse_init(protocol.init), .seed = flags.common.seed};
            return trained(Model(spec_, options), protocol.train_images, protocol.epochs, checkpoint);
          });
}

/// The original network with its last two layers hashed at these rates; untrained.
Model Laboratory::hashed(const RatePair& rates) {
  const uint64_t seed = flags.common.seed;
  return hash_classifier(made("original"),
                         {.rates = {rates.first, rates.second}, .hash = {.seed = seed}, .seed = seed});
}

/// The original network with hashed layers in the place of its output layer; these are untrained.
Model Laboratory::grown() {
  const uint64_t seed = flags.common.seed;
  const char* layers = "last:2";
  Model model(hashed_spec_, {.seed = seed, .hash = {.seed = seed}});
  model.inherit(made("original"));
  record_defence(
      model, {{"method", "hash-classifier"}, {"rates", {rates_.first, rates_.second}}, {"layers", layers}});
  copy_other_layers(made("original"), model, select_layers(hashed_spec_, layers, "liu2021"));
  return model;
}

void Laboratory::declare_hash() {
  Json settings{{"from", settings_of("original")},
                {"training", training_json(protocol, protocol.train_images, protocol.hash_epochs)}};
  if (protocol.hashed.empty())
    settings["hashed"] = {rates_.first, rates_.second};
  else
    settings["network"] = protocol.hashed;
  declare("hash", "original", settings,
          study::training_flops(hashed_spec_, protocol.train_images, protocol.hash_epochs),
          [this](const std::string& checkpoint) {
            return trained(protocol.hashed.empty() ? hashed(rates_) : grown(), protocol.train_images,
                           protocol.hash_epochs, checkpoint);
          });
}

void Laboratory::declare_inhibited(const std::string& from) {
  const std::string layers = inhibited_layers(spec_behind(from), protocol.gi_convolution);
  const auto declare_one = [&](const std::string& network, const std::string& method, double eps) {
    declare(network, from,
            {{"from", settings_of(from)}, {"defence", method}, {"eps", eps}, {"layers", layers}}, 0,
            [this, from, method, eps, layers](const std::string&) {
              return inhibited_by(method, made(from), eps, layers);
            });
  };
  for (const Defended& d : defended) {
    if (d.twin != from || *d.method == '\0') continue;
    const double eps = strength(protocol, d.method);
    declare_one(d.name, d.method, eps);
    if (std::string(d.method) == "gi3") declare_one(mean_network(d.name), "gi1", eps / 2);
  }
}

void Laboratory::declare_compressed() {
  const Json& original = settings_of("original");
  declare("pruned", "original",
          {{"from", original},
           {"density", kept_weights},
           {"training", training_json(protocol, protocol.train_images, protocol.prune_epochs)}},
          study::training_flops(spec_, protocol.train_images, protocol.prune_epochs),
          [this](const std::string& checkpoint) {
            return trained(compress_prune(made("original"), {.value = kept_weights}), protocol.train_images,
                           protocol.prune_epochs, checkpoint);
          });
  for (const int bits : {8, 3})
    declare(fmt::format("{} bits", bits), "original", {{"from", original}, {"kmeans_bits", bits}}, 0,
            [this, bits](const std::string&) { return compress_kmeans(made("original"), {.bits = bits}); });
}

void Laboratory::declare_transformed() {
  const auto declare_one = [&](const std::string& network, const std::string& method, int64_t value) {
    declare(network, "original", {{"from", settings_of("original")}, {"transform", method}, {"value", value}},
            0, [this, method, value](const std::string&) {
              Model model = made("original").clone();
              add_input_transform(model, method, value);
              return model;
            });
  };
  declare_one(quantised(protocol), "bit-depth", protocol.bit_depth);
  declare_one("median 2x2", "median", 2);
}

void Laboratory::declare_adversarial() {
  AdversarialTraining attack = AdversarialTraining::of("pgd", protocol.eps);
  attack.iters = protocol.pgd_steps;
  attack.step = 2.5 * protocol.eps / static_cast<double>(attack.iters);
  const double passes = 2.0 * static_cast<double>(attack.iters) / 3 + 1;  // against one of training
  declare("PGD training", "original",
          {{"from", settings_of("original")},
           {"pgd", {{"eps", protocol.eps}, {"step", attack.step}, {"iters", attack.iters}}},
           {"training", training_json(protocol, protocol.pgd_images, protocol.pgd_epochs)}},
          passes * study::training_flops(spec_, protocol.pgd_images, protocol.pgd_epochs),
          [this, attack](const std::string& checkpoint) {
            Model model = trained(made("original").clone(), protocol.pgd_images, protocol.pgd_epochs,
                                  checkpoint, &attack);
            record_adversarial_training(model, attack);
            return model;
          });
}

void Laboratory::declare_substitute(const std::string& victim) {
  declare(
      substitute_of(victim), victim,
      {{"victim", settings_of(victim)},
       {"network", protocol.substitute},
       {"seeds", protocol.seeds},
       {"rounds", protocol.rounds},
       {"judge_draws", judge_draws}},
      flops_ * static_cast<double>(protocol.seeds << protocol.rounds), [this, victim](const std::string&) {
        // In float32, whatever --dtype says: one network is attacked in either.
        const Model answering = made(victim).to(flags.common.where());
        const Oracle oracle = Oracle::judge(answering, asked(1));
        Model substitute = Model(protocol.substitute, {.seed = flags.common.seed}).to(flags.common.where());
        SubstituteOptions options{.rounds = protocol.rounds};
        options.training.batch = train_batch;
        options.training.seed = flags.common.seed;
        train_substitute(oracle, substitute, test_set().images_float(0, protocol.seeds), options);
        return substitute.to(Device{});
      });
}

}  // namespace hashgrad::liu2021
