// The tables of Liu et al., ASP-DAC 2018, for trained models:
//   liu2018 --models a2.safetensors hash8.safetensors hash64.safetensors --output experiments/results/liu2018
// Exit codes and errors are those of the hashgrad command.
#include "experiments/cli/program.h"
#include "experiments/liu2018/report.h"
#include "experiments/report/html.h"
#include "nn/model_file.h"

namespace hashgrad {
namespace {

struct Options {
  cli::CommonFlags common;
  cli::DataFlags data;
  liu2018::StudyOptions study;
  std::vector<std::string> models;
  std::string output;
};

void run(Options& options) {
  report::prepare_folder(options.output);
  if (!options.data.given()) options.data.data = "mnist";
  const Dataset test = cli::load(options.data);
  options.study.batch = options.common.batch;
  options.study.quiet = options.common.quiet;
  options.study.attacked = std::min(options.study.attacked, test.size());
  options.study.inhibited = std::min(options.study.inhibited, test.size());
  std::vector<Model> models;
  for (const std::string& file : options.models)
    models.push_back(load_model(file).to(options.common.type()).to(options.common.where()));

  liu2018::Results results;
  std::vector<liu2018::Gallery> galleries;
  for (const Model& model : models) {
    results.push_back(measure(model, test, options.study));
    const auto more = liu2018::galleries(model, test, options.study);
    galleries.insert(galleries.end(), more.begin(), more.end());
  }
  for (const report::Table& table : liu2018::shown_tables(results)) fmt::print("{}\n", to_text(table));
  const liu2018::Origin origin{cli::command_line,
                               fmt::format("{}, {} images", test.name, test.size()),
                               {},
                               options.common.seed,
                               options.models};
  fmt::print("{}\n", write_report(options.output, results, galleries, options.study, origin));
}

void declare(CLI::App& app, Options& options) {
  app.option_defaults()->always_capture_default();
  app.add_option("--models", options.models, "model files; the first is the uncompressed one")->required();
  app.add_option("--output", options.output, "folder of the results")->required();
  app.add_option("--eps", options.study.eps, "HFGSM, ascending")->check(cli::positive());
  app.add_option("--elements", options.study.elements, "HJSMA, ascending")
      ->check(cli::integer_in(1, 1000000));
  app.add_option("--taus", options.study.taus, "strengths of gradient inhibition")
      ->check(cli::not_negative());
  app.add_option("--layers", options.study.layers, "layers that inhibition changes: last:K or all");
  app.add_option("--attacked", options.study.attacked, "first N images for HFGSM and HJSMA")
      ->check(cli::integer_in(1, 1000000));
  app.add_option("--inhibited", options.study.inhibited, "first N images for inhibition")
      ->check(cli::integer_in(1, 1000000));
  cli::add_data(app, options.data);
  cli::add_common(app, options.common);
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) {
  CLI::App app("The tables of Liu et al., ASP-DAC 2018, for trained models.", "liu2018");
  hashgrad::Options options;
  hashgrad::declare(app, options);
  return hashgrad::cli::run_program(app, argc, argv, [&] { hashgrad::run(options); });
}
