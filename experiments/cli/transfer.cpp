// hashgrad transfer SOURCE TARGET: adversarial images crafted on one model, applied to the other, both ways.
#include "attacks/transfer.h"

#include <array>

#include "attacks/registry.h"
#include "attacks/target.h"
#include "experiments/cli/draws.h"
#include "experiments/cli/interrupt.h"
#include "experiments/cli/options.h"
#include "experiments/cli/rates.h"
#include "experiments/progress.h"
#include "experiments/report/table.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct TransferVerb {
  CommonFlags common;
  DataFlags data;
  DrawFlags draws;
  std::string source, target, input, rule;
  std::vector<std::string> attacks;
  bool one_way = false;
};

/// One line of the table.
struct Outcome {
  std::string attack, crafted_on, applied_to;
  Transfer transfer;
};

OracleOptions options_of(const TransferVerb& v) {
  return {.batch = v.common.batch, .draws = v.draws.of(v.common.seed)};
}

AttackInput input_of(const TransferVerb& v, const Model& source, const Dataset& data) {
  check(data.labelled(), "{}: holds no labels y, which an attack needs", data.name);
  AttackInput input{data.images_float(0, data.size(), source.dtype()), data.labels, {}, {}};
  input.samples = sample_numbers(v.data, data.size());
  if (v.rule == "all") return with_all_targets(input, source.classes());
  if (!v.rule.empty())
    input.targets =
        choose_targets(parse_target_rule(v.rule), Oracle::judge(source, options_of(v)).logits(input.x),
                       input.y, v.common.seed, input.samples);
  return input;
}

/// Adds two lines for each attack on each model.
void measure(const TransferVerb& v, const std::array<const Model*, 2>& models, const AttackInput& input,
             std::vector<Outcome>& lines) {
  constexpr std::array names = {"source", "target"};
  const int64_t ways = v.one_way ? 1 : 2;
  Progress progress("transfer", ways * static_cast<int64_t>(v.attacks.size()), v.common.quiet, "attacks");
  const MathScope math(v.common.arithmetic());  // judged in fp32 all the same
  OracleOptions options = options_of(v);
  options.stop = InterruptGuard::flag();
  int64_t done = 0;
  for (const std::string& spec : v.attacks) {
    const std::unique_ptr<Attack> attack = make_attack(spec, v.common.seed);
    for (size_t from = 0; from < static_cast<size_t>(ways); ++from) {
      const AttackResult crafted = attack->run(*models[from], input, options);
      for (const size_t to : {from, 1 - from})
        lines.push_back({spec, names[from], names[to], apply_to(*models[to], input, crafted, options)});
      progress.update(++done);
    }
  }
}

std::string cell(const Rate& rate) { return rate.trials == 0 ? "-" : report::percent(rate); }

void print(const std::vector<Outcome>& lines, bool targeted, int64_t per_image) {
  report::Table table{
      "transfer",
      "Success in %, with 95 % intervals",
      {"attack", "crafted on", "applied to", targeted ? "target" : "wrong", "right before", "transferred"},
      {},
      {}};
  for (const Outcome& line : lines)
    table.add({line.attack, line.crafted_on, line.applied_to, cell(line.transfer.reached),
               cell(line.transfer.rates.broken), cell(line.transfer.transferred)});
  table.note = fmt::format(
      "{} of all {}; right before: wrong now, of those that were right without attack; transferred: of what "
      "the attack broke on the model crafted on, and was not so on this one before{}",
      targeted ? "target: the prediction is the target," : "wrong: the prediction is not the label,",
      per_image > 1 ? "rows" : "images",
      per_image > 1 ? fmt::format("; {} rows of each image, which intervals count as one", per_image) : "");
  fmt::print("{}", report::to_text(table));
}

/// All lines. When a signal stops the run, those that are there by then are shown.
std::vector<Outcome> measure_or_show(const TransferVerb& v, const std::array<const Model*, 2>& models,
                                     const AttackInput& input) {
  std::vector<Outcome> lines;
  try {
    measure(v, models, input, lines);
  } catch (const Stopped&) {
    if (lines.empty()) throw Interrupted{"", "no attack was finished"};
    print(lines, input.targets.defined(), rows_per_image(input));
    throw Interrupted{"", fmt::format("the table shows what was finished, to {}, crafted on {}",
                                      lines.back().attack, lines.back().crafted_on)};
  }
  return lines;
}

void run(const TransferVerb& v, const CLI::App& verb) {
  const Model source = load_model(v.source).to(v.common.type()).to(v.common.where());
  const Model target = load_model(v.target).to(v.common.type()).to(v.common.where());
  const AttackInput input = input_of(v, source, load_input(v.input, v.data));
  validate(source, input, "source");
  validate(target, input, "target");
  const InterruptGuard guard;
  const std::vector<Outcome> lines = measure_or_show(v, {&source, &target}, input);
  print(lines, input.targets.defined(), rows_per_image(input));
  auto json = nlohmann::ordered_json::array();
  for (const Outcome& line : lines)
    json.push_back({{"attack", line.attack},
                    {"crafted_on", line.crafted_on},
                    {"applied_to", line.applied_to},
                    {"success", json_of(line.transfer.reached)},
                    {"wrong", json_of(line.transfer.rates.wrong)},
                    {"broken", json_of(line.transfer.rates.broken)},
                    {"changed", json_of(line.transfer.rates.changed)},
                    {"clean_wrong", json_of(line.transfer.rates.clean_wrong)},
                    {"transferred", json_of(line.transfer.transferred)}});
  write_json(v.common.json, {{"source", v.source}, {"target", v.target}, {"transfers", json}}, verb);
}

}  // namespace

void add_transfer(CLI::App& app) {
  auto* verb = app.add_subcommand("transfer", "Craft on one model, apply to another, both ways");
  auto v = std::make_shared<TransferVerb>();
  verb->add_option("SOURCE", v->source, "model file")->required();
  verb->add_option("TARGET", v->target, "model file")->required();
  verb->add_option("--attack", v->attacks, "NAME or NAME:SETTING=VALUE,... as in `attack`; may be repeated")
      ->required()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(parsed_by([](const std::string& spec) { make_attack(spec); }, "SPEC"));
  verb->add_flag("--one-way", v->one_way, "do not craft on TARGET");
  verb->add_option("--input", v->input, "safetensors file with x and y, instead of --data");
  verb->add_option("--target", v->rule,
                   "targeted, at: next, all, random, least-likely, runner-up (of SOURCE's logits)")
      ->check(one_of({"next", "all", "random", "least-likely", "runner-up"}));
  add_draws(*verb, v->draws);
  add_data(*verb, v->data);
  add_common(*verb, v->common);
  add_math(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
