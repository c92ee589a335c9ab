// hashgrad materialise MODEL: the dense twin of a compressed model, with plain weights and the same function.
#include "nn/materialise.h"

#include "experiments/cli/options.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct MaterialiseVerb {
  CommonFlags common;
  std::string model, output;
};

void run(const MaterialiseVerb& v, const CLI::App& verb) {
  const Model dense = materialise(load_model(v.model).to(v.common.type()));
  save_model(v.output, dense);
  fmt::print("{}: {}, {} parameters\n", v.output, short_text(dense.spec()), dense.parameter_count());
  write_json(
      v.common.json,
      {{"output", v.output}, {"spec", to_string(dense.spec())}, {"parameters", dense.parameter_count()}},
      verb);
}

}  // namespace

void add_materialise(CLI::App& app) {
  auto* verb = app.add_subcommand("materialise", "Write the dense twin of a compressed model");
  auto v = std::make_shared<MaterialiseVerb>();
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--output", v->output, "file of the dense model")->required()->check(output_file());
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
