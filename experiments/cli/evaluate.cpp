// hashgrad evaluate MODEL: accuracy and loss with their uncertainty.
#include <cmath>

#include "attacks/estimator.h"
#include "attacks/statistics.h"
#include "experiments/cli/draws.h"
#include "experiments/cli/options.h"
#include "experiments/cli/rates.h"
#include "nn/model_file.h"
#include "nn/train.h"

namespace hashgrad::cli {
namespace {

struct EvaluateVerb {
  CommonFlags common;
  DataFlags data;
  int64_t draws = 20;
  bool estimator = false;
  double alpha = 0.5;
  std::string model, input;
};

nlohmann::ordered_json evaluate_ordinary(const EvaluateVerb& v, const Model& model, const Dataset& data) {
  const Score result = evaluate(model, data, v.common.batch);
  const Interval interval = wilson(result.correct, result.samples);
  fmt::print("accuracy {:.2f} % (95 % Wilson interval {:.2f} to {:.2f}; {} of {}), loss {:.5f}\n",
             100 * result.accuracy, 100 * interval.low, 100 * interval.high, result.correct, result.samples,
             result.loss);
  if (result.nan > 0)
    fmt::print(
        "  {} of {} images get no answer (a logit is NaN, or the largest infinite), which is not right\n",
        result.nan, result.samples);
  return {{"accuracy", result.accuracy}, {"interval", {interval.low, interval.high}},
          {"loss", result.loss},         {"n", result.samples},
          {"correct", result.correct},   {"nan", result.nan}};
}

int64_t hits_of(const std::vector<int64_t>& predictions, const Tensor& labels) {
  int64_t hits = 0;
  for (size_t i = 0; i < predictions.size(); ++i) hits += predictions[i] == labels.data<int64_t>()[i];
  return hits;
}

/// Mean, and its standard error over draws; not a number for a single draw, of which nothing is known.
std::pair<double, double> mean_with_error(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  for (const double v : values) squares += (v - sum / n) * (v - sum / n);
  return {sum / n, values.size() < 2 ? NAN : std::sqrt(squares / (n - 1) / n)};
}

/// How right single draws are, and how right their vote is.
nlohmann::ordered_json evaluate_draws(const EvaluateVerb& v, const Model& model, const Dataset& data) {
  check_fits(model, data);
  const Oracle judge =
      Oracle::judge(model, {.batch = v.common.batch, .draws = {.judge = v.draws, .seed = v.common.seed}});
  const Tensor x = data.images_float(0, data.size(), model.dtype());  // [N,C,H,W]
  const Rate majority{hits_of(judge.predict(x), data.labels), data.size()};
  std::vector<double> accuracies;
  double loss = 0;
  for (const Model* draw : judge.drawn()) {
    const Score score = evaluate(*draw, data, v.common.batch);
    accuracies.push_back(score.accuracy);
    loss += score.loss / static_cast<double>(judge.draws());
  }
  const auto [mean, error] = mean_with_error(accuracies);
  fmt::print(
      "answers by draw: mean accuracy of {} draws {:.2f} % (standard error over draws {}), mean loss "
      "{:.5f}; accuracy of their majority {:.2f} % (95 % Wilson interval {:.2f} to {:.2f}; {} of {})\n",
      v.draws, 100 * mean, std::isnan(error) ? "unknown" : fmt::format("{:.2f}", 100 * error), loss,
      100 * majority.value(), 100 * majority.interval().low, 100 * majority.interval().high, majority.hits,
      majority.trials);
  return {{"accuracy", mean}, {"standard_error", error},       {"loss", loss},
          {"draws", v.draws}, {"majority", json_of(majority)}, {"n", data.size()}};
}

/// Prints the robustness estimator and adds its parts to the numbers.
void add_estimate(const EvaluateVerb& v, const Model& model, const Dataset& data,
                  nlohmann::ordered_json& numbers) {
  const Oracle oracle(model, {.batch = v.common.batch, .draws = {.count = v.draws, .seed = v.common.seed}});
  const Estimate e = estimate_robustness(oracle, data.images_float(0, data.size(), model.dtype()));
  const double r = robustness(e, v.alpha);
  fmt::print("estimator: g {:.6g}, phi {:.6g}, R {:.6g} (alpha {:g}; not normalised, there is no grid)\n",
             e.g, e.phi, r, v.alpha);
  numbers.update({{"g", e.g}, {"phi", e.phi}, {"R", r}});
}

void run(const EvaluateVerb& v, const CLI::App& verb) {
  const MathScope math(v.common.arithmetic());
  const Model model = load_model(v.model).to(v.common.type()).to(v.common.where());
  const Dataset data = load_input(v.input, v.data);
  nlohmann::ordered_json numbers =
      randomised(model) ? evaluate_draws(v, model, data) : evaluate_ordinary(v, model, data);
  if (v.estimator) add_estimate(v, model, data, numbers);
  write_json(v.common.json, std::move(numbers), verb);
}

}  // namespace

void add_evaluate(CLI::App& app) {
  auto* verb = app.add_subcommand("evaluate", "Accuracy, loss and their interval on labelled images");
  auto v = std::make_shared<EvaluateVerb>();
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--input", v->input, "safetensors file with x and y, instead of --data");
  auto* estimator =
      verb->add_flag("--estimator", v->estimator,
                     "also g, phi and R of Liu and Wen (2021): slope and variance of the logits");
  verb->add_option("--alpha", v->alpha, "R = alpha g + (1 - alpha) phi")
      ->check(number_in(0, 1))
      ->needs(estimator);
  add_answer_draws(*verb, v->draws);
  add_data(*verb, v->data);
  add_common(*verb, v->common);
  add_math(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
