// hashgrad defend METHOD MODEL: a model with a defence built in, or trained to have it.
#include "experiments/cli/defend.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>
#include <vector>

#include "defenses/defensive_dropout.h"
#include "defenses/gradient_inhibition.h"
#include "defenses/input_transforms.h"
#include "defenses/logits_augmentation.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

/// A defence: what it does, the flags that it takes, and the eps and the epochs that it has when none are
/// given. A training starts from a file or a spec and takes data; what is none has 0 epochs.
struct Defence {
  const char* name;
  const char* help;
  std::vector<std::string> flags;
  double eps;
  int64_t epochs;
  void (*apply)(Model& model, const DefendVerb& v);
};

int64_t table_step(const DefendVerb& v) {
  const double step = v.step < 0 ? 40 : v.step;
  if (step != std::floor(step) || step > 254)
    usage("--step: {} given, an integer from 1 to 254 expected", step);
  return static_cast<int64_t>(step);
}

std::vector<Defence> weight_defences() {
  return {{"gi1",
           "w + eps sign(w)",
           {"eps", "layers"},
           0.1,
           0,
           [](Model& model, const DefendVerb& v) { gradient_inhibition_1(model, v.eps, v.layers); }},
          {"gi2",
           "(1 + eps) w",
           {"eps", "layers"},
           3,
           0,
           [](Model& model, const DefendVerb& v) { gradient_inhibition_2(model, v.eps, v.layers); }},
          {"gi3",
           "w + eps U sign(w), U random in [0,1)",
           {"eps", "layers", "draws"},
           0.2,
           0,
           [](Model& model, const DefendVerb& v) {
             gradient_inhibition_3(model, v.eps, v.draws == "once" ? Redraw::once : Redraw::forward, v.layers,
                                   v.common.seed);
           }},
          {"logits-augmentation",
           "(1 + eps) w in the last fully connected layer",
           {"eps"},
           20,
           0,
           [](Model& model, const DefendVerb& v) { logits_augmentation(model, v.eps); }},
          {"dropout",
           "inputs of layers dropped at every answer",
           {"rate", "layers"},
           0,
           0,
           [](Model& model, const DefendVerb& v) {
             const double rate = v.rate.empty() ? 0.3 : parse_rate(v.rate);
             if (rate == 1) usage("--rate: 1 given, a number in (0, 1) expected");
             defensive_dropout(model, rate, v.layers);
           }}};
}

std::vector<Defence> other_defences() {
  return {{"bit-depth",
           "pixels of few levels",
           {"bits"},
           0,
           0,
           [](Model& model, const DefendVerb& v) { add_input_transform(model, v.method, v.bits); }},
          {"median",
           "median filter in front of the network",
           {"size"},
           0,
           0,
           [](Model& model, const DefendVerb& v) { add_input_transform(model, v.method, v.size); }},
          {"jpeg",
           "JPEG in front of the network",
           {"quality"},
           0,
           0,
           [](Model& model, const DefendVerb& v) { add_input_transform(model, v.method, v.quality); }},
          {"feature-distillation",
           "JPEG that keeps the low frequencies",
           {"step"},
           0,
           0,
           [](Model& model, const DefendVerb& v) { add_input_transform(model, v.method, table_step(v)); }},
          {"distill", "trained on the soft answers of a teacher", {"temperature"}, 0, 10, distil},
          {"adversarial-training",
           "trained on attacked images",
           {"eps", "step", "method", "iters", "replays", "watch"},
           0.3,
           10,
           train_against_attacks},
          {"hash-classifier",
           "hashed layers in place of the last two",
           {"rate", "hash"},
           0,
           3,
           install_hash_classifier}};
}

const std::vector<Defence>& defences() {
  static const std::vector<Defence> all = [] {
    std::vector<Defence> rows = weight_defences();
    for (Defence& m : other_defences()) rows.push_back(std::move(m));
    return rows;
  }();
  return all;
}

const Defence& defence_named(const std::string& name) {
  return *std::find_if(defences().begin(), defences().end(),
                       [&](const Defence& m) { return m.name == name; });
}

/// Flags of training and of its data are refused where nothing is trained.
void refuse_training_flags(const CLI::App& verb, const std::string& method) {
  for (const CLI::Option* option : verb.get_options())
    if (option->count() > 0 && (option->get_group() == "Training" || option->get_group() == "Data"))
      usage("{}: does not apply to {}, which trains nothing", option->get_name(), method);
}

void run(DefendVerb& v, const CLI::App& verb) {
  const Defence& method = defence_named(v.method);
  refuse_foreign_flags(verb, v.method);
  if (method.epochs == 0) refuse_training_flags(verb, v.method);
  if (verb.count("--eps") == 0) v.eps = method.eps;
  if (verb.count("--epochs") == 0) v.training.epochs = method.epochs;
  if (v.last > 0) v.layers = fmt::format("last:{}", v.last);
  Model model = method.epochs > 0 ? start_of(v) : load_model(v.model).to(v.common.type());
  v.training.run = run_digest(verb, model);
  method.apply(model, v);
  save_trained(v.output, model);
  const std::string defences = model.metadata["defences"];
  fmt::print("{}: {}; defences {}\n", v.output, method.help, defences);
  write_json(v.common.json, {{"output", v.output}, {"defences", defences}}, verb);
}

/// "For gi1, gi2": the methods that take this flag.
std::string group_of(const std::string& flag) {
  std::vector<std::string> names;
  for (const Defence& m : defences())
    if (std::find(m.flags.begin(), m.flags.end(), flag) != m.flags.end()) names.push_back(m.name);
  return fmt::format("For {}", fmt::join(names, ", "));
}

/// "strength (gi1 0.1, gi2 3)".
std::string eps_help() {
  std::vector<std::string> defaults;
  for (const Defence& m : defences())
    if (m.eps > 0) defaults.push_back(fmt::format("{} {}", m.name, m.eps));
  return fmt::format("strength; adversarial-training: radius in pixels ({})", fmt::join(defaults, ", "));
}

/// "passes over the data (distill 10)".
std::string epochs_help() {
  std::vector<std::string> defaults;
  for (const Defence& m : defences())
    if (m.epochs > 0) defaults.push_back(fmt::format("{} {}", m.name, m.epochs));
  return fmt::format("passes over the data ({}); free adversarial training counts replays",
                     fmt::join(defaults, ", "));
}

std::string defences_help() {
  std::vector<std::string> lines;
  for (const Defence& m : defences()) lines.push_back(fmt::format("{}: {}", m.name, m.help));
  return fmt::format("{}", fmt::join(lines, "; "));
}

std::vector<std::string> defence_names() {
  std::vector<std::string> names;
  for (const Defence& m : defences()) names.push_back(m.name);
  return names;
}

void add_weight_flags(CLI::App& verb, DefendVerb& v) {
  verb.add_option("--eps,--tau", v.eps, eps_help())
      ->check(number_in(0, 1e30))
      ->default_str("")
      ->group(group_of("eps"));
  auto* layers = verb.add_option("--layers", v.layers, "all, or last:K, of the layers with weights")
                     ->check(layer_selection())
                     ->group(group_of("layers"));
  verb.add_option("--last", v.last, "the same as --layers last:K")
      ->check(integer_in(1, 100000))
      ->default_str("")
      ->excludes(layers)
      ->group(group_of("layers"));
  verb.add_option("--draws", v.draws,
                  "once, now, or at every answer (forward), which makes a randomised model")
      ->check(one_of({"once", "forward"}))
      ->group(group_of("draws"));
  verb.add_option(
          "--rate", v.rate,
          "dropout: share of inputs dropped, in (0, 1) (0.3); hash-classifier: stored per virtual weight "
          "of the two layers, A,B (the paper's rule)")
      ->check(parsed_by([](const std::string& text) { parse_rates(text); }, "RATE"))
      ->default_str("")
      ->group(group_of("rate"));
}

void add_transform_flags(CLI::App& verb, DefendVerb& v) {
  const auto setting = [&](const std::string& flag, int64_t& value, const char* text, const char* method) {
    const TransformKind& kind = *find_transform(method);
    verb.add_option("--" + flag, value, text)->check(integer_in(kind.low, kind.high))->group(group_of(flag));
  };
  setting("bits", v.bits, "bits per pixel and channel", "bit-depth");
  setting("size", v.size, "side of the window in pixels", "median");
  setting("quality", v.quality, "of the quantisation tables", "jpeg");
  verb.add_option(
          "--step", v.step,
          "feature-distillation: added to the steps of the table (40); adversarial-training: of the attack, "
          "in pixels (pgd eps / 30, fast 1.25 eps, free eps)")
      ->check(positive())
      ->default_str("")
      ->group(group_of("step"));
}

void add_trained_flags(CLI::App& verb, DefendVerb& v) {
  verb.add_option("--temperature", v.temperature, "of teacher and student in training")
      ->check(number_in(1, 1e6))
      ->group(group_of("temperature"));
  verb.add_option(
          "--method", v.adversary,
          "attack of each update: pgd, fast (one step from a random start), or free (one step from where "
          "the last one ended)")
      ->check(one_of({"pgd", "fast", "free"}))
      ->group(group_of("method"));
  verb.add_option("--replays", v.replays, "of free: updates on each batch, in a row (8)")
      ->check(integer_in(1, 1000))
      ->default_str("")
      ->group(group_of("replays"));
  verb.add_option("--iters", v.iters, "steps of it (pgd 40, fast and free 1)")
      ->check(integer_in(1, 1000))
      ->default_str("")
      ->group(group_of("iters"));
  verb.add_option("--watch", v.watch,
                  "test images to attack after every epoch, at most (200, or 0, none, where the data have no "
                  "test split)")
      ->check(integer_in(0, 100000))
      ->default_str("")
      ->group(group_of("watch"));
}

}  // namespace

void add_defend(CLI::App& app) {
  auto* verb = app.add_subcommand("defend", "Build a defence into a model, or train one that has it: " +
                                                fmt::format("{}", fmt::join(defence_names(), ", ")));
  auto v = std::make_shared<DefendVerb>();
  verb->add_option("METHOD", v->method, defences_help())->required()->check(one_of(defence_names()));
  verb->add_option("MODEL", v->model,
                   "model file; distill, adversarial-training and hash-classifier also take a spec or a name")
      ->required();
  verb->add_option("--output", v->output, "file of the defended model")->required()->check(output_file());
  add_weight_flags(*verb, *v);
  add_transform_flags(*verb, *v);
  add_trained_flags(*verb, *v);
  add_hashing(*verb, v->hash, group_of("hash"));
  add_data(*verb, v->data);
  add_training(*verb, v->training);
  verb->get_option("--epochs")->description(epochs_help())->default_str("");
  add_common(*verb, v->common);
  add_math(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
