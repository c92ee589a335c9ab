// The tables of Wang et al., GlobalSIP 2018, on MNIST and on CIFAR-10:
//   wang2018 --all --scale reduced --output experiments/results/wang2018
//   wang2018 --all --data cifar10 --scale reduced --output experiments/results/wang2018-cifar10
// Exit codes and errors are those of the hashgrad command.
#include <optional>

#include "experiments/cli/program.h"
#include "experiments/report/html.h"
#include "experiments/wang2018/tables.h"

namespace hashgrad {
namespace {

struct Options {
  study::PaperFlags paper;
  std::string network, data;  // empty: those of the scale
  std::optional<double> eps;
};

wang2018::Setup setup_of(const Options& options) {
  wang2018::Setup setup = wang2018::setup_of(options.paper.size(), options.data);
  if (!options.network.empty()) setup.network = options.network;
  if (options.eps) setup.eps = *options.eps;
  return setup;
}

void run(Options& options) {
  check_asked(options.paper);
  if (options.paper.common.dtype != "float32")
    cli::usage("--dtype: this study is about float32; its tables have columns of float64");
  report::prepare_folder(options.paper.output);
  study::Study study(options.paper.study());
  wang2018::Experiment experiment(setup_of(options), options.paper, study);
  run_and_show(study, options.paper,
               study::measured_flops_per_second(experiment.spec(), options.paper.common),
               [&] { return page_of(experiment, options.paper); });
}

void declare_flags(CLI::App& app, Options& options) {
  add_paper_flags(app, options.paper, {"results", "adaptive"}, {"strength"});
  app.add_option("--network", options.network,
                 "spec or name; wang2018-mnist or wang2018-cifar, and small ones at --scale smoke");
  app.add_option(
      "--data", options.data,
      "cifar10: the paper's other half; mnist, and synthetic-digits at --scale smoke; or any data of "
      "`hashgrad`");
  app.add_option("--eps", options.eps,
                 "M2's logits augmentation: weights of the last layer times 1 + eps; 20, and 10 for cifar10")
      ->check(cli::not_negative());
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) {
  CLI::App app("The tables of Wang et al., GlobalSIP 2018: pruning and logits augmentation as a defence.",
               "wang2018");
  hashgrad::Options options;
  hashgrad::declare_flags(app, options);
  return hashgrad::cli::run_program(app, argc, argv, [&] { hashgrad::run(options); });
}
