// Training steps that a device records once and runs again: the same bits as steps issued one by one.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <doctest/doctest.h>

#include "compression/dns.h"
#include "compression/fixed_point.h"
#include "compression/prune.h"
#include "core/archive.h"
#include "core/random.h"
#include "nn/train.h"
#include "tests/engines_testing.h"
#include "tests/error_of.h"
#include "tests/train_testing.h"

namespace hashgrad {
namespace {

using testing::TempDir;

constexpr int64_t steps_per_epoch = 4;  // three batches of 4 and one of 2

Dataset tiny_set() {
  Dataset data;
  data.name = "tiny";
  data.classes = 3;
  data.images = Tensor::empty({14, 1, 6, 6});
  data.labels = Tensor::empty({14}, DType::int64);
  Random random(1, Stream::test);
  for (int64_t i = 0; i < data.images.numel(); ++i) data.images.data<float>()[i] = random.uniform();
  for (int64_t i = 0; i < 14; ++i) data.labels.data<int64_t>()[i] = i % 3;
  return data;
}

/// Looks at the device after every step, as the CPU does.
TrainOptions tiny_options() {
  TrainOptions options{.epochs = 3, .batch = 4, .lr = 0.02, .seed = 3};
  options.schedule = Schedule("cosine");
  options.report_seconds = 0;
  return options;
}

struct Case {
  const char* spec;
  const char* optimizer;
  ModelOptions model{.seed = 5};
  double label_smoothing = 0;
  Augmentation augmentation{};
  double ema = 0;
  Math math = Math::fp32;
};

const Case cases[] = {
    {"1x6x6 norm(0.5;0.25) conv3k3p1 bn relu maxpool2 dropout0.25 flatten fc3",
     "sgd:nesterov,weight_decay=1e-3",
     {},
     0.1,
     {1, true},
     0.9},
    {"1x6x6 flatten fc16@1/8 relu dropout0.5 fc3", "adam", {.hash = {.bias = true}}},
    {"1x6x6 conv4k3p1@1/4 relu maxpool2 flatten fc3@1/8",
     "rmsprop:momentum=0.5,weight_decay=0.01,weights_only"},
    {"1x6x6 flatten fc8@1/4 bn relu fc3 softmax", "rmsprop", {.hash = {.mode = HashMode::xxhash}}},
    {"1x6x6 conv2k3 relu avgpool2 flatten fc3", "sgd:momentum=0", {.dtype = DType::float64}, 0, {2, false}},
    {"1x6x6 conv4k3p1 relu maxpool2 flatten fc8 relu fc3", "sgd", {}, 0, {}, 0, Math::bf16},
};

Model trained(const Case& c, Device device, TrainOptions options) {
  options.optimizer = parse_optimizer(c.optimizer);
  options.label_smoothing = c.label_smoothing;
  options.augmentation = c.augmentation;
  options.ema = c.ema;
  options.math = c.math;
  Model model = Model(c.spec, c.model).to(device);
  train(model, tiny_set(), options);
  return model;
}

/// Whether two checkpoints hold the same weights, optimiser state, position, sums and log; the times differ.
bool same_run(const std::string& one, const std::string& other) {
  const Archive a = read_archive(one), b = read_archive(other);
  if (a.tensors.size() != b.tensors.size()) return false;
  for (const auto& [name, tensor] : a.tensors) {
    const Tensor& twin = b.tensors.at(name);
    const bool same = name == "train.log"    ? true
                      : name == "train.sums" ? identical(tensor.slice(0, 0, 3), twin.slice(0, 0, 3))
                                             : identical(tensor, twin);
    if (!same) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("training by graphs gives the bits of training step by step") {
  const TempDir folder;
  for (const Device device : other_devices())
    for (const Case& c : cases) {
      CAPTURE(c.spec);
      TrainOptions graphs = tiny_options(), steps = tiny_options();
      graphs.checkpoint = folder / "graphs.safetensors";
      graphs.log_csv = folder / "graphs.csv";
      graphs.report_seconds = 1e9;  // nor does it matter when the device is waited for
      steps.checkpoint = folder / "steps.safetensors";
      steps.log_csv = folder / "steps.csv";
      steps.graph = false;
      const Model a = trained(c, device, graphs), b = trained(c, device, steps);
      CHECK(testing::same_bits(a, b));
      CHECK(same_run(graphs.checkpoint, steps.checkpoint));
      CHECK(testing::timeless_log(graphs.log_csv) == testing::timeless_log(steps.log_csv));
      CHECK_FALSE(testing::same_bits(a, Model(c.spec, c.model)));
    }
}

TEST_CASE(
    "graphs keep a compressed model pruned and in fixed point, with the bits of training step by step") {
  for (const Device device : other_devices()) {
    Model start = compress_prune(Model(cases[0].spec, cases[0].model), {.value = 0.5});
    declare_fixed_point(start, {.format = {8, 2}});
    TrainOptions options = tiny_options();
    Model graphs = start.to(device), steps = start.to(device);
    train(graphs, tiny_set(), options);
    options.graph = false;
    train(steps, tiny_set(), options);
    CHECK(testing::same_bits(graphs, steps));
    const std::vector<float> before = start.state().at("7.weight").to_vector<float>();
    const std::vector<float> after = graphs.state().at("7.weight").to_vector<float>();
    for (size_t i = 0; i < before.size(); ++i)
      if (before[i] == 0) CHECK(after[i] == 0);
    CHECK_FALSE(before == after);
  }
}

TEST_CASE("graphs follow masks that change, with the bits of training step by step") {
  for (const Device device : other_devices())
    for (const bool learn : {true, false}) {
      const auto done = [&](Device where, bool graph) {
        Model model(cases[1].spec, cases[1].model);
        TrainOptions options = tiny_options();
        options.graph = graph;
        options.hashed_gradient = HashedGradient::mean;
        prepare_surgery(model, {.value = 0.4, .pruned_learn = learn, .gamma = 0.3}, options);
        model = model.to(where);
        train(model, tiny_set(), options);
        return model;
      };
      const Model graphs = done(device, true), steps = done(device, false);
      CHECK(testing::same_bits(graphs, steps));
      const std::vector<float> w = graphs.state().at("4.weight").to_vector<float>();
      CHECK(std::ssize(w) - std::count(w.begin(), w.end(), 0.0f) == std::llround(0.4 * 48));
    }
}

TEST_CASE("training by graphs follows training on the CPU, augmentation and counts of batches included") {
  for (const Device device : other_devices()) {
    const Model here = trained(cases[0], {}, tiny_options()),
                there = trained(cases[0], device, tiny_options());
    for (const auto& [name, tensor] : here.state()) {
      CAPTURE(name);
      const std::vector<double>
          x = tensor.to(DType::float64).to_vector<double>(),
          y = there.state().at(name).to(Device{}).to(DType::float64).to_vector<double>();
      for (size_t i = 0; i < x.size(); ++i) CHECK(std::abs(x[i] - y[i]) < 1e-4);
    }
    CHECK(there.state().at("2.num_batches_tracked").item() == 3 * steps_per_epoch);
  }
}

TEST_CASE("a graph's memory is in the account while it lasts") {
  for (const Device device : other_devices()) {
    const auto most_live = [&](bool graph) {
      const int64_t before = memory_count(device).live;
      int64_t most = 0;
      TrainOptions options = tiny_options();
      options.graph = graph;
      options.progress = [&](const TrainProgress&) {
        most = std::max(most, memory_count(device).live - before);
      };
      trained(cases[0], device, options);
      CHECK(memory_count(device).live == before);
      return most;
    };
    CHECK(most_live(true) > most_live(false));
  }
}

TEST_CASE(
    "a run by graphs that was killed or stopped within an epoch resumes to the bits of an unbroken one") {
  struct Killed {};
  const TempDir folder;
  for (const Device device : other_devices()) {
    const Model whole = trained(cases[0], device, tiny_options());
    TrainOptions killed = tiny_options();
    killed.checkpoint = folder / "run.safetensors";
    killed.checkpoint_steps = 2;
    killed.progress = [](const TrainProgress& p) {
      if (p.step == 7) throw Killed{};
    };
    CHECK_THROWS_AS(trained(cases[0], device, killed), Killed);
    TrainOptions stopped = tiny_options();
    std::atomic<bool> stop = false;
    stopped.checkpoint = stopped.resume = killed.checkpoint;
    stopped.stop = &stop;
    std::vector<int64_t> seen;
    stopped.progress = [&](const TrainProgress& p) {
      seen.push_back(p.step);
      stop = p.step >= 9;
    };
    trained(cases[0], device, stopped);
    CHECK(seen == std::vector<int64_t>{7, 8, 9});
    TrainOptions last = tiny_options();
    last.resume = killed.checkpoint;
    CHECK(testing::same_bits(trained(cases[0], device, last), whole));
  }
}

// The learning rate is 0 in the first step, and in the second one so large that weights become some 1e37:
// finite, and so is what a checkpoint after that step holds, but the logits of the third step are not.
TEST_CASE("a loss that is not finite is found late and named exactly; the checkpoint before it stays") {
  const TempDir folder;
  for (const Device device : all_devices())
    for (const int64_t checkpoint_steps : {0, 1, 2}) {
      CAPTURE(to_string(device));
      CAPTURE(checkpoint_steps);
      TrainOptions options = tiny_options();
      options.lr = 1.8e39;
      options.schedule = Schedule("triangular:0.5");
      options.report_seconds = 1e9;
      options.checkpoint = folder / "run.safetensors";
      options.checkpoint_steps = checkpoint_steps;
      Model model = Model("1x6x6 flatten fc3").to(device);
      CHECK_ERROR(train(model, tiny_set(), options),
                  " at step 3 of epoch 1; a smaller learning rate may help (the "
                  "checkpoint " +
                      options.checkpoint + " is kept)");
      const std::vector<int64_t> counts =
          read_archive(options.checkpoint).tensors.at("train.counts").to_vector<int64_t>();
      CHECK(counts[2] == (checkpoint_steps == 0 ? 0 : 2));
    }
}

TEST_CASE("loss and accuracy of an epoch are those of its samples, each counted once") {
  for (const Device device : all_devices()) {
    TrainOptions options = tiny_options();
    options.lr = 1e-9;  // the model hardly moves
    Model model = Model("1x6x6 flatten fc3", {.seed = 2}).to(device);
    const TrainResult result = train(model, tiny_set(), options);
    const Score after = evaluate(model, tiny_set());
    CHECK(result.loss == doctest::Approx(after.loss).epsilon(1e-5));
    CHECK(result.accuracy == after.accuracy);
    CHECK(result.steps == 3 * steps_per_epoch);
  }
}

TEST_CASE("labels are looked at before the first step") {
  Dataset data = tiny_set();
  data.labels.data<int64_t>()[11] = 3;
  Model model("1x6x6 flatten fc3");
  CHECK_ERROR(train(model, data, tiny_options()), "tiny: the label of sample 11 is 3, not in [0,3)");
}

}  // namespace hashgrad
