// hashgrad compress METHOD MODEL: a smaller model, optionally trained further.
#include "compression/hash.h"
#include "experiments/cli/hashing.h"
#include "experiments/cli/training.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct CompressVerb {
  CommonFlags common;
  DataFlags data{.split = "train"};
  TrainingFlags training;
  std::string method, model, output, rate = "1/8", layers = "all", start = "projection";
  HashFlags hash;
};

Model compressed(const CompressVerb& v, const Model& model) {
  HashCompression options;
  options.rate = parse_rate(v.rate);
  options.layers = v.layers;
  if (v.start == "scratch") options.start = HashCompression::Start::scratch;
  options.hash = v.hash.options();
  options.seed = v.common.seed;
  return compress_hash(model, options);
}

void run(const CompressVerb& v, const CLI::App& verb) {
  refuse_foreign_flags(verb, v.method);
  Model model = compressed(v, load_model(v.model).to(v.common.type()));
  if (v.training.epochs > 0) run_training(model, v.data, v.training, v.common, v.output);
  save_model(v.output, model);
  const SizeReport size = size_report(model);
  const double ratio =
      static_cast<double>(size.virtual_parameters) / static_cast<double>(size.real_parameters);
  fmt::print("{}: {} parameters stored for {} ({:.1f} times fewer), {} bytes\n", v.output,
             size.real_parameters, size.virtual_parameters, ratio, size.bytes);
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerSize& layer : size.layers)
    layers.push_back({{"name", layer.name},
                      {"virtual", layer.virtual_parameters},
                      {"real", layer.real_parameters},
                      {"bytes", layer.bytes}});
  write_json(v.common.json,
             {{"virtual_parameters", size.virtual_parameters},
              {"real_parameters", size.real_parameters},
              {"bytes", size.bytes},
              {"layers", layers}},
             verb);
}

}  // namespace

void add_compress(CLI::App& app) {
  auto* verb = app.add_subcommand("compress", "Compress a model: hash");
  auto v = std::make_shared<CompressVerb>();
  v->training.epochs = 0;
  verb->add_option("METHOD", v->method, "method")->required()->check(one_of({"hash"}));
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--output", v->output, "file of the compressed model")->required()->check(output_file());
  const char* hash = "For hash";
  verb->add_option("--rate", v->rate, "stored per virtual weight, in (0, 1]: 1/64 or 0.125")
      ->check(parsed_by([](const std::string& text) { parse_rate(text); }, "RATE"))
      ->group(hash);
  verb->add_option("--layers", v->layers, "all, or last:K")->group(hash);
  verb->add_option("--start", v->start, "bucket values: least-squares fit to the weights, or drawn afresh")
      ->check(one_of({"projection", "scratch"}))
      ->group(hash);
  add_hashing(*verb, v->hash, hash);
  add_data(*verb, v->data);
  add_training(*verb, v->training);
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
