// hashgrad compress METHOD MODEL: a smaller model, optionally trained further.
#include <filesystem>
#include <fmt/ranges.h>
#include <optional>
#include <utility>

#include "compression/dns.h"
#include "compression/fixed_point.h"
#include "compression/hash.h"
#include "compression/kmeans.h"
#include "compression/prune.h"
#include "compression/size_report.h"
#include "core/file.h"
#include "experiments/cli/hashing.h"
#include "experiments/cli/training.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct CompressVerb {
  CommonFlags common;
  DataFlags data{.split = "train"};
  TrainingFlags training;
  std::string method, model, output, layers = "all";
  std::string rate = "1/8", start = "projection";  // hash
  HashFlags hash;
  double threshold = -1, percent = -1;  // prune
  std::string density, scope = "layer";
  IterativePruning iterative;
  FixedPointFormat format;
  std::string activations = "yes", rounding = "nearest";
  KMeans kmeans;
  NetworkSurgery surgery;
  std::optional<double> c_rate;  // dns
  std::string gradients = "all", statistics = "once", mask_updates = "steps";
};

using Adapt = std::function<void(TrainOptions&)>;

/// --epochs of training, on --device; none leaves the model as it is.
void fine_tune(const CompressVerb& v, Model& model, const Adapt& adapt = {}) {
  if (v.training.epochs == 0) return;
  Model there = model.to(v.common.where());
  run_training(there, v.data, v.training, v.common, v.output, adapt);
  model = there.to(Device{});
}

Model hashed(const CompressVerb& v, const Model& model) {
  HashCompression options;
  options.rates = parse_rates(v.rate);
  if (options.rates.size() == 1) options.rate = std::exchange(options.rates, {}).front();
  options.layers = v.layers;
  if (v.start == "scratch") options.start = HashCompression::Start::scratch;
  options.hash = v.hash.options();
  options.seed = v.common.seed;
  Model result = compress_hash(model, options);
  fine_tune(v, result);
  return result;
}

/// Ranking all layers together means something where weights are ranked.
void refuse_global(const CompressVerb& v, const char* flag) {
  if (v.scope == "global")
    usage("--scope global: does not apply to {}, which is one number for all layers anyway", flag);
}

Model pruned(const CompressVerb& v, const Model& model) {
  using Rule = Pruning::Rule;
  std::vector<std::pair<Rule, double>> rules;
  if (v.threshold >= 0) rules.emplace_back(Rule::threshold, v.threshold);
  if (v.percent >= 0) rules.emplace_back(Rule::percent, v.percent);
  if (!v.density.empty()) rules.emplace_back(Rule::density, parse_rate(v.density));
  if (rules.size() != 1)
    usage("prune: one of --threshold, --percent and --density is needed, {} are given", rules.size());
  if (rules[0].first == Rule::threshold) refuse_global(v, "--threshold");
  Model result = compress_prune(
      model,
      {.rule = rules[0].first, .value = rules[0].second, .layers = v.layers, .global = v.scope == "global"});
  fine_tune(v, result);
  return result;
}

/// "log.csv" becomes "log.round3.csv".
std::string log_of_round(const std::string& log, int64_t round) {
  std::filesystem::path path(log);
  path.replace_extension(fmt::format(".round{}{}", round, path.extension().string()));
  return path.string();
}

/// Round r trains with seed + r and has a log of its own.
Model pruned_in_rounds(const CompressVerb& v, const Model& model) {
  if (!v.training.checkpoint.empty())
    usage("--checkpoint: does not apply to iterative-prune, whose rounds have OUTPUT.roundN.checkpoint");
  resume_of_last(v.training, v.output);
  IterativePruning options = v.iterative;
  options.layers = v.layers;
  return compress_iterative_prune(model, options, [&](Model& sparse, int64_t round) {
    if (v.training.epochs == 0) return;
    CommonFlags common = v.common;
    common.seed += static_cast<uint64_t>(round);
    TrainingFlags training = v.training;
    if (!training.log.empty()) training.log = log_of_round(training.log, round);
    Model there = sparse.to(common.where());
    run_stage(there, v.data, training, common, fmt::format("{}.round{}", v.output, round));
    sparse = there.to(Device{});
  });
}

NetworkSurgery surgery_of(const CompressVerb& v) {
  if (v.c_rate.has_value() != v.density.empty())
    usage("dns: one of --c-rate and --density is needed, {} are given", v.c_rate ? 2 : 0);
  if (v.c_rate) refuse_global(v, "--c-rate");
  NetworkSurgery options = v.surgery;
  options.rule = v.c_rate ? NetworkSurgery::Rule::c_rate : NetworkSurgery::Rule::density;
  options.value = v.c_rate ? *v.c_rate : parse_rate(v.density);
  options.global = v.scope == "global";
  options.layers = v.layers;
  options.pruned_learn = v.gradients == "all";
  options.statistics_once = v.statistics == "once";
  options.by_epoch = v.mask_updates == "epochs";
  return options;
}

Model operated(const CompressVerb& v, const Model& model) {
  const NetworkSurgery options = surgery_of(v);
  if (v.training.epochs == 0) return compress_surgically(model, options);
  Model result = model.clone();
  TrainOptions prepared;
  prepared.seed = v.common.seed;
  prepare_surgery(result, options, prepared);
  fine_tune(v, result, [&](TrainOptions& training) {
    training.surgery = prepared.surgery;
    training.method = prepared.method;
  });
  return result;
}

Model in_fixed_point(const CompressVerb& v, const Model& model) {
  const Rounding rounding = v.rounding == "nearest" ? Rounding::nearest : Rounding::stochastic;
  or_usage([&] { check_format(v.format, "fixed-point"); });
  const FixedPointCompression options{v.format, v.activations == "yes", v.layers, rounding, v.common.seed};
  if (v.training.epochs == 0) return compress_fixed_point(model, options);
  Model result = model.clone();
  declare_fixed_point(result, options);
  fine_tune(v, result, [&](TrainOptions& training) { training.rounding = rounding; });
  return result;
}

Model shared(const CompressVerb& v, const Model& model) {
  KMeans options = v.kmeans;
  options.layers = v.layers;
  Model result = compress_kmeans(model, options);
  fine_tune(v, result);
  return result;
}

struct Method {
  const char* name;
  Model (*compressed)(const CompressVerb& v, const Model& model);
};
constexpr Method methods[] = {{"hash", hashed},
                              {"prune", pruned},
                              {"iterative-prune", pruned_in_rounds},
                              {"dns", operated},
                              {"fixed-point", in_fixed_point},
                              {"kmeans", shared}};

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const Method& method : methods) names.emplace_back(method.name);
  return names;
}

/// JSON of the sizes; numbers that a layer does not have are left out.
nlohmann::ordered_json size_json(const SizeReport& size) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerSize& layer : size.layers) {
    layers.push_back({{"name", layer.name},
                      {"virtual", layer.virtual_parameters},
                      {"real", layer.real_parameters},
                      {"bytes", layer.bytes}});
    if (layer.huffman_bytes) layers.back()["huffman_bytes"] = *layer.huffman_bytes;
  }
  nlohmann::ordered_json json{{"virtual_parameters", size.virtual_parameters},
                              {"real_parameters", size.real_parameters},
                              {"bytes", size.bytes},
                              {"dense_bytes", size.dense_bytes}};
  if (size.huffman_bytes) json["huffman_bytes"] = *size.huffman_bytes;
  json["layers"] = layers;
  return json;
}

/// Without epochs nothing is trained, and flags of a training and of its data would mean nothing; nor would
/// those of how masks change in it.
void refuse_training_flags(const CLI::App& verb) {
  constexpr const char* of_surgery[] = {"--gradients", "--statistics", "--mask-updates",
                                        "--gamma",     "--power",      "--iter-stop"};
  for (const CLI::Option* option : verb.get_options()) {
    const bool of_training = option->get_group() == "Training" || option->get_group() == "Data" ||
                             std::count(std::begin(of_surgery), std::end(of_surgery), option->get_name()) > 0;
    if (of_training && option->count() > 0 && option->get_name() != "--epochs")
      usage("{}: is of a training, whose --epochs are needed", option->get_name());
  }
}

void run(CompressVerb& v, const CLI::App& verb) {
  refuse_foreign_flags(verb, v.method);
  if (v.training.epochs == 0) refuse_training_flags(verb);
  const auto method = std::find_if(std::begin(methods), std::end(methods),
                                   [&](const Method& m) { return m.name == v.method; });
  const Model given = load_model(v.model).to(v.common.type());
  v.training.run = run_digest(verb, given);
  const Model model = method->compressed(v, given);
  save_trained(v.output, model);
  const SizeReport size = size_report(model);
  const int64_t file = file_size(v.output);
  fmt::print(
      "{}: {} bytes, {:.1f} times fewer than dense, with the file's header {}; {} free numbers for {} "
      "parameters\n",
      v.output, size.bytes, static_cast<double>(size.dense_bytes) / static_cast<double>(size.bytes), file,
      size.real_parameters, size.virtual_parameters);
  if (size.huffman_bytes)
    fmt::print("  with Huffman's code for the codes (not written so) {} bytes\n", *size.huffman_bytes);
  nlohmann::ordered_json json = size_json(size);
  json["file_bytes"] = file;
  write_json(v.common.json, json, verb);
}

void add_hash(CLI::App& verb, CompressVerb& v) {
  const char* group = "For hash";
  verb.add_option("--rate", v.rate,
                  "stored per virtual weight, in (0, 1]: 1/64 or 0.125; or a list, one for each of --layers: "
                  "1/4096,1/128")
      ->check(parsed_by([](const std::string& text) { parse_rates(text); }, "RATE"))
      ->group(group);
  verb.add_option("--start", v.start, "bucket values: least-squares fit to the weights, or drawn afresh")
      ->check(one_of({"projection", "scratch"}))
      ->group(group);
  add_hashing(verb, v.hash, group);
}

void add_pruning(CLI::App& verb, CompressVerb& v) {
  const char *once = "For prune", *both = "For prune, dns", *rounds = "For iterative-prune";
  verb.add_option("--threshold", v.threshold, "keep weights of at least this magnitude")
      ->check(not_negative())
      ->default_str("")
      ->group(once);
  verb.add_option("--percent", v.percent,
                  "drop the smallest so many percent of the weights that are not zero")
      ->check(number_in(0.0001, 99.9999))
      ->default_str("")
      ->group(once);
  verb.add_option("--density", v.density, "share of the weights to keep, in (0, 1]: 1/10 or 0.1")
      ->check(parsed_by([](const std::string& text) { parse_rate(text); }, "SHARE"))
      ->group(both);
  verb.add_option("--scope", v.scope, "rank the weights of each layer, or of all layers together")
      ->check(one_of({"layer", "global"}))
      ->group(both);
  verb.add_option("--rounds", v.iterative.rounds, "of pruning and training --epochs")
      ->check(integer_in(1, 10000))
      ->group(rounds);
  verb.add_option("--conv-percent", v.iterative.conv_percent, "of the weights left, per round")
      ->check(number_in(0, 99.9999))
      ->group(rounds);
  verb.add_option("--fc-percent", v.iterative.fc_percent, "the same of fully connected layers")
      ->check(number_in(0, 99.9999))
      ->group(rounds);
}

void add_surgery(CLI::App& verb, CompressVerb& v) {
  const char* group = "For dns";
  const auto option = [&](const char* name, auto& value, const char* text, CLI::Validator check) {
    return verb.add_option(name, value, text)->check(std::move(check))->group(group);
  };
  option("--c-rate", v.c_rate,
         "threshold: mean + C standard deviations of a layer's |w|; instead of --density",
         number_in(-1e6, 1e6));
  option("--gradients", v.gradients, "weights that learn: all, pruned ones too, or those kept",
         one_of({"all", "kept"}));
  option("--statistics", v.statistics,
         "mean and deviation: of the given weights, or of those at each update of "
         "masks",
         one_of({"once", "update"}));
  option("--mask-updates", v.mask_updates, "when: drawn in front of every step, or every epoch",
         one_of({"steps", "epochs"}));
  option("--gamma", v.surgery.gamma,
         "the probability of an update in front of step I is (1 + gamma I)^-power", not_negative());
  option("--power", v.surgery.power, "see --gamma", not_negative());
  option("--iter-stop", v.surgery.stop, "masks stay from this step on (three quarters of all steps)",
         integer_in(0, int64_t{1} << 40))
      ->default_str("");
}

void add_quantisation(CLI::App& verb, CompressVerb& v) {
  const char* group = "For fixed-point";
  verb.add_option("--width", v.format.width, "bits of a number")->check(integer_in(2, 32))->group(group);
  verb.add_option("--point", v.format.point,
                  "of them in front of the binary point, with the sign; at most the width")
      ->check(integer_in(1, 32))
      ->group(group);
  verb.add_option("--activations", v.activations, "round what the layers put out, too")
      ->check(one_of({"yes", "no"}))
      ->group(group);
  verb.add_option("--rounding", v.rounding, "of weights: to the nearest, or to a neighbour drawn by --seed")
      ->check(one_of({"nearest", "stochastic"}))
      ->group(group);
  verb.add_option("--bits", v.kmeans.bits, "2^bits different weights per layer")
      ->check(integer_in(1, most_shared_bits))
      ->group("For kmeans");
}

}  // namespace

void add_compress(CLI::App& app) {
  auto* verb =
      app.add_subcommand("compress", fmt::format("Compress a model: {}", fmt::join(method_names(), ", ")));
  auto v = std::make_shared<CompressVerb>();
  v->training.epochs = 0;
  verb->add_option("METHOD", v->method, "method")->required()->check(one_of(method_names()));
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--output", v->output, "file of the compressed model")->required()->check(output_file());
  verb->add_option("--layers", v->layers, "all, or last:K, of the layers with weights")
      ->check(layer_selection());
  add_hash(*verb, *v);
  add_pruning(*verb, *v);
  add_surgery(*verb, *v);
  add_quantisation(*verb, *v);
  add_data(*verb, v->data);
  add_training(*verb, v->training);
  add_common(*verb, v->common);
  add_math(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
