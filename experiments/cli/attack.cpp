// hashgrad attack NAME MODEL: crafts adversarial images and counts what they achieve.
#include "attacks/attack.h"

#include <algorithm>
#include <fmt/ranges.h>
#include <map>
#include <numeric>
#include <optional>

#include "attacks/growing.h"
#include "attacks/registry.h"
#include "attacks/statistics.h"
#include "attacks/target.h"
#include "core/archive.h"
#include "datasets/tensor_file.h"
#include "experiments/cli/draws.h"
#include "experiments/cli/finished.h"
#include "experiments/cli/interrupt.h"
#include "experiments/cli/options.h"
#include "experiments/cli/rates.h"
#include "experiments/progress.h"
#include "nn/fixed_weights.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct AttackVerb {
  CommonFlags common;
  DataFlags data;
  DrawFlags draws;
  std::string name, model, surrogate, input, output, resume;
  bool targeted = false, bpda = false;
  std::vector<double> budgets;  // none: one attack under its own budget
  std::string target;
  std::map<std::string, std::string> settings;  // of any attack, as given
  std::map<std::string, bool> flags;
};

/// With the settings given; one that the attack does not have, or out of its range, is bad usage.
std::unique_ptr<Attack> attack_of(const AttackVerb& v, const CLI::App& verb) try {
  std::map<std::string, std::string> given;
  for (const auto& [name, text] : v.settings)
    if (verb.count("--" + name) > 0) given[name] = text;
  for (const auto& [name, set] : v.flags)
    if (set) given[name] = "";
  if (!v.budgets.empty())
    return std::make_unique<Growing>(attack_info(v.name), given, v.budgets, v.common.seed);
  return make_attack(attack_info(v.name), given, v.common.seed);
} catch (const Error& error) {
  usage("{}", error.what());
}

/// The tensor `target` of an input file, cut like the images were.
Tensor targets_of_file(const AttackVerb& v) {
  if (v.input.empty()) usage("--targeted: needs --input with a tensor 'target', or --target RULE");
  if (!v.data.indices.empty()) usage("--targeted: 'target' of the input cannot be combined with --indices");
  const Archive archive = read_archive(v.input);
  const Tensor& target = archive.at("target", v.input);
  check(target.dtype() == DType::int64 && target.rank() == 1, "{}: target is {} {}, expected int64 [N]",
        v.input, name_of(target.dtype()), target.shape());
  const int64_t images = archive.at("x", v.input).size(0);
  check(target.size(0) == images, "{}: target has {} rows, x {}", v.input, target.size(0), images);
  const int64_t n = target.size(0), begin = std::min(v.data.skip, n);
  const int64_t end = v.data.first > 0 ? std::min(begin + v.data.first, n) : n;
  return target.slice(0, begin, end).contiguous();
}

AttackInput input_of(const AttackVerb& v, const Oracle& judge, const Dataset& data) {
  const Model& model = judge.model();
  AttackInput input{data.images_float(0, data.size(), model.dtype()), data.labels, {}, {}};
  input.samples = sample_numbers(v.data, data.size());
  if (v.target == "all") return with_all_targets(input, model.classes());
  if (!v.target.empty()) {
    const TargetRule rule = parse_target_rule(v.target);
    input.targets = choose_targets(rule, judge.logits(input.x), input.y, v.common.seed, input.samples);
  } else if (v.targeted) {
    input.targets = targets_of_file(v);
  }
  return input;
}

/// Of this attack: what a run that goes on with a checkpoint must have in common with the one that left it.
RunSettings run_of(const AttackVerb& v, const Attack& attack, const AttackInput& input) {
  RunSettings run = run_of(v.model, input, v.common, v.draws.of(v.common.seed));
  run["attack"] = attack.repr();
  run["surrogate"] = v.surrogate.empty() ? "none" : digest_of_file(v.surrogate);
  run["bpda"] = v.bpda ? "true" : "false";
  return run;
}

/// Runs the attack in pieces, so that progress shows and an interruption loses no more than one; rows do not
/// depend on each other.
void run_pieces(FinishedRows& done, const Attack& attack, const Model& model, OracleOptions options,
                const AttackInput& input, const CommonFlags& common) {
  const int64_t n = input.x.size(0), piece = common.batch;
  Progress progress(attack.repr(), n, common.quiet);
  const FixedWeights fixed({&model, options.surrogate});
  options.stop = InterruptGuard::flag();
  while (done.count() < n) {
    progress.update(done.count());
    std::vector<int64_t> rows(static_cast<size_t>(std::min(piece, n - done.count())));
    std::iota(rows.begin(), rows.end(), done.count());
    done.add(attack.run(model, gather(input, rows), options));
  }
  progress.update(n);
}

/// The same from a checkpoint on, if there is one, and to a checkpoint if it is interrupted.
void run_or_keep(const AttackVerb& v, FinishedRows& done, const Attack& attack, const Model& model,
                 const OracleOptions& options, const AttackInput& input) try {
  if (!v.resume.empty()) done.resume(v.resume);
  const MathScope scope(v.common.arithmetic());  // of the attack's own passes; what it made is judged in fp32
  run_pieces(done, attack, model, options, input, v.common);
} catch (const Stopped&) {
  if (done.count() == 0) throw Interrupted{"", "none of the images was finished, start anew"};
  done.save();
  throw Interrupted{done.checkpoint()};
}

/// Writes the result. Where that fails the checkpoint keeps what was found, if it can be written.
void write_or_keep(const std::string& output, const Archive& archive, FinishedRows& done) try {
  write_archive(output, archive);
} catch (const Error& error) {
  try {
    done.save();
  } catch (const Error&) {
    throw error;  // the disk is full, most likely
  }
  fail("{} (the checkpoint {} is kept)", error.what(), done.checkpoint());
}

void print_rate(const char* what, const Rate& rate) {
  const Interval interval = rate.interval();
  fmt::print("  {:<46} {:6.2f} % [{:.2f}, {:.2f}]  {} of {}\n", what, 100 * rate.value(), 100 * interval.low,
             100 * interval.high, rate.hits, rate.trials);
}

int64_t total(const Tensor& counts) {
  const std::vector<int64_t> values = counts.to_vector<int64_t>();
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

/// Rows whose prediction has changed under this or a smaller budget, as A-ALG1 counts.
nlohmann::ordered_json growth(const std::vector<double>& budgets, int64_t per_image,
                              const std::map<std::string, Tensor>& made) {
  const std::vector<int64_t> tried = made.at("first_success").to_vector<int64_t>();
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (size_t b = 0; b < budgets.size(); ++b) {
    Rate reached{0, static_cast<int64_t>(tried.size()), per_image};
    for (const int64_t t : tried) reached.hits += t >= 0 && t <= static_cast<int64_t>(b) + 1;
    print_rate(fmt::format("success under budgets up to {:g}", budgets[b]).c_str(), reached);
    rows.push_back({{"budget", budgets[b]}, {"success", json_of(reached)}});
  }
  return rows;
}

nlohmann::ordered_json report(const Attack& attack, const Oracle& judge, const AttackInput& input,
                              const Tensor& labels, const std::map<std::string, Tensor>& made,
                              double seconds) {
  const Tensor& success = made.at("success");
  const int64_t per_image = rows_per_image(input);
  Rate reached{0, success.size(0), per_image};
  for (int64_t n = 0; n < reached.trials; ++n) reached.hits += success.data<uint8_t>()[n];
  const SuccessRates rates = success_rates(labels.to_vector<int64_t>(), judge.predict(input.x),
                                           judge.predict(made.at("x_adv")), per_image);
  std::map<std::string, int64_t> endings;
  for (int64_t status : made.at("status").to_vector<int64_t>())
    ++endings[name_of(static_cast<Status>(status))];

  fmt::print("{}\n", attack.repr());
  if (per_image > 1) fmt::print("  {} rows of each image, which intervals count as one\n", per_image);
  if (input.targets.defined()) print_rate("success: prediction = target", reached);
  print_rate("prediction != label, of all", rates.wrong);
  print_rate("prediction != label, of those right before", rates.broken);
  print_rate("prediction != clean prediction", rates.changed);
  print_rate("clean error", rates.clean_wrong);
  nlohmann::ordered_json medians;
  std::vector<std::string> shown;
  for (const char* norm : {"l0", "l1", "l2", "linf"}) {
    const auto median = median_of_successes(made.at(norm), success, made.at("status"));
    medians[norm] = median ? nlohmann::ordered_json(*median) : nullptr;
    shown.push_back(fmt::format("{} {}", norm, median ? fmt::format("{:.4g}", *median) : "-"));
  }
  fmt::print("  median of the successes that were right before: {}\n  status:", fmt::join(shown, ", "));
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
          {"status", endings},
          {"seconds", seconds},
          {"forwards", total(made.at("forwards"))},
          {"backwards", total(made.at("backwards"))}};
}

void run(const AttackVerb& v, const CLI::App& verb) {
  const std::string checkpoint = v.output + ".checkpoint";
  check_outputs({{"--output", v.output}, {"--json", v.common.json}, {"OUTPUT.checkpoint", checkpoint}});
  v.common.arithmetic();  // before any work
  const std::unique_ptr<Attack> attack = attack_of(v, verb);
  if (v.resume.empty()) refuse_unfinished(checkpoint, "--resume " + checkpoint);
  const Model model = load_model(v.model).to(v.common.type()).to(v.common.where());
  const Dataset data = load_input(v.input, v.data);
  check(data.labelled(), "{}: holds no labels y, which an attack needs", data.name);
  const Oracle judge = Oracle::judge(model, {.batch = v.common.batch, .draws = v.draws.of(v.common.seed)});
  AttackInput input = input_of(v, judge, data);
  const Tensor labels = input.y;
  if (!v.budgets.empty() && !input.targets.defined())
    input.y = Tensor::of(judge.predict(input.x), labels.shape());
  validate(model, input, v.name);

  std::optional<Model> surrogate;
  if (!v.surrogate.empty()) surrogate = load_model(v.surrogate).to(v.common.type()).to(v.common.where());

  OracleOptions options = judge.options();  // with the draws made so far
  options.surrogate = surrogate ? &*surrogate : nullptr;
  options.stand_ins = v.bpda;
  const InterruptGuard guard;
  FinishedRows done(input.x, checkpoint, run_of(v, *attack, input));
  run_or_keep(v, done, *attack, model, options, input);
  Archive archive;
  archive.tensors = done.tensors();
  auto numbers = report(*attack, judge, input, labels, archive.tensors, done.seconds());
  if (!v.budgets.empty()) numbers["growth"] = growth(v.budgets, rows_per_image(input), archive.tensors);
  archive.tensors["x"] = input.x;
  archive.tensors["y"] = input.y;
  if (input.targets.defined()) archive.tensors["target"] = input.targets;
  archive.metadata = {{"attack", attack->repr()}, {"model", v.model}, {"command", command_line}};
  if (surrogate) archive.metadata["surrogate"] = v.surrogate;
  if (v.bpda) archive.metadata["bpda"] = "true";
  write_or_keep(v.output, archive, done);
  write_json(v.common.json, numbers, verb);
  done.remove_checkpoint();
}

/// "steps (bim 10, pgd 40)": what a setting of this name means, and its default, in the attacks that have it;
/// one after the other where it does not mean the same.
std::string help_of(const std::string& setting) {
  std::vector<std::pair<std::string, std::string>> meanings;  // each with its owners
  for (const AttackInfo& info : all_attacks())
    for (const AttackSetting& s : info.settings) {
      if (s.name != setting) continue;
      const std::string meaning =
          s.words.empty() ? s.help : fmt::format("{}: {}", s.help, fmt::join(s.words, ", "));
      const std::string owner = s.fallback.empty() ? info.name : info.name + " " + s.fallback;
      const auto same =
          std::find_if(meanings.begin(), meanings.end(), [&](const auto& m) { return m.first == meaning; });
      if (same == meanings.end())
        meanings.emplace_back(meaning, owner);
      else
        same->second += ", " + owner;
    }
  std::string help;
  for (const auto& [meaning, owners] : meanings)
    help += fmt::format("{}{} ({})", help.empty() ? "" : "; ", meaning, owners);
  return help;
}

/// A flag of the command for a setting; those of the same name share it.
void add_setting(CLI::App& verb, const AttackSetting& setting, AttackVerb& v) {
  const bool is_flag = setting.kind == AttackSetting::Kind::flag;
  if (v.settings.contains(setting.name) || v.flags.contains(setting.name)) return;
  const std::string help = help_of(setting.name);
  CLI::Option* option = is_flag ? verb.add_flag("--" + setting.name, v.flags[setting.name], help)
                                : verb.add_option("--" + setting.name, v.settings[setting.name], help);
  option->default_str("")->group("Of single attacks");
}

void add_flags(CLI::App& verb, AttackVerb& v) {
  verb.add_option(
      "--surrogate", v.surrogate,
      "model file: differentiate this one, and judge by MODEL, for parts without a useful gradient (BPDA)");
  verb.add_flag("--bpda", v.bpda,
                "differentiate past the model's input transforms as if they were the identity (BPDA)");
  verb.add_flag("--targeted", v.targeted, "reach the class in 'target' of the input");
  verb.add_option("--target", v.target, "targeted, at: next, all, random, least-likely, runner-up")
      ->check(one_of({"next", "all", "random", "least-likely", "runner-up"}));
  verb.add_option(
          "--grow", v.budgets,
          "0.1,0.2,...: values of eps (jsma, gamma: share of the features) in turn, until the model's own "
          "clean prediction, not the label, has changed (A-ALG1 of Liu et al. 2018)")
      ->delimiter(',')
      ->allow_extra_args(false)  // or it would take NAME and MODEL behind it
      ->check(positive());
  for (const AttackInfo& info : all_attacks())
    for (const AttackSetting& setting : info.settings) add_setting(verb, setting, v);
}

std::string names_of_attacks() {
  std::vector<std::string> names;
  for (const AttackInfo& info : all_attacks()) names.push_back(info.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

void add_attack(CLI::App& app) {
  auto* verb = app.add_subcommand("attack", "Craft adversarial images and verify them");
  auto v = std::make_shared<AttackVerb>();
  verb->set_help_flag("--help", "Print this help message and exit");  // a flag -h would be zoo's --h to CLI11
  verb->add_option("NAME", v->name, "attack: " + names_of_attacks())
      ->required()
      ->check(parsed_by([](const std::string& name) { attack_info(name); }, "NAME"));
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option("--input", v->input, "safetensors file with x and y, instead of --data");
  verb->add_option("--output", v->output,
                   "safetensors file to write: x x_adv y success first_success l0 l1 l2 linf ...")
      ->required()
      ->check(output_file());
  verb->add_option("--resume", v->resume,
                   "go on with this checkpoint, OUTPUT.checkpoint of a run that was interrupted; same bits");
  add_flags(*verb, *v);
  add_draws(*verb, v->draws);
  add_data(*verb, v->data);
  add_common(*verb, v->common);
  add_math(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
