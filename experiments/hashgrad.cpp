// The `hashgrad` command: one verb per file in experiments/cli/. docs/cli.md is its contract.
#include <algorithm>
#include <fmt/ranges.h>

#include "experiments/cli/program.h"
#include "experiments/try_print.h"

namespace hashgrad::cli {
namespace {

void add_verbs(CLI::App& app) {
  add_demo(app);
  add_train(app);
  add_evaluate(app);
  add_predict(app);
  add_gradient(app);
  add_attack(app);
  add_substitute(app);
  add_transfer(app);
  add_compress(app);
  add_defend(app);
  add_report(app);
  add_materialise(app);
  add_info(app);
  add_models(app);
  add_bench(app);
}

/// Empty when the first word is a verb or a flag of the command itself, else what to say.
std::string wrong_verb(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands({})) names.push_back(verb->get_name());
  const std::string available = fmt::format("available: {}", fmt::join(names, ", "));
  if (argc < 2) return fmt::format("a verb is missing ({})", available);
  const std::string word = argv[1];
  if (word.starts_with('-') || std::find(names.begin(), names.end(), word) != names.end()) return {};
  return fmt::format("'{}' is not a verb of this build ({})", word, available);
}

}  // namespace
}  // namespace hashgrad::cli

int main(int argc, char** argv) {
  CLI::App app("Train, compress, attack, defend and honestly evaluate neural networks.", "hashgrad");
  app.option_defaults()->always_capture_default();
  app.set_version_flag("--version", "hashgrad " HASHGRAD_VERSION);
  app.footer(
      "`hashgrad VERB --help` lists a verb's flags, with units and defaults. docs/cli.md tells the rest.");
  hashgrad::cli::add_verbs(app);
  app.require_subcommand(0, 1);  // a second verb's name is one word too many
  if (const std::string fault = hashgrad::cli::wrong_verb(app, argc, argv); !fault.empty()) {
    hashgrad::try_print(stderr, "hashgrad: {}\n", fault);
    return 2;
  }
  static char help[] = "--help";
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "-h") argv[i] = help;  // `attack` has no flag -h
  return hashgrad::cli::run_program(app, argc, argv, [] {});
}
