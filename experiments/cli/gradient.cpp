// hashgrad gradient MODEL: gradients and Jacobians with respect to the images.
#include "attacks/gradient.h"

#include "core/archive.h"
#include "experiments/cli/draws.h"
#include "experiments/cli/options.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct GradientVerb {
  CommonFlags common;
  DataFlags data;
  int64_t draws = 20;
  std::string model, input, output, loss = "ce", jacobian;
  bool bpda = false;
};

bool needs_labels(const Loss& loss) {
  return loss.kind() != Loss::Kind::logit && loss.kind() != Loss::Kind::prob;
}

void run(const GradientVerb& v, const CLI::App& verb) {
  const MathScope math(v.common.arithmetic());
  Model model = load_model(v.model).to(v.common.type()).to(v.common.where());
  const Dataset data = load_input(v.input, v.data);
  const Loss loss(v.loss);
  const bool jacobian_alone =
      !v.jacobian.empty() && verb.count("--loss") == 0 && needs_labels(loss) && !data.labelled();
  check(data.labelled() || !needs_labels(loss) || jacobian_alone,
        "{}: holds no labels y, which --loss {} needs (logit:K and prob:K do not)", data.name, v.loss);

  const Tensor x = data.images_float(0, data.size(), model.dtype());  // [N,C,H,W]
  const Oracle oracle(
      model,
      {.batch = v.common.batch, .draws = {.count = v.draws, .seed = v.common.seed}, .stand_ins = v.bpda});
  Archive archive;
  if (!jacobian_alone) {
    auto pass = oracle.gradient(x, data.labels, loss);
    archive.tensors["gradient"] = pass.gradient;  // [N,C,H,W]
    archive.tensors["loss"] = pass.value;         // [N]
  }
  if (!v.jacobian.empty())
    archive.tensors["jacobian"] = oracle.jacobian(x, parse_outputs(v.jacobian));  // [N,K,C,H,W]
  archive.metadata = {{"model", v.model}, {"command", command_line}};
  if (!jacobian_alone) archive.metadata["loss"] = v.loss;
  write_archive(v.output, archive);
  for (const auto& [name, tensor] : archive.tensors)
    fmt::print("{}: {} {}\n", v.output, name, tensor.shape());
  write_json(v.common.json, {{"n", x.size(0)}, {"draws", oracle.draws()}, {"output", v.output}}, verb);
}

}  // namespace

void add_gradient(CLI::App& app) {
  auto* verb = app.add_subcommand("gradient", "Write gradients of a per-sample loss, or the Jacobian");
  auto v = std::make_shared<GradientVerb>();
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--input", v->input,
                   "safetensors file with x, and y where the loss needs it, instead of --data");
  verb->add_option("--output", v->output, "safetensors file to write")->required()->check(output_file());
  verb->add_option("--loss", v->loss, "ce, ce-exact, margin (z_y - max of the others), dlr, logit:K, prob:K")
      ->check(parsed_by([](const std::string& text) { Loss{text}; }, "LOSS"));
  verb->add_option("--jacobian", v->jacobian, "also write jacobian [N,K,C,H,W] of these outputs")
      ->check(one_of({"logits", "probs"}));
  add_answer_draws(*verb, v->draws);
  verb->add_flag("--bpda", v->bpda,
                 "differentiate past the model's input transforms as if they were the identity (BPDA)");
  add_data(*verb, v->data);
  add_common(*verb, v->common);
  add_math(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
