// hashgrad defend METHOD MODEL: a model with a defence built in.
#include <algorithm>
#include <fmt/ranges.h>
#include <vector>

#include "defenses/defensive_dropout.h"
#include "defenses/gradient_inhibition.h"
#include "defenses/logits_augmentation.h"
#include "experiments/cli/options.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct DefendVerb {
  CommonFlags common;
  std::string method, model, output, layers = "last:1", draws = "forward";
  double eps = 0, rate = 0.3;
  int64_t last = 0;
};

/// A defence: what it does, the flags that it takes, and the eps it has when none is given.
struct Method {
  const char* name;
  const char* help;
  std::vector<std::string> flags;
  double eps;
  void (*apply)(Model& model, const DefendVerb& v);
};

const std::vector<Method>& methods() {
  static const std::vector<Method> rows = {
      {"gi1",
       "w + eps sign(w)",
       {"eps", "layers"},
       0.1,
       [](Model& model, const DefendVerb& v) { gradient_inhibition_1(model, v.eps, v.layers); }},
      {"gi2",
       "(1 + eps) w",
       {"eps", "layers"},
       3,
       [](Model& model, const DefendVerb& v) { gradient_inhibition_2(model, v.eps, v.layers); }},
      {"gi3",
       "w + eps U sign(w), U random in [0,1)",
       {"eps", "layers", "draws"},
       0.2,
       [](Model& model, const DefendVerb& v) {
         gradient_inhibition_3(model, v.eps, v.draws == "once" ? Redraw::once : Redraw::forward, v.layers,
                               v.common.seed);
       }},
      {"logits-augmentation",
       "(1 + eps) w in the last fully connected layer",
       {"eps"},
       20,
       [](Model& model, const DefendVerb& v) { logits_augmentation(model, v.eps); }},
      {"dropout",
       "inputs of layers dropped at every answer",
       {"rate", "layers"},
       0,
       [](Model& model, const DefendVerb& v) { defensive_dropout(model, v.rate, v.layers); }},
  };
  return rows;
}

const Method& method_named(const std::string& name) {
  return *std::find_if(methods().begin(), methods().end(), [&](const Method& m) { return m.name == name; });
}

void run(DefendVerb& v, const CLI::App& verb) {
  refuse_foreign_flags(verb, v.method);
  const Method& method = method_named(v.method);
  if (verb.count("--eps") == 0) v.eps = method.eps;
  if (v.last > 0) v.layers = fmt::format("last:{}", v.last);
  Model model = load_model(v.model).to(v.common.type());
  method.apply(model, v);
  save_model(v.output, model);
  const std::string defences = model.metadata["defences"];
  fmt::print("{}: {}; defences {}\n", v.output, method.help, defences);
  write_json(v.common.json, {{"output", v.output}, {"defences", defences}}, verb);
}

/// "For gi1, gi2": the methods that take this flag.
std::string group_of(const std::string& flag) {
  std::vector<std::string> names;
  for (const Method& m : methods())
    if (std::find(m.flags.begin(), m.flags.end(), flag) != m.flags.end()) names.push_back(m.name);
  return fmt::format("For {}", fmt::join(names, ", "));
}

/// "strength (gi1 0.1, gi2 3)".
std::string eps_help() {
  std::vector<std::string> defaults;
  for (const Method& m : methods())
    if (m.eps > 0) defaults.push_back(fmt::format("{} {}", m.name, m.eps));
  return fmt::format("strength ({})", fmt::join(defaults, ", "));
}

std::string methods_help() {
  std::vector<std::string> lines;
  for (const Method& m : methods()) lines.push_back(fmt::format("{}: {}", m.name, m.help));
  return fmt::format("{}", fmt::join(lines, "; "));
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const Method& m : methods()) names.push_back(m.name);
  return names;
}

void add_flags(CLI::App& verb, DefendVerb& v) {
  verb.add_option("--eps,--tau", v.eps, eps_help())
      ->check(not_negative())
      ->default_str("")
      ->group(group_of("eps"));
  auto* layers = verb.add_option("--layers", v.layers, "all, or last:K, of the layers with weights")
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
  verb.add_option("--rate", v.rate, "share of inputs dropped, in (0,1)")
      ->check(number_in(0, 1))
      ->group(group_of("rate"));
}

}  // namespace

void add_defend(CLI::App& app) {
  auto* verb = app.add_subcommand(
      "defend", "Build a defence into a model: " + fmt::format("{}", fmt::join(method_names(), ", ")));
  auto v = std::make_shared<DefendVerb>();
  verb->add_option("METHOD", v->method, methods_help())->required()->check(one_of(method_names()));
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--output", v->output, "file of the defended model")->required()->check(output_file());
  add_flags(*verb, *v);
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
