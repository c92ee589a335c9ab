// hashgrad attack NAME MODEL: crafts adversarial images and counts what they achieve.
#include "attacks/attack.h"

#include <algorithm>
#include <map>

#include "attacks/fgm.h"
#include "attacks/fgsm.h"
#include "attacks/jsma.h"
#include "attacks/pgd.h"
#include "attacks/statistics.h"
#include "attacks/target.h"
#include "core/archive.h"
#include "datasets/tensor_file.h"
#include "experiments/cli/options.h"
#include "experiments/progress.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct AttackVerb {
  CommonFlags common;
  DataFlags data;
  std::string name, model, input, output;
  bool targeted = false;
  std::string target;
  double eps = -1, step = 0;  // eps below 0: the attack's default
  int64_t iters = 0, restarts = 1;
  std::string norm = "linf", loss = "ce";
  bool no_random_start = false, no_early_stop = false, raw_gradient = false, own_prediction = false;
  std::string rule = "pair", on = "probs";
  double theta = 1, gamma = 0.1;
};

double eps_or(const AttackVerb& v, double otherwise) { return v.eps >= 0 ? v.eps : otherwise; }

std::unique_ptr<Attack> make_pgd(const AttackVerb& v) {
  Pgd::Options options;
  options.norm = parse_norm(v.norm);
  options.eps = eps_or(v, options.eps);
  options.step = v.step;
  options.iters = v.iters > 0 ? v.iters : v.name == "bim" ? 10 : options.iters;
  options.restarts = v.restarts;
  options.random_start = v.name == "pgd" && !v.no_random_start;
  options.early_stop = !v.no_early_stop;
  options.loss = v.loss;
  options.seed = v.common.seed;
  return std::make_unique<Pgd>(options);
}

std::unique_ptr<Attack> make_attack(const AttackVerb& v) {
  if (v.name == "fgsm")
    return std::make_unique<Fgsm>(
        Fgsm::Options{.eps = eps_or(v, 0.3), .loss = v.loss, .own_prediction = v.own_prediction});
  if (v.name == "fgm")
    return std::make_unique<Fgm>(Fgm::Options{.eps = eps_or(v, 1.0),
                                              .normalise = !v.raw_gradient,
                                              .loss = v.loss,
                                              .own_prediction = v.own_prediction});
  if (v.name == "jsma")
    return std::make_unique<Jsma>(Jsma::Options{
        .rule = parse_jsma_rule(v.rule), .on = parse_outputs(v.on), .theta = v.theta, .gamma = v.gamma});
  return make_pgd(v);
}

/// The tensor `target` of an input file, cut like the images were.
Tensor targets_of_file(const AttackVerb& v) {
  if (v.input.empty()) usage("--targeted: needs --input with a tensor 'target', or --target RULE");
  if (!v.data.indices.empty()) usage("--targeted: 'target' of the input cannot be combined with --indices");
  const Archive archive = read_archive(v.input);
  const Tensor& target = archive.at("target", v.input);
  check(target.dtype() == DType::int64 && target.rank() == 1, "{}: target is {} {}, expected int64 [N]",
        v.input, name_of(target.dtype()), target.shape());
  return v.data.first > 0 && v.data.first < target.size(0) ? target.slice(0, 0, v.data.first).contiguous()
                                                           : target;
}

AttackInput input_of(const AttackVerb& v, Model& model, const Dataset& data) {
  AttackInput input{data.images_float(0, data.size(), model.dtype()), data.labels, {}, {}};
  for (int64_t n = 0; n < data.size(); ++n) input.samples.push_back(n);
  if (v.target == "all") return with_all_targets(input, model.classes());
  if (!v.target.empty()) {
    const TargetRule rule = parse_target_rule(v.target);
    input.targets = choose_targets(rule, Oracle(model, v.common.batch).logits(input.x), input.y,
                                   v.common.seed, input.samples);
  } else if (v.targeted) {
    input.targets = targets_of_file(v);
  }
  return input;
}

/// Runs the attack in pieces so that progress shows; rows do not depend on each other.
std::map<std::string, Tensor> run_pieces(const Attack& attack, Model& model, const AttackInput& input,
                                         const CommonFlags& common) {
  const int64_t n = input.x.size(0), piece = common.batch;
  Progress progress(attack.repr(), n, common.quiet);
  std::map<std::string, Tensor> all;
  for (int64_t begin = 0; begin < n; begin += piece) {
    const int64_t end = std::min(begin + piece, n);
    std::vector<int64_t> rows;
    for (int64_t row = begin; row < end; ++row) rows.push_back(row);
    const AttackResult part = attack.run(model, gather(input, rows), common.batch);
    const std::map<std::string, const Tensor*> named = {{"x_adv", &part.x_adv},
                                                        {"success", &part.success},
                                                        {"first_success", &part.first_success},
                                                        {"l0", &part.l0},
                                                        {"l1", &part.l1},
                                                        {"l2", &part.l2},
                                                        {"linf", &part.linf},
                                                        {"status", &part.status},
                                                        {"forwards", &part.forwards},
                                                        {"backwards", &part.backwards}};
    for (const auto& [name, tensor] : named) {
      Tensor& whole = all[name];
      if (!whole.defined()) whole = Tensor::empty(tensor->shape().without(0).with(0, n), tensor->dtype());
      whole.slice(0, begin, end).copy_from(*tensor);
    }
    progress.update(end);
  }
  return all;
}

/// Median over the rows that succeeded; 0 when none did.
double median_of_successes(const Tensor& values, const Tensor& success) {
  std::vector<double> kept;
  for (int64_t n = 0; n < values.size(0); ++n)
    if (success.data<uint8_t>()[n]) kept.push_back(values.data<double>()[n]);
  if (kept.empty()) return 0;
  std::nth_element(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(kept.size() / 2), kept.end());
  return kept[kept.size() / 2];
}

nlohmann::ordered_json json_of(const Rate& rate) {
  return {{"rate", rate.value()},
          {"hits", rate.hits},
          {"n", rate.trials},
          {"interval", {rate.interval().low, rate.interval().high}}};
}

void print_rate(const char* what, const Rate& rate) {
  const Interval interval = rate.interval();
  fmt::print("  {:<46} {:6.2f} % [{:.2f}, {:.2f}]  {} of {}\n", what, 100 * rate.value(), 100 * interval.low,
             100 * interval.high, rate.hits, rate.trials);
}

nlohmann::ordered_json report(const Attack& attack, Model& model, const AttackInput& input,
                              const std::map<std::string, Tensor>& made, int64_t batch) {
  const Tensor& success = made.at("success");
  Rate reached{0, success.size(0)};
  for (int64_t n = 0; n < reached.trials; ++n) reached.hits += success.data<uint8_t>()[n];
  const Oracle oracle(model, batch);
  const SuccessRates rates =
      success_rates(input.y.to_vector<int64_t>(), oracle.predict(input.x), oracle.predict(made.at("x_adv")));
  std::map<std::string, int64_t> endings;
  for (int64_t status : made.at("status").to_vector<int64_t>())
    ++endings[name_of(static_cast<Status>(status))];

  fmt::print("{}\n", attack.repr());
  if (input.targets.defined()) print_rate("success: prediction = target", reached);
  print_rate("prediction != label, of all", rates.wrong);
  print_rate("prediction != label, of those right before", rates.broken);
  print_rate("prediction != clean prediction", rates.changed);
  print_rate("clean error", rates.clean_wrong);
  nlohmann::ordered_json medians;
  for (const char* norm : {"l0", "l1", "l2", "linf"})
    medians[norm] = median_of_successes(made.at(norm), success);
  fmt::print("  median of the successes: l0 {:.0f}, l1 {:.4g}, l2 {:.4g}, linf {:.4g}\n  status:",
             medians["l0"].get<double>(), medians["l1"].get<double>(), medians["l2"].get<double>(),
             medians["linf"].get<double>());
  for (const auto& [name, count] : endings) fmt::print(" {} {}", name, count);
  fmt::print("\n");
  return {{"attack", attack.repr()},
          {"n", reached.trials},
          {"success", json_of(reached)},
          {"wrong", json_of(rates.wrong)},
          {"broken", json_of(rates.broken)},
          {"changed", json_of(rates.changed)},
          {"clean_wrong", json_of(rates.clean_wrong)},
          {"median_of_successes", medians},
          {"status", endings}};
}

void run(const AttackVerb& v, const CLI::App& verb) {
  refuse_foreign_flags(verb, v.name);
  const std::unique_ptr<Attack> attack = make_attack(v);
  Model model = load_model(v.model).to(v.common.type()).to(v.common.where());
  const Dataset data = load_input(v.input, v.data);
  check(data.labelled(), "{}: holds no labels y, which an attack needs", data.name);
  const AttackInput input = input_of(v, model, data);
  validate(model, input, v.name);

  Archive archive;
  archive.tensors = run_pieces(*attack, model, input, v.common);
  const auto numbers = report(*attack, model, input, archive.tensors, v.common.batch);
  archive.tensors["x"] = input.x;
  archive.tensors["y"] = input.y;
  if (input.targets.defined()) archive.tensors["target"] = input.targets;
  archive.metadata = {{"attack", attack->repr()}, {"model", v.model}, {"command", command_line}};
  write_archive(v.output, archive);
  write_json(v.common.json, numbers, verb);
}

void add_flags(CLI::App& verb, AttackVerb& v) {
  verb.add_flag("--targeted", v.targeted, "reach the class in 'target' of the input");
  verb.add_option("--target", v.target, "targeted, at: next, all, random, least-likely, runner-up")
      ->check(one_of({"next", "all", "random", "least-likely", "runner-up"}));
  const char* steps = "For fgsm, fgm, bim, pgd";
  const char* single = "For fgsm, fgm";
  const char* loop = "For bim, pgd";
  const char* jsma = "For jsma";
  verb.add_option("--eps", v.eps,
                  "size of the perturbation, in pixels of [0,1] (fgsm, bim, pgd: 0.3; fgm: L2, 1)")
      ->check(not_negative())
      ->default_str("")
      ->group(steps);
  verb.add_option("--loss", v.loss, "what is differentiated: ce, ce-exact, margin, dlr")
      ->check(one_of({"ce", "ce-exact", "margin", "dlr"}))
      ->group(steps);
  verb.add_flag("--own-prediction", v.own_prediction, "loss of the model's prediction instead of the label's")
      ->group(single);
  verb.add_flag("--raw-gradient", v.raw_gradient, "x + eps * gradient, not normalised")->group("For fgm");
  verb.add_option("--norm", v.norm, "ball")->check(one_of({"linf", "l2"}))->group(loop);
  verb.add_option("--step", v.step, "step in pixels (0: 2.5 eps / iters)")
      ->check(not_negative())
      ->group(loop);
  verb.add_option("--iters", v.iters, "steps (bim 10, pgd 40)")
      ->check(integer_in(1, 1000000))
      ->default_str("")
      ->group(loop);
  verb.add_flag("--no-early-stop", v.no_early_stop, "all steps, and the last iterate")->group(loop);
  verb.add_option("--restarts", v.restarts, "random starts for rows that failed")
      ->check(integer_in(1, 10000))
      ->group("For pgd");
  verb.add_flag("--no-random-start", v.no_random_start, "start at the image")->group("For pgd");
  verb.add_option("--rule", v.rule, "features per step")->check(one_of({"pair", "single"}))->group(jsma);
  verb.add_option("--on", v.on, "outputs of the saliency map")
      ->check(one_of({"probs", "logits"}))
      ->group(jsma);
  verb.add_option("--theta", v.theta, "change of a feature, in [-1,1], not 0")
      ->check(number_in(-1, 1))
      ->group(jsma);
  verb.add_option("--gamma", v.gamma, "largest share of features changed")
      ->check(number_in(0, 1))
      ->group(jsma);
}

}  // namespace

void add_attack(CLI::App& app) {
  auto* verb = app.add_subcommand("attack", "Craft adversarial images and verify them");
  auto v = std::make_shared<AttackVerb>();
  verb->add_option("NAME", v->name, "attack")
      ->required()
      ->check(one_of({"fgsm", "fgm", "bim", "pgd", "jsma"}));
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--input", v->input, "safetensors file with x and y, instead of --data");
  verb->add_option("--output", v->output,
                   "safetensors file to write: x x_adv y success first_success l0 l1 l2 linf ...")
      ->required()
      ->check(output_file());
  add_flags(*verb, *v);
  add_data(*verb, v->data);
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
