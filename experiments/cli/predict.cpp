// hashgrad predict MODEL: class scores of images.
#include "attacks/gradient.h"
#include "core/archive.h"
#include "experiments/cli/draws.h"
#include "experiments/cli/options.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct PredictVerb {
  CommonFlags common;
  DataFlags data;
  int64_t draws = 20;
  std::string model, input, output;
};

void run(const PredictVerb& v, const CLI::App& verb) {
  const MathScope math(v.common.arithmetic());
  Model model = load_model(v.model).to(v.common.type()).to(v.common.where());
  const Dataset data = load_input(v.input, v.data);
  const Oracle oracle(model, {.batch = v.common.batch, .draws = {.count = v.draws, .seed = v.common.seed}});
  const Tensor x = data.images_float(0, data.size(), model.dtype());  // [N,C,H,W]
  const Tensor logits = oracle.logits(x);                             // [N,K]
  write_archive(v.output, {{{"logits", logits}}, {{"model", v.model}, {"command", command_line}}});
  fmt::print("{}: logits {}\n", v.output, logits.shape());
  write_json(
      v.common.json,
      {{"n", logits.size(0)}, {"classes", logits.size(1)}, {"draws", oracle.draws()}, {"output", v.output}},
      verb);
}

}  // namespace

void add_predict(CLI::App& app) {
  auto* verb = app.add_subcommand("predict", "Write the logits [N,K] of images");
  auto v = std::make_shared<PredictVerb>();
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--input", v->input, "safetensors file with x, instead of --data");
  verb->add_option("--output", v->output, "safetensors file to write")->required()->check(output_file());
  add_answer_draws(*verb, v->draws);
  add_data(*verb, v->data);
  add_common(*verb, v->common);
  add_math(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
