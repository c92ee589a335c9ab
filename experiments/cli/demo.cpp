// hashgrad demo: the study of Liu et al. 2018 at a size that fits a coffee break, from training to report.
#include <chrono>

#include "core/file.h"
#include "core/parallel.h"
#include "datasets/registry.h"
#include "experiments/cli/options.h"
#include "experiments/liu2018/figures.h"
#include "experiments/progress.h"
#include "experiments/report/html.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct DemoVerb {
  study::StudyFlags flags{.common = {}, .output = "hashgrad-demo", .data_dir = {}};
  std::string data;
  int64_t train_images = 6000, epochs = 3, test_images = 600, attacked = 240, inhibited = 120;
  double lr = 0.05;
  bool full = false;
};

void take_full_size(DemoVerb& v) {
  v.train_images = 60000;
  v.epochs = 10;
  v.test_images = v.attacked = v.inhibited = 10000;
}

/// The paper's networks at 1/8 and 1/64, attacked as there.
liu2018::Setup setup_of(const DemoVerb& v) {
  liu2018::Setup setup = liu2018::mnist_setup(study::Scale::full);
  const bool mnist = dataset_available("mnist", {.data_dir = v.flags.data_dir, .resize = {}});
  setup.data = !v.data.empty() ? v.data : mnist ? "mnist" : "synthetic-digits";
  std::erase_if(setup.subjects, [](const auto& s) { return s.rate == 1.0 / 16 || s.rate == 1.0 / 32; });
  for (liu2018::Subject& subject : setup.subjects) subject.hashed_lr = 0.3;
  setup.training = {v.train_images, v.epochs, 64, v.lr, "sgd", "onecycle:0.3"};
  setup.layers = {"last:1"};
  setup.tested = v.test_images;
  setup.attacked = std::min(v.attacked, v.test_images);
  setup.inhibited = std::min(v.inhibited, v.test_images);
  if (v.full) return setup;
  setup.elements = {5, 10, 20, 40, 60, 80, 100};
  setup.taus = {0, 0.01, 0.1, 0.5, 2, 5};  // beyond the paper: brief training leaves small logits
  return setup;
}

study::Page page_of(liu2018::Experiment& experiment, bool full) {
  study::Page page = liu2018::empty_page();
  page.origin = described(experiment.setup(), "");
  page.origin.emplace_back("counting", liu2018::success_definition);
  if (!full)
    page.findings.push_back(
        "A demonstration: brief trainings, few images. The sentences below compare it with the paper's "
        "claims; they do not settle them. Brief training leaves small logits, so tau goes beyond the paper's "
        "0.1.");
  for (const auto make : {liu2018::clean_accuracy, liu2018::hfgsm, liu2018::hjsma, liu2018::gradients,
                          liu2018::inhibited_gradients, liu2018::inhibition})
    page.add(make(experiment));
  return page;
}

/// For further use: "hashnet-1-8.safetensors".
void save_networks(const liu2018::Setup& setup, study::Study& study) {
  for (const liu2018::Subject& s : setup.subjects) {
    const std::string stem = s.rate == 0 ? s.name : fmt::format("hashnet-1-{:g}", 1 / s.rate);
    save_model(study.folder() + "/" + stem + ".safetensors", study.network(s.name));
  }
}

void run(DemoVerb v, const CLI::App& verb) {
  if (!v.data.empty() && !has_test_split(v.data))
    usage("--data: {} has no test images besides those that are trained on", v.data);
  if (v.full) take_full_size(v);
  const auto start = std::chrono::steady_clock::now();
  report::prepare_folder(v.flags.output);
  study::Study study({.folder = v.flags.output, .quiet = v.flags.common.quiet});
  liu2018::Experiment experiment(setup_of(v), v.flags, study);
  const liu2018::Setup& setup = experiment.setup();
  page_of(experiment, v.full);  // declares the cells
  study.run(study::measured_flops_per_second(setup.subjects[0].spec(), v.flags.common));
  save_networks(setup, study);
  show(page_of(experiment, v.full), v.flags, study);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("took {} on {} threads, data: {}, seed {}\n", format_seconds(seconds), threads(), setup.data,
             v.flags.common.seed);
  const auto results = nlohmann::ordered_json::parse(read_file(v.flags.output + "/results.json"));
  write_json(v.flags.common.json,
             {{"seconds", seconds}, {"report", v.flags.output + "/report.html"}, {"results", results}}, verb);
}

}  // namespace

void add_demo(CLI::App& app) {
  auto* verb =
      app.add_subcommand("demo", "Train, compress, attack and defend in minutes, and write a report");
  auto v = std::make_shared<DemoVerb>();
  verb->add_option("--data", v->data,
                   std::string("mnist when found, else synthetic-digits; or any of ") + accepted_datasets);
  add_data_dir(*verb, v->flags.data_dir);
  verb->add_option("--output", v->flags.output, "folder of the report");
  CLI::Option* full = verb->add_flag(
      "--full", v->full, "60,000 training images, 10 epochs, 10,000 test images: hours, not minutes");
  const auto count = [&](const char* name, int64_t& value, const char* text) {
    verb->add_option(name, value, text)->check(integer_in(1, 1000000))->excludes(full)->group("Size");
  };
  count("--train-images", v->train_images, "training images");
  count("--epochs", v->epochs, "passes over them");
  count("--test-images", v->test_images, "test images for the accuracy");
  count("--attacked", v->attacked, "test images for HFGSM and HJSMA");
  count("--inhibited", v->inhibited, "test images for gradient inhibition");
  verb->add_option("--lr", v->lr, "peak learning rate")->check(positive())->group("Size");
  add_common(*verb, v->flags.common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
