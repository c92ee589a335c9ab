// hashgrad demo: the study of Liu et al. 2018 at a size that fits a coffee break, from training to report.
#include <chrono>

#include "core/parallel.h"
#include "datasets/registry.h"
#include "experiments/cli/options.h"
#include "experiments/liu2018/report.h"
#include "experiments/progress.h"
#include "experiments/report/html.h"
#include "nn/model_file.h"
#include "nn/train.h"

namespace hashgrad::cli {
namespace {

struct DemoVerb {
  CommonFlags common;
  std::string data, data_dir, output = "hashgrad-demo";
  int64_t train_images = 6000, epochs = 3, test_images = 600, attacked = 240, inhibited = 120;
  double lr = 0.05;
  bool full = false;
};

const std::vector<std::string> rates = {"", "1/8", "1/64"};

void take_full_size(DemoVerb& v) {
  v.train_images = 60000;
  v.epochs = 10;
  v.test_images = v.attacked = v.inhibited = 10000;
}

Model trained(const DemoVerb& v, const std::string& rate, const Dataset& data) {
  ModelOptions model_options;
  model_options.dtype = v.common.type();
  model_options.seed = v.common.seed;
  model_options.hash.seed = v.common.seed;
  Model model = Model(liu2018::network_spec(rate), model_options).to(v.common.where());
  TrainOptions options;
  options.epochs = v.epochs;
  options.batch = 64;
  options.lr = v.lr;
  options.hashed_lr = 0.3;  // at 1/64 a bucket collects 64 gradients, and the full rate diverges
  options.schedule = Schedule("onecycle:0.3");
  options.seed = v.common.seed;
  Progress progress("train " + liu2018::network_name(model), v.epochs * data.size(), v.common.quiet);
  options.progress = [&](const TrainProgress& p) {
    progress.update(p.step * v.epochs * data.size() / p.steps,
                    fmt::format("loss {:.3f}  accuracy {:.1f} %", p.loss, 100 * p.accuracy));
  };
  train(model, data, options);
  return model;
}

std::string file_of(const DemoVerb& v, const std::string& rate) {
  return v.output + (rate.empty() ? "/uncompressed" : "/hashnet-1-" + rate.substr(2)) + ".safetensors";
}

void run(DemoVerb v, const CLI::App& verb) {
  if (v.full) take_full_size(v);
  const auto start = std::chrono::steady_clock::now();
  report::prepare_folder(v.output);
  DataOptions where;
  where.data_dir = v.data_dir;
  if (v.data.empty()) v.data = dataset_available("mnist", where) ? "mnist" : "synthetic-digits";
  where.first = v.train_images;
  const Dataset data = load_dataset(v.data, Split::train, where);
  where.first = v.test_images;
  const Dataset test = load_dataset(v.data, Split::test, where);

  liu2018::StudyOptions options;
  options.attacked = std::min(v.attacked, test.size());
  options.inhibited = std::min(v.inhibited, test.size());
  options.batch = v.common.batch;
  options.quiet = v.common.quiet;
  if (!v.full) {
    options.elements = {5, 10, 20, 40, 60, 80, 100};
    options.taus = {0, 0.01, 0.1, 0.5, 2, 5};  // beyond the paper: brief training leaves small logits
  }
  liu2018::Results results;
  std::vector<liu2018::Gallery> galleries;
  liu2018::Origin origin{command_line,
                         fmt::format("{}, first {} images of its test split", v.data, test.size()),
                         fmt::format("first {} images, {} epochs, batch 64, SGD with momentum 0.9, one cycle "
                                     "up to {} (times 0.3 for bucket values)",
                                     data.size(), v.epochs, v.lr),
                         v.common.seed,
                         {}};
  for (const std::string& rate : rates) {
    const Model model = trained(v, rate, data);
    origin.models.push_back(file_of(v, rate));
    save_model(origin.models.back(), model);
    results.push_back(measure(model, test, options));
    if (rate.empty()) galleries = liu2018::galleries(model, test, options);
  }

  for (const report::Table& table : liu2018::shown_tables(results)) fmt::print("{}\n", to_text(table));
  const std::string where_report = write_report(v.output, results, galleries, options, origin);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  fmt::print("{}\ntook {} on {} threads, data: {}, seed {}\n", where_report, format_seconds(seconds),
             threads(), origin.data, origin.seed);
  write_json(v.common.json, {{"seconds", seconds}, {"report", v.output + "/report.html"}}, verb);
}

}  // namespace

void add_demo(CLI::App& app) {
  auto* verb =
      app.add_subcommand("demo", "Train, compress, attack and defend in minutes, and write a report");
  auto v = std::make_shared<DemoVerb>();
  verb->add_option("--data", v->data,
                   std::string("mnist when found, else synthetic-digits; or any of ") + accepted_datasets);
  verb->add_option("--data-dir", v->data_dir,
                   "folder searched before $HASHGRAD_DATA and ~/.cache/hashgrad/data");
  verb->add_option("--output", v->output, "folder of the report");
  verb->add_flag("--full", v->full,
                 "60,000 training images, 10 epochs, 10,000 test images: hours, not minutes");
  const auto count = [&](const char* name, int64_t& value, const char* text) {
    verb->add_option(name, value, text)->check(integer_in(1, 1000000))->group("Size");
  };
  count("--train-images", v->train_images, "training images");
  count("--epochs", v->epochs, "passes over them");
  count("--test-images", v->test_images, "test images for the accuracy");
  count("--attacked", v->attacked, "test images for HFGSM and HJSMA");
  count("--inhibited", v->inhibited, "test images for gradient inhibition");
  verb->add_option("--lr", v->lr, "peak learning rate")->check(positive())->group("Size");
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
