#include "experiments/cli/training.h"

#include <cstdio>
#include <filesystem>
#include <optional>

#include "core/file.h"
#include "core/xxhash.h"
#include "datasets/digest.h"
#include "experiments/progress.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

/// The last training of this run, until its model is in a file.
struct Unsaved {
  InterruptGuard guard;  // a signal after the last step ends nothing before the model is saved
  std::string checkpoint;
  bool kept = false;  // after that, too: it has a name of the user's
};
std::optional<Unsaved> unsaved;
std::vector<std::string> stages;  // files of this run's finished ones

void remove_checkpoint() {
  if (unsaved && !unsaved->kept) std::remove(unsaved->checkpoint.c_str());
}

OptimizerOptions optimizer_of(const TrainingFlags& flags) {
  OptimizerOptions options = parse_optimizer(flags.optimizer);
  if (flags.momentum >= 0 && options.kind == OptimizerOptions::Kind::adam)
    usage("--momentum: adam has none; its averages are adam:beta1=...,beta2=...");
  if (flags.momentum >= 0) options.momentum = flags.momentum;
  if (flags.weight_decay >= 0) options.weight_decay = flags.weight_decay;
  return options;
}

/// A run goes on with the model that it was started with: resumed with another one it would yield the first.
std::string digest_of_weights(const Model& model) {
  uint32_t digest = 0;
  for (const auto& [name, tensor] : model.state()) digest = digest_of(tensor.to(Device{}), digest);
  return fmt::format("{:08x}", digest);
}

TrainOptions options_of(const TrainingFlags& flags, const CommonFlags& common, const std::string& output) {
  TrainOptions options;
  options.epochs = flags.epochs;
  options.batch = common.batch;
  options.accumulate = flags.accumulate;
  options.optimizer = optimizer_of(flags);
  options.lr = flags.lr;
  options.schedule = Schedule(flags.schedule);
  options.hashed_lr = flags.hashed_lr;
  if (flags.hashed_gradient == "mean") options.hashed_gradient = HashedGradient::mean;
  options.math = common.arithmetic();
  options.ema = flags.ema;
  options.label_smoothing = flags.label_smoothing;
  options.augmentation = parse_augmentation(flags.augment);
  options.seed = common.seed;
  options.log_csv = flags.log.empty() ? output + ".csv" : flags.log;
  options.checkpoint = flags.checkpoint.empty() ? output + ".checkpoint" : flags.checkpoint;
  options.checkpoint_steps = flags.checkpoint_steps;
  options.resume = flags.resume;
  options.graph = !flags.no_graph;
  options.stop = InterruptGuard::flag();
  return options;
}

}  // namespace

void add_training(CLI::App& verb, TrainingFlags& flags) {
  flags.verb = &verb;
  constexpr const char* group = "Training";
  const auto option = [&](const char* name, auto& value, const char* text, CLI::Validator check) {
    verb.add_option(name, value, text)->check(std::move(check))->group(group);
  };
  option("--epochs", flags.epochs, "passes over the data", integer_in(0, 100000));
  option("--optimizer", flags.optimizer,
         "sgd, adam or rmsprop, with settings: sgd:momentum=0.9,nesterov,weight_decay=5e-4,weights_only",
         parsed_by([](const std::string& text) { parse_optimizer(text); }, "OPTIMIZER"));
  option("--lr", flags.lr, "learning rate", positive());
  option("--schedule", flags.schedule,
         "factor on the rate: constant, step:E1,E2[:G], cosine, exponential:G, triangular:P, onecycle:P, "
         "inv:G:Q",
         parsed_by([](const std::string& text) { Schedule{text}; }, "SCHEDULE"));
  option("--hashed-lr", flags.hashed_lr, "factor on the rate for the bucket values of hashed layers",
         positive());
  verb.add_option("--hashed-gradient", flags.hashed_gradient,
                  "of a bucket value: the sum over its virtual weights, or their mean (sum; defend "
                  "hash-classifier: mean)")
      ->check(one_of({"sum", "mean"}))
      ->default_str("")
      ->group(group);
  verb.add_option("--momentum", flags.momentum, "overrides the optimizer's [0, 1)")
      ->check(number_in(0, 0.999999))
      ->default_str("")
      ->group(group);
  verb.add_option("--weight-decay", flags.weight_decay, "overrides the optimizer's [0, 1]")
      ->check(number_in(0, 1))
      ->default_str("")
      ->group(group);
  option("--accumulate", flags.accumulate, "batches whose gradients make one update", integer_in(1, 1 << 20));
  option("--ema", flags.ema,
         "keep the moving average of the weights with this decay instead of the last ones (0: off)",
         number_in(0, 0.9999999));
  option("--label-smoothing", flags.label_smoothing, "share of each label given to all classes",
         number_in(0, 0.999999));
  option("--augment", flags.augment,
         "random changes: none, shift:P, crop:P, flip, cutout:S, jitter:S, or a list",
         parsed_by([](const std::string& text) { parse_augmentation(text); }, "LIST"));
  verb.add_option("--resume", flags.resume, "continue from this checkpoint; same bits as an unbroken run")
      ->group(group);
  option("--checkpoint", flags.checkpoint,
         "file of the checkpoint (default: OUTPUT.checkpoint, gone at the end)", output_file());
  option("--checkpoint-steps", flags.checkpoint_steps,
         "checkpoint also every so many updates (0: every epoch only)", integer_in(0, int64_t{1} << 40));
  option("--log", flags.log, "CSV with a row per epoch (default: OUTPUT.csv)", output_file());
  verb.add_flag("--validate", flags.validate,
                "evaluate the test split, which the data must have, after every epoch, for the log")
      ->group(group);
  verb.add_flag("--no-graph", flags.no_graph,
                "on a GPU, issue each step's kernels one by one, to debug them; same bits, slower")
      ->group(group);
}

TrainResult run_training(Model& model, const DataFlags& data, const TrainingFlags& flags,
                         const CommonFlags& common, const std::string& output,
                         const std::function<void(TrainOptions&)>& adapt) {
  TrainOptions options = options_of(flags, common, output);
  check_outputs({{"--output", output},
                 {"--log", options.log_csv},
                 {"--checkpoint", options.checkpoint},
                 {"--json", common.json}},
                inputs_of(*flags.verb));
  if (flags.resume.empty() && flags.checkpoint.empty())
    refuse_unfinished(options.checkpoint, "--resume " + options.checkpoint);
  const Dataset images = load(data);
  Dataset test;
  if (flags.validate) {
    test = load_test(data, "--validate");
    options.validation = &test;
  }
  model.metadata["data"] = images.name;
  options.start = digest_of_weights(model);

  Progress progress("train", flags.epochs * images.size(), common.quiet);
  options.progress = training_progress(progress, flags.epochs * images.size());
  if (adapt) adapt(options);
  remove_checkpoint();  // of the stage before this one
  if (!unsaved) unsaved.emplace();
  unsaved->checkpoint = options.checkpoint;
  unsaved->kept = !flags.checkpoint.empty();
  const TrainResult result = train(model, images, options);
  if (result.stopped) throw Interrupted{options.checkpoint};
  return result;
}

std::string run_digest(const CLI::App& verb, const Model& model) {
  nlohmann::ordered_json settings = settings_of(verb);
  for (const char* changes_nothing : {"resume", "quiet", "threads", "json", "log", "checkpoint-steps"})
    settings.erase(changes_nothing);
  return fmt::format("{:08x}-{}", xxhash32(json_text(settings), 0), digest_of_weights(model));
}

std::string resume_of_last(const TrainingFlags& flags, const std::string& output) {
  const std::string last = output + ".checkpoint";
  if (flags.resume.empty()) {
    refuse_unfinished(last, "--resume " + last);
    return "";
  }
  check(flags.resume.starts_with(output + "."), "{}: is no file of a run with --output {}", flags.resume,
        output);
  file_size(flags.resume);  // it is there
  return std::filesystem::exists(last) ? last : "";
}

void run_stage(Model& model, const DataFlags& data, TrainingFlags flags, const CommonFlags& common,
               const std::string& output, const std::function<void(TrainOptions&)>& adapt) {
  constexpr const char* key = "run";
  const std::string checkpoint = output + ".checkpoint";
  if (flags.resume.empty()) refuse_unfinished(output, "--resume " + output);
  stages.push_back(output);
  if (std::filesystem::exists(output)) {
    Model finished = load_model(output);
    check(finished.metadata[key] == flags.run, "{}: is not of this run: its model or its flags were others",
          output);
    finished.metadata.erase(key);
    model = finished.to(model.device());
    std::remove(checkpoint.c_str());
    return;
  }
  if (!flags.resume.empty()) flags.resume = std::filesystem::exists(checkpoint) ? checkpoint : "";
  run_training(model, data, flags, common, output, adapt);
  Model finished = model.alias();
  finished.metadata[key] = flags.run;
  save_model(output, finished);
}

std::string last_epoch(const TrainResult& result) {
  if (result.epochs == 0) return "";
  return fmt::format(", loss {:.4f}, training accuracy {:.2f} %", result.loss, 100 * result.accuracy);
}

void save_trained(const std::string& output, const Model& model) {
  try {
    save_model(output, model);
  } catch (const Error& error) {
    if (!unsaved) throw;
    fail("{} (the checkpoint {} is kept)", error.what(), unsaved->checkpoint);
  }
  remove_checkpoint();
  for (const std::string& stage : stages) std::remove(stage.c_str());
  unsaved.reset();
}

}  // namespace hashgrad::cli
