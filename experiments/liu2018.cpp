// The figures of Liu et al., ASP-DAC 2018:
//   liu2018 --all --scale reduced --output experiments/results/liu2018
// Networks are trained, attacked and kept in the folder; an interrupted study goes on where it stopped. Exit
// codes and errors are those of the hashgrad command.
#include "experiments/cli/program.h"
#include "experiments/liu2018/figures.h"
#include "experiments/report/html.h"

namespace hashgrad {
namespace {

using liu2018::Experiment;

/// A figure by its names on the command line: its own, and that of the whole figure of which it is a half.
struct Entry {
  const char *name, *whole;
  bool colour;  ///< on CIFAR-10, not on MNIST
  study::Part (*make)(Experiment&);

  bool asked(const study::PaperFlags& flags) const { return flags.figure(name) || flags.figure(whole); }
};
constexpr Entry entries[] = {{"3", "3", false, liu2018::clean_accuracy},
                             {"4", "4", false, liu2018::hfgsm},
                             {"5", "5", false, liu2018::hjsma},
                             {"6", "6", false, liu2018::weights},
                             {"7", "7", false, liu2018::gradients},
                             {"8", "8", true, liu2018::inhibited_accuracy},
                             {"9", "9", false, liu2018::inhibited_gradients},
                             {"10a", "10", false, liu2018::inhibition},
                             {"10b", "10", true, liu2018::inhibition_in_colour}};

/// What was asked for. Data that none of it is about are not looked for.
class Figures {
 public:
  Figures(const study::PaperFlags& flags, study::Study& study) : flags_(flags) {
    if (asked(false)) mnist_.emplace(liu2018::mnist_setup(flags.size()), flags, study);
    if (asked(true)) cifar_.emplace(liu2018::cifar_setup(flags.size()), flags, study);
  }

  study::Page page() {
    study::Page page = liu2018::empty_page();
    for (const auto& [experiment, of] : {std::pair(&mnist_, "MNIST"), std::pair(&cifar_, "CIFAR-10")}) {
      if (!*experiment) continue;
      const auto lines = described((*experiment)->setup(), of);
      page.origin.insert(page.origin.end(), lines.begin(), lines.end());
    }
    page.origin.emplace_back("counting", liu2018::success_definition);
    for (const Entry& entry : entries)
      if (entry.asked(flags_)) page.add(entry.make(entry.colour ? *cifar_ : *mnist_));
    return page;
  }

 private:
  bool asked(bool colour) const {
    for (const Entry& entry : entries)
      if (entry.colour == colour && entry.asked(flags_)) return true;
    return false;
  }

  const study::PaperFlags& flags_;
  std::optional<Experiment> mnist_, cifar_;
};

void run(const study::PaperFlags& flags) {
  check_asked(flags);
  report::prepare_folder(flags.output);
  study::Study study(flags.study());
  Figures figures(flags, study);
  const Spec spec = liu2018::mnist_setup(flags.size()).subjects[0].spec();
  run_and_show(study, flags, study::measured_flops_per_second(spec, flags.common),
               [&] { return figures.page(); });
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) {
  CLI::App app(
      "The figures of Liu et al., ASP-DAC 2018: HashNets under attack, and gradient inhibition, on MNIST (3 "
      "to 7, 9, 10a) and CIFAR-10 (8, 10b).",
      "liu2018");
  hashgrad::study::PaperFlags flags;
  hashgrad::study::add_paper_flags(app, flags, {}, {"3", "4", "5", "6", "7", "8", "9", "10", "10a", "10b"});
  return hashgrad::cli::run_program(app, argc, argv, [&] { hashgrad::run(flags); });
}
