// hashgrad defend METHOD MODEL: a model with a defence built in.
#include "defenses/gradient_inhibition.h"
#include "experiments/cli/options.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct DefendVerb {
  CommonFlags common;
  std::string method, model, output, layers = "last:1";
  double eps = 0.1;
  int64_t last = 0;
};

void run(const DefendVerb& v, const CLI::App& verb) {
  refuse_foreign_flags(verb, v.method);
  const std::string layers = v.last > 0 ? fmt::format("last:{}", v.last) : v.layers;
  Model model = load_model(v.model).to(v.common.type());
  gradient_inhibition_1(model, v.eps, layers);
  save_model(v.output, model);
  fmt::print("{}: w += {} * sign(w) on layers {}\n", v.output, v.eps, layers);
  write_json(v.common.json, {{"output", v.output}, {"defences", model.metadata["defences"]}}, verb);
}

}  // namespace

void add_defend(CLI::App& app) {
  auto* verb = app.add_subcommand("defend", "Build a defence into a model: gi1 (gradient inhibition)");
  auto v = std::make_shared<DefendVerb>();
  verb->add_option("METHOD", v->method, "method")->required()->check(one_of({"gi1"}));
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--output", v->output, "file of the defended model")->required()->check(output_file());
  const char* inhibition = "For gi1";
  verb->add_option("--eps,--tau", v->eps, "strength: w += eps * sign(w)")
      ->check(not_negative())
      ->group(inhibition);
  auto* layers = verb->add_option("--layers", v->layers, "all, or last:K, of the layers with weights")
                     ->group(inhibition);
  verb->add_option("--last", v->last, "the same as --layers last:K")
      ->check(integer_in(1, 100000))
      ->default_str("")
      ->excludes(layers)
      ->group(inhibition);
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
