// hashgrad train SPEC: builds a network from its spec or name and trains it.
#include "experiments/cli/hashing.h"
#include "experiments/cli/training.h"
#include "nn/models/zoo.h"

namespace hashgrad::cli {
namespace {

struct TrainVerb {
  CommonFlags common;
  DataFlags data{.split = "train"};
  TrainingFlags training;
  std::string spec, output, init = "pytorch";
  HashFlags hash;
};

constexpr const char* hashing_group = "Hashed layers (@rate)";

void check_spec(const std::string& text) { static_cast<void>(spec_of(text)); }

Model new_model(const TrainVerb& v) {
  ModelOptions options;
  options.dtype = v.common.type();
  options.init = parse_init(v.init);
  options.seed = v.common.seed;
  options.hash = v.hash.options();
  return Model(v.spec, options);
}

/// Of a network without hashed layers these flags say nothing.
void refuse_hash_flags(const CLI::App& verb, const Model& model) {
  const std::vector<LayerSpec>& layers = model.spec().layers;
  if (std::any_of(layers.begin(), layers.end(), [](const LayerSpec& layer) { return layer.hashed(); }))
    return;
  for (const CLI::Option* option : verb.get_options())
    if (option->count() > 0 &&
        (option->get_group() == hashing_group || option->get_name().starts_with("--hashed-")))
      usage("{}: is of hashed layers, of which SPEC has none (@rate makes one)", option->get_name());
}

void run(const TrainVerb& v, const CLI::App& verb) {
  Model model = new_model(v).to(v.common.where());
  refuse_hash_flags(verb, model);
  const TrainResult result = run_training(model, v.data, v.training, v.common, v.output);
  save_trained(v.output, model);
  fmt::print("{}: {} parameters, {} epochs{}, {:.1f} s, {:.1f} MB of tensors\n", v.output,
             model.parameter_count(), result.epochs, last_epoch(result), result.seconds,
             static_cast<double>(result.peak_bytes) / 1e6);
  const auto of_last_epoch = [&](double value) {
    return result.epochs > 0 ? nlohmann::ordered_json(value) : nullptr;
  };
  write_json(v.common.json,
             {{"model", v.output},
              {"parameters", model.parameter_count()},
              {"epochs", result.epochs},
              {"steps", result.steps},
              {"loss", of_last_epoch(result.loss)},
              {"train_accuracy", of_last_epoch(result.accuracy)},
              {"seconds", result.seconds},
              {"peak_bytes", result.peak_bytes}},
             verb);
}

}  // namespace

void add_train(CLI::App& app) {
  auto* verb = app.add_subcommand("train", "Train a network given by its spec or name");
  auto v = std::make_shared<TrainVerb>();
  verb->add_option("SPEC", v->spec,
                   "spec, such as '1x28x28 conv32k5p2 relu maxpool2 flatten fc10', or a name")
      ->required()
      ->check(parsed_by(check_spec, "SPEC"));
  verb->add_option("--output", v->output, "file of the trained model")->required()->check(output_file());
  verb->add_option("--init", v->init,
                   "law of the initial weights: pytorch, he-normal, he-uniform, xavier-normal, "
                   "xavier-uniform, lecun-normal, zeros")
      ->check(parsed_by([](const std::string& text) { parse_init(text); }, "INIT"));
  add_hashing(*verb, v->hash, hashing_group);
  add_data(*verb, v->data);
  add_training(*verb, v->training);
  add_common(*verb, v->common);
  add_math(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
