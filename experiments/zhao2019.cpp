// The figures of Zhao et al., "To compress or not to compress", SysML 2019:
//   zhao2019 --all --scale reduced --output experiments/results/zhao2019
//   zhao2019 --all --data cifar10 --scale reduced --output experiments/results/zhao2019-cifar10
// Exit codes and errors are those of the hashgrad command.
#include "experiments/cli/program.h"
#include "experiments/report/html.h"
#include "experiments/zhao2019/tables.h"

namespace hashgrad {
namespace {

struct Options {
  study::PaperFlags paper;
  std::string network, data;  // empty: those of the scale
  std::string gradients = "kept", settings = "text", ball = "prev";
};

zhao2019::Setup setup_of(const Options& options) {
  zhao2019::Setup setup = zhao2019::setup_of(options.paper.size(), options.data);
  if (!options.network.empty()) setup.network = options.network;
  setup.gradients = options.gradients;
  setup.attack_settings = options.settings;
  setup.ball = options.ball;
  return setup;
}

void run(Options& options) {
  check_asked(options.paper);
  report::prepare_folder(options.paper.output);
  study::Study study(options.paper.study());
  zhao2019::Experiment experiment(setup_of(options), options.paper, study);
  run_and_show(study, options.paper,
               study::measured_flops_per_second(experiment.spec(), options.paper.common),
               [&] { return page_of(experiment, options.paper); });
}

void declare_flags(CLI::App& app, Options& options) {
  add_paper_flags(app, options.paper, {"adaptive"}, {"2", "3", "4", "5", "6"});
  app.add_option("--network", options.network,
                 "spec or name; lenet5 or cifarnet, and small ones at --scale smoke");
  app.add_option("--data", options.data,
                 "cifar10: that of CifarNet; mnist, and synthetic-digits at --scale smoke; or any data of "
                 "`hashgrad`");
  app.add_option("--gradients", options.gradients,
                 "of dynamic surgery go to the weights kept (Mayo), or to all of them (Guo)")
      ->check(cli::one_of({"kept", "all"}));
  app.add_option("--attack-settings", options.settings,
                 "text: eps 0.02 and 12 iterations; published: IFGM 10 and 5, DeepFool 0.01 and 5; with "
                 "cifar10 IFGM as in the text, DeepFool 0.01 and 3")
      ->check(cli::one_of({"text", "published"}));
  app.add_option("--ball", options.ball, "IFGSM and IFGM clip around the previous iterate, or the image")
      ->check(cli::one_of({"prev", "origin"}));
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) {
  CLI::App app("The figures of Zhao et al., SysML 2019: attacks between a network and its compressed forms.",
               "zhao2019");
  hashgrad::Options options;
  hashgrad::declare_flags(app, options);
  return hashgrad::cli::run_program(app, argc, argv, [&] { hashgrad::run(options); });
}
