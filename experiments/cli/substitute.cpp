// hashgrad substitute VICTIM: a model of one's own, trained on the victim's answers; `transfer` attacks with
// it.
#include "attacks/substitute.h"

#include "experiments/cli/finished.h"
#include "experiments/cli/interrupt.h"
#include "experiments/cli/options.h"
#include "experiments/cli/rates.h"
#include "experiments/try_print.h"
#include "nn/model_file.h"
#include "nn/models/zoo.h"

namespace hashgrad::cli {
namespace {

struct SubstituteVerb {
  CommonFlags common;
  DataFlags data;
  std::string victim, spec, output, resume;
  int64_t seeds = 150;
  SubstituteOptions options;
};

/// How often two models say the same.
Rate agreement(const Oracle& a, const Oracle& b, const Tensor& x) {
  const std::vector<int64_t> ours = a.predict(x), theirs = b.predict(x);
  Rate rate{0, x.size(0)};
  for (size_t i = 0; i < ours.size(); ++i) rate.hits += ours[i] == theirs[i];
  return rate;
}

/// What a run that goes on with a checkpoint must have in common with the one that left it.
RunSettings run_of(const SubstituteVerb& v, const Tensor& seeds) {
  const SubstituteOptions& o = v.options;
  RunSettings run = run_of(v.victim, {.x = seeds, .y = {}}, v.common, {});
  run["spec"] = v.spec;
  run["training"] = fmt::format("rounds {}, lambda {}, flip {}, epochs {}, lr {}, batch {}", o.rounds,
                                o.lambda, o.flip, o.training.epochs, o.training.lr, v.common.batch);
  return run;
}

/// Trains `substitute`, behind the rounds of a checkpoint if there is one. The number of labels asked for.
int64_t train_or_keep(SubstituteVerb& v, const Oracle& victim, Model& substitute, const Tensor& seeds,
                      FinishedRounds& done) try {
  if (!v.resume.empty()) v.options.finished = done.resume(v.resume, substitute);
  v.options.keep = [&](const SubstituteRounds& rounds) { done.keep(rounds, substitute); };
  return train_substitute(victim, substitute, seeds, v.options);
} catch (const Stopped&) {
  if (done.file().empty()) throw Interrupted{"", "no round was finished, start anew"};
  throw Interrupted{done.file()};
}

void run(SubstituteVerb& v, const CLI::App& verb) {
  const std::string checkpoint = v.output + ".checkpoint";
  check_outputs({{"--output", v.output}, {"--json", v.common.json}, {"OUTPUT.checkpoint", checkpoint}});
  if (v.resume.empty()) refuse_unfinished(checkpoint, "--resume " + checkpoint);
  const Model victim = load_model(v.victim).to(v.common.type()).to(v.common.where());
  Model substitute = Model(v.spec, {.dtype = v.common.type(), .seed = v.common.seed}).to(v.common.where());
  const Dataset data = load(v.data);
  check(v.seeds < data.size(), "--seeds: {} of {} images leaves none to measure agreement on", v.seeds,
        data.size());
  const Tensor x = data.images_float(0, data.size(), victim.dtype());
  const Tensor seeds = x.slice(0, 0, v.seeds).contiguous(),
               others = x.slice(0, v.seeds, data.size()).contiguous();

  v.options.training.batch = v.common.batch;
  v.options.training.seed = v.common.seed;
  v.options.training.stop = InterruptGuard::flag();
  if (!v.common.quiet)
    v.options.progress = [](int64_t round, int64_t images, int64_t agreed) {
      try_print(stderr, "round {}: {} images, {} labelled as the victim does\n", round, images, agreed);
    };
  const InterruptGuard guard;
  FinishedRounds done(checkpoint, run_of(v, seeds));
  const Oracle asked = Oracle::judge(victim, {.batch = v.common.batch, .draws = {.seed = v.common.seed}});
  const int64_t queries = asked.draws() * train_or_keep(v, asked, substitute, seeds, done);
  const Rate agreed = agreement(asked, Oracle(substitute, {.batch = v.common.batch}), others);
  substitute.metadata["substitute.victim"] = v.victim;
  substitute.metadata["substitute.queries"] = std::to_string(queries);
  save_model(v.output, substitute.to(Device{}));
  done.remove_checkpoint();
  fmt::print("{}: {} queries; agrees with the victim on {:.2f} % [{:.2f}, {:.2f}] of {} other images\n",
             v.output, queries, 100 * agreed.value(), 100 * agreed.interval().low,
             100 * agreed.interval().high, agreed.trials);
  write_json(v.common.json, {{"model", v.output}, {"queries", queries}, {"agreement", json_of(agreed)}},
             verb);
}

}  // namespace

void add_substitute(CLI::App& app) {
  auto* verb =
      app.add_subcommand("substitute", "Train a model on the answers of another (Papernot et al., 2017)");
  auto v = std::make_shared<SubstituteVerb>();
  verb->add_option("VICTIM", v->victim, "model file, asked for labels only")->required();
  verb->add_option("--spec", v->spec, "network of the substitute: spec or name")
      ->required()
      ->check(parsed_by([](const std::string& text) { static_cast<void>(spec_of(text)); }, "SPEC"));
  verb->add_option("--output", v->output, "file of the substitute")->required()->check(output_file());
  verb->add_option(
      "--resume", v->resume,
      "go on behind the rounds in this checkpoint, OUTPUT.checkpoint of a run that was interrupted; "
      "same bits");
  verb->add_option("--seeds", v->seeds,
                   "images to begin with, the first of the data; the others measure agreement")
      ->check(integer_in(1, 1'000'000));
  verb->add_option("--rounds", v->options.rounds, "trainings; the images double before each but the first")
      ->check(integer_in(1, 20));
  verb->add_option("--lambda", v->options.lambda, "step from an image to a new one, pixels")
      ->check(positive());
  verb->add_option("--flip", v->options.flip, "rounds until the step changes its direction (0: never)")
      ->check(integer_in(0, 100));
  verb->add_option("--epochs", v->options.training.epochs, "of each training")
      ->check(integer_in(1, 1'000'000));
  verb->add_option("--lr", v->options.training.lr, "of Adam")->check(positive());
  add_data(*verb, v->data);
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
