// hashgrad compress METHOD MODEL: a smaller model, optionally trained further.
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
  std::string activations = "yes";
  KMeans kmeans;
};

/// --epochs of training, on --device; none leaves the model as it is.
void fine_tune(const CompressVerb& v, Model& model, const CommonFlags& common, const std::string& output) {
  if (v.training.epochs == 0) return;
  Model there = model.to(common.where());
  run_training(there, v.data, v.training, common, output);
  model = there.to(Device{});
}
void fine_tune(const CompressVerb& v, Model& model) { fine_tune(v, model, v.common, v.output); }

Model hashed(const CompressVerb& v, const Model& model) {
  HashCompression options;
  options.rate = parse_rate(v.rate);
  options.layers = v.layers;
  if (v.start == "scratch") options.start = HashCompression::Start::scratch;
  options.hash = v.hash.options();
  options.seed = v.common.seed;
  Model result = compress_hash(model, options);
  fine_tune(v, result);
  return result;
}

Model pruned(const CompressVerb& v, const Model& model) {
  using Rule = Pruning::Rule;
  std::vector<std::pair<Rule, double>> rules;
  if (v.threshold >= 0) rules.emplace_back(Rule::threshold, v.threshold);
  if (v.percent >= 0) rules.emplace_back(Rule::percent, v.percent);
  if (!v.density.empty()) rules.emplace_back(Rule::density, parse_rate(v.density));
  if (rules.size() != 1)
    usage("prune: one of --threshold, --percent and --density is needed, {} are given", rules.size());
  Model result = compress_prune(
      model,
      {.rule = rules[0].first, .value = rules[0].second, .layers = v.layers, .global = v.scope == "global"});
  fine_tune(v, result);
  return result;
}

/// Round r trains with seed + r, writes OUTPUT.round<r>.csv and starts from scratch when interrupted.
Model pruned_in_rounds(const CompressVerb& v, const Model& model) {
  if (!v.training.resume.empty())
    usage("--resume: does not apply to iterative-prune, whose rounds are runs of their own");
  IterativePruning options = v.iterative;
  options.layers = v.layers;
  return compress_iterative_prune(model, options, [&](Model& sparse, int64_t round) {
    CommonFlags common = v.common;
    common.seed += static_cast<uint64_t>(round);
    fine_tune(v, sparse, common, fmt::format("{}.round{}", v.output, round));
  });
}

Model in_fixed_point(const CompressVerb& v, const Model& model) {
  const FixedPointCompression options{v.format, v.activations == "yes", v.layers};
  if (v.training.epochs == 0) return compress_fixed_point(model, options);
  Model result = model.clone();
  declare_fixed_point(result, options);
  fine_tune(v, result);
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
                              {"bytes", size.bytes}};
  if (size.huffman_bytes) json["huffman_bytes"] = *size.huffman_bytes;
  json["layers"] = layers;
  return json;
}

void run(const CompressVerb& v, const CLI::App& verb) {
  refuse_foreign_flags(verb, v.method);
  const auto method = std::find_if(std::begin(methods), std::end(methods),
                                   [&](const Method& m) { return m.name == v.method; });
  const Model model = method->compressed(v, load_model(v.model).to(v.common.type()));
  save_model(v.output, model);
  const SizeReport size = size_report(model);
  const int64_t file = file_size(v.output);
  const int64_t dense = size.virtual_parameters * static_cast<int64_t>(size_of(model.dtype()));
  fmt::print(
      "{}: {} bytes, {:.1f} times fewer than dense, with the file's header {}; {} free numbers for {} "
      "parameters\n",
      v.output, size.bytes, static_cast<double>(dense) / static_cast<double>(size.bytes), file,
      size.real_parameters, size.virtual_parameters);
  if (size.huffman_bytes)
    fmt::print("  with Huffman's code for the codes (not written so) {} bytes\n", *size.huffman_bytes);
  nlohmann::ordered_json json = size_json(size);
  json["file_bytes"] = file;
  write_json(v.common.json, json, verb);
}

void add_hash(CLI::App& verb, CompressVerb& v) {
  const char* group = "For hash";
  verb.add_option("--rate", v.rate, "stored per virtual weight, in (0, 1]: 1/64 or 0.125")
      ->check(parsed_by([](const std::string& text) { parse_rate(text); }, "RATE"))
      ->group(group);
  verb.add_option("--start", v.start, "bucket values: least-squares fit to the weights, or drawn afresh")
      ->check(one_of({"projection", "scratch"}))
      ->group(group);
  add_hashing(verb, v.hash, group);
}

void add_pruning(CLI::App& verb, CompressVerb& v) {
  const char *once = "For prune", *rounds = "For iterative-prune";
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
      ->group(once);
  verb.add_option("--scope", v.scope, "rank the weights of each layer, or of all layers together")
      ->check(one_of({"layer", "global"}))
      ->group(once);
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
  verb->add_option("--layers", v->layers, "all, or last:K, of the layers with weights");
  add_hash(*verb, *v);
  add_pruning(*verb, *v);
  add_quantisation(*verb, *v);
  add_data(*verb, v->data);
  add_training(*verb, v->training);
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
