// hashgrad evaluate MODEL: accuracy and loss with their uncertainty.
#include "attacks/statistics.h"
#include "experiments/cli/options.h"
#include "nn/model_file.h"
#include "nn/train.h"

namespace hashgrad::cli {
namespace {

struct EvaluateVerb {
  CommonFlags common;
  DataFlags data;
  std::string model, input;
};

void run(const EvaluateVerb& v, const CLI::App& verb) {
  const Model model = load_model(v.model).to(v.common.type()).to(v.common.where());
  const Dataset data = load_input(v.input, v.data);
  const Evaluation result = evaluate(model, data, v.common.batch);
  const Interval interval = wilson(result.correct, result.samples);
  fmt::print("accuracy {:.2f} % (95 % Wilson interval {:.2f} to {:.2f}; {} of {}), loss {:.5f}\n",
             100 * result.accuracy, 100 * interval.low, 100 * interval.high, result.correct, result.samples,
             result.loss);
  write_json(v.common.json,
             {{"accuracy", result.accuracy},
              {"interval", {interval.low, interval.high}},
              {"loss", result.loss},
              {"n", result.samples},
              {"correct", result.correct}},
             verb);
}

}  // namespace

void add_evaluate(CLI::App& app) {
  auto* verb = app.add_subcommand("evaluate", "Accuracy, loss and their interval on labelled images");
  auto v = std::make_shared<EvaluateVerb>();
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--input", v->input, "safetensors file with x and y, instead of --data");
  add_data(*verb, v->data);
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
