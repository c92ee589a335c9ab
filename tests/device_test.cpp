// The same program on every device: tensors travel, and every op, model, training and attack computes on the
// emulator (and on a GPU, where there is one) what it computes on the CPU.
#include <array>
#include <cmath>
#include <doctest/doctest.h>
#include <fmt/ranges.h>
#include <map>
#include <memory>
#include <sstream>

#include "attacks/fgm.h"
#include "attacks/fgsm.h"
#include "attacks/grow.h"
#include "attacks/jsma.h"
#include "attacks/pgd.h"
#include "attacks/statistics.h"
#include "attacks/target.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/view.h"
#include "core/archive.h"
#include "core/file.h"
#include "cuda/pipeline.h"
#include "datasets/registry.h"
#include "nn/evaluate.h"
#include "nn/model_file.h"
#include "nn/train.h"
#include "tests/attack_models.h"
#include "tests/documents.h"
#include "tests/engines_testing.h"
#include "tests/ops_testing.h"
#include "tests/temp_dir.h"
#if HASHGRAD_WITH_EMULATOR
#include "cuda/emulator/runtime_api.h"
#endif

namespace hashgrad {
namespace {

std::vector<Tensor> moved(const std::vector<Tensor>& tensors, Device device) {
  std::vector<Tensor> result;
  for (const Tensor& t : tensors) result.push_back(t.to(device));
  return result;
}

/// Largest |a - b| / max(1, |b|), as one number for a whole op.
double relative_error(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i)
    worst = std::max(worst, testing::difference(a[i], b[i]));
  return worst;
}

TEST_CASE("tensors travel between devices, views and conversions included") {
  for (const Device device : other_devices()) {
    const Tensor x = testing::random_tensor({3, 17, 2}, 1);
    const Tensor there = x.to(device);
    CHECK(there.device() == device);
    CHECK(identical(there, x));
    CHECK(identical(there.to(Device{}), x));
    CHECK(identical(there.transpose(0, 2), x.transpose(0, 2)));
    CHECK(identical(there.slice(1, 3, 9), x.slice(1, 3, 9)));
    CHECK(identical(there.permute({2, 0, 1}).contiguous(), x.permute({2, 0, 1})));
    CHECK(identical(there.slice(0, 1, 2).expand({4, 17, 2}).clone(), x.slice(0, 1, 2).expand({4, 17, 2})));
    CHECK(identical(there.to(DType::float64), x.to(DType::float64)));
    Tensor part = Tensor::zeros({3, 17, 2}, DType::float32, device);
    part.slice(1, 4, 8).copy_from(x.slice(1, 4, 8));  // from the CPU into a view over there
    CHECK(part.slice(1, 4, 8).to_vector<float>() == x.slice(1, 4, 8).to_vector<float>());
    CHECK(part.slice(1, 0, 4).to_vector<float>() == std::vector<float>(3 * 4 * 2, 0));
    CHECK(Tensor::full({}, 2.5, DType::float64, device).item() == 2.5);
    CHECK(Tensor::full({3}, 7, DType::int64, device).to_vector<int64_t>() == std::vector<int64_t>{7, 7, 7});
    CHECK(Tensor::empty({0, 3}, DType::float32, device).to_vector<float>().empty());
  }
}

TEST_CASE("tensors on a device are written to files like those on the CPU") {
  const testing::TempDir folder;
  const std::string path = folder / "tensors";
  for (const Device device : other_devices()) {
    const Tensor x = testing::random_tensor({3, 17, 2}, 1);
    write_archive(path, {{{"x", x.to(device)}, {"view", x.to(device).slice(1, 3, 9)}}, {}});
    const Archive archive = read_archive(path);
    CHECK(identical(archive.at("x", path), x));
    CHECK(identical(archive.at("view", path), x.slice(1, 3, 9)));
  }
}

TEST_CASE("memory of a device is counted, and freed with its last owner") {
  for (const Device device : other_devices()) {
    const int64_t before = memory_count(device).live;
    {
      const Tensor t = Tensor::zeros({1 << 20}, DType::float32, device);
      CHECK(memory_count(device).live >= before + (4 << 20));
    }
    CHECK(memory_count(device).live == before);
  }
}

TEST_CASE("waiting for a device is a wait of its engine") {
  memory_of(Device{}).synchronize();
  for (const Device device : other_devices()) {
    std::unique_ptr<Pipeline> pipeline;
    HASHGRAD_ON(device, make_pipeline(pipeline));
    memory_of(device).synchronize();
    CHECK_ERROR(pipeline->record([&] { memory_of(device).synchronize(); }),
                "synchronize cannot be part of a graph");
  }
}

TEST_CASE("inputs of one op on two devices are an error that names both") {
  for (const Device device : other_devices()) {
    const Tensor here = Tensor::zeros({2, 3}), there = Tensor::zeros({2, 3}, DType::float32, device);
    CHECK_ERROR(here + there, "one input is on cpu, another on " + to_string(device));
    CHECK_ERROR(linear(there, here, Tensor::zeros({2})), "linear: one input is on");
    CHECK_ERROR(Model("1x2x3 flatten fc2").logits(there.reshape({1, 1, 2, 3})), "the model is on cpu");
  }
}

/// docs/parity.md: for every op the largest error in each of four columns: emulated in float32 and float64,
/// then CUDA.
class ParityTable {
 public:
  /// The cells as the document has them.
  ParityTable() {
    std::istringstream lines(testing::document(path));
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("| `")) continue;
      const std::vector<std::string> cells = split(line);
      if (cells.size() != 1 + columns) continue;
      const std::string op = cells[0].substr(1, cells[0].size() - 2);  // without its backticks
      std::copy(cells.begin() + 1, cells.end(), written_[op].begin());
    }
  }

  /// Keeps the cell if it holds for `error` and is not much too large: instruction sets differ in the last
  /// bits, and the document should not change with each.
  void add(const std::string& op, Device device, DType type, double error) {
    const bool on_gpu = device.kind == Device::Kind::cuda;
    const size_t column = (on_gpu ? 2 : 0) + (type == DType::float64 ? 1 : 0);
    std::string& cell = cells_.try_emplace(op, previous(op)).first->second[column];
    if (on_gpu && cell == not_measured && std::getenv("HASHGRAD_WRITE_DOCS") == nullptr) return;
    const double epsilon = type == DType::float32 ? 0x1p-23 : 0x1p-52, fresh = bound(error / epsilon);
    const double stated = cell == not_measured ? -1 : std::stod(cell);
    const bool written_anew = std::getenv("HASHGRAD_WRITE_DOCS") != nullptr && stated < error / epsilon;
    if (written_anew || std::max(stated, 8.0) < error / epsilon || stated > 4 * std::max(fresh, 64.0))
      cell = fmt::format("{:g}", fresh);
  }

  void check() const {
    std::string text = R"(# Parity

How far the values and the gradients of each op on another engine are from those on the CPU: a bound on the largest
|there - here| / max(1, |here|), element by element, over all samples of the op's row in `all_ops()`. So the error is relative
to the CPU's number where that is above 1 in size, and absolute below.

The unit is the distance from 1 to the next number: 1.2e-7 in float32, 2.2e-16 in float64. A bound is a power of two, 8 at
least, with a factor of eight to spare, because instruction sets of the CPU differ in the last bits; 0 means the
same bits where the table was written, and holds to 8 elsewhere. Sums run in another
order on a GPU, and its exponentials are another library's.

`HASHGRAD_WRITE_DOCS=1 build/tests/hashgrad_tests -tc='every op computes on every device*'` measures the engines of that machine
and leaves the other columns as they are. Without the variable the test fails when a bound does not hold.

| op | emulated, float32 | emulated, float64 | CUDA, float32 | CUDA, float64 |
|---|---:|---:|---:|---:|
)";
    for (const auto& [op, row] : cells_) text += fmt::format("| `{}` | {} |\n", op, fmt::join(row, " | "));
    testing::check_document(path, text);
  }

 private:
  static constexpr size_t columns = 4;
  static constexpr const char* path = "docs/parity.md";
  static constexpr const char* not_measured = "not measured";
  using Row = std::array<std::string, columns>;

  static std::vector<std::string> split(const std::string& line) {
    std::vector<std::string> cells;
    for (size_t at = 2, end; (end = line.find(" |", at)) != std::string::npos; at = end + 3)
      cells.push_back(line.substr(at, end - at));
    return cells;
  }

  static double bound(double units) {
    double power = units == 0 ? 0 : 8;
    while (power < 8 * units) power *= 2;
    return power;
  }

  Row previous(const std::string& op) const {
    const auto found = written_.find(op);
    if (found != written_.end()) return found->second;
    Row row;
    row.fill(not_measured);
    return row;
  }

  std::map<std::string, Row> written_, cells_;
};

TEST_CASE("every op computes on every device what it computes on the CPU") {
  ParityTable table;
  for (const Device device : other_devices()) {
    std::map<std::string, double> worst[2];
    testing::for_each_sample([&](const OpInfo& op, const std::vector<Shape>& shapes) {
      INFO("on ", to_string(device));
      for (const DType type : {DType::float32, DType::float64}) {
        const std::vector<Tensor> inputs = sample_inputs(shapes, op.domain, 1, type);
        const std::vector<Tensor> here = testing::results(op, inputs);
        const std::vector<Tensor> there = testing::results(op, moved(inputs, device));
        for (const Tensor& t : there) CHECK(t.device() == device);
        const double error = relative_error(there, here);
        // Sums run in another order over there, and exp is another library's: a few units in the last place.
        CHECK(error <= (type == DType::float32 ? 4e-6 : 1e-14));
        double& own = worst[type == DType::float64][op.name];
        own = std::max(own, error);
      }
    });
    for (const DType type : {DType::float32, DType::float64})
      for (const auto& [op, error] : worst[type == DType::float64]) table.add(op, device, type, error);
  }
  if (!other_devices().empty()) table.check();
}

TEST_CASE("every op writes every element of its results on every device, the same bits each time") {
  for (const Device device : other_devices()) {
    testing::for_each_sample([&](const OpInfo& op, const std::vector<Shape>& shapes) {
      const std::vector<Tensor> inputs = moved(sample_inputs(shapes, op.domain, 1, DType::float32), device);
      const std::vector<Tensor> clean = testing::results(op, inputs);
      const bool was = poison_new_memory(true);
      const std::vector<Tensor> poisoned = testing::results(op, inputs);
      poison_new_memory(was);
      REQUIRE(clean.size() == poisoned.size());
      for (size_t i = 0; i < clean.size(); ++i) CHECK(identical(clean[i], poisoned[i]));
    });
  }
}

TEST_CASE("stacked cotangents on a device are the single ones, one behind the other") {
  for (const Device device : other_devices()) {
    testing::for_each_sample([&](const OpInfo& op, const std::vector<Shape>& shapes) {
      if (!op.no_gradient.empty()) return;
      const std::vector<Variable> x =
          testing::leaves(moved(sample_inputs(shapes, op.domain, 1, DType::float32), device));
      const Variable y = op.call(x);
      const Tensor dy = sample_inputs({y.shape().with(0, 3)}, OpInfo::Domain::real, 5, y.dtype())[0];
      const std::vector<Tensor> all = vjp(y, x, dy, true);
      for (int64_t k = 0; k < 3; ++k) {
        const std::vector<Tensor> one = vjp(y, x, dy.slice(0, k, k + 1), true);
        for (size_t i = 0; i < x.size(); ++i)
          CHECK(testing::difference(all[i].slice(0, k, k + 1), one[i]) < 4e-6);
      }
    });
  }
}

TEST_CASE("a model on a device agrees with itself on the CPU, and comes back unchanged") {
  const char* specs[] = {"1x6x6 norm(0.5;0.25) conv4k3p1 bn relu maxpool2 flatten fc17 relu fc5",
                         "1x6x6 conv4k3p1@1/2 relu maxpool2 flatten fc17@1/4 relu dropout0.5 fc5 softmax"};
  for (const Device device : other_devices())
    for (const char* spec : specs) {
      CAPTURE(spec);
      const Model here(spec, {.seed = 3});
      const Model there = here.to(device);
      CHECK(there.device() == device);
      const Tensor x = testing::images(7, {1, 6, 6});
      CHECK(testing::difference(there.logits(x.to(device)), here.logits(x)) < 1e-5);
      const Model back = there.to(Device{});
      for (const auto& [name, tensor] : here.state()) CHECK(identical(back.state().at(name), tensor));
      const testing::TempDir folder;
      save_model(folder / "model", there);
      CHECK(identical(load_model(folder / "model").logits(x), here.logits(x)));
    }
}

TEST_CASE("training on a device follows training on the CPU, and repeats its own bits") {
  DataOptions few;
  few.first = 60;
  const Dataset data = load_dataset("synthetic-digits", Split::train, few);
  TrainOptions options;
  options.batch = 20;
  options.lr = 0.05;
  const auto trained = [&](Device device) {
    Model model =
        Model("1x28x28 conv2k5s3 bn relu flatten fc12@1/4 relu dropout0.25 fc10", {.seed = 1}).to(device);
    train(model, data, options);
    return model.to(Device{});
  };
  const Model here = trained({});
  for (const Device device : other_devices()) {
    const Model there = trained(device), again = trained(device);
    for (const auto& [name, tensor] : here.state()) {
      CAPTURE(name);
      CHECK(testing::difference(there.state().at(name), tensor) < 1e-4);
      CHECK(identical(there.state().at(name), again.state().at(name)));
    }
    CHECK(evaluate(there.to(device), data).correct == evaluate(there, data).correct);
  }
}

/// Attacks of each kind, by name.
std::vector<std::unique_ptr<Attack>> some_attacks() {
  std::vector<std::unique_ptr<Attack>> attacks;
  attacks.push_back(std::make_unique<Fgsm>(Fgsm::Options{.eps = 0.1}));
  attacks.push_back(std::make_unique<Fgm>(Fgm::Options{.eps = 0.5, .loss = "dlr", .own_prediction = true}));
  attacks.push_back(std::make_unique<Fgm>(Fgm::Options{.eps = 0.5, .normalise = false}));
  attacks.push_back(std::make_unique<Pgd>(Pgd::Options{.eps = 0.1, .iters = 5, .restarts = 2}));
  attacks.push_back(
      std::make_unique<Pgd>(Pgd::Options{.norm = Norm::l2, .eps = 0.4, .iters = 5, .loss = "ce-exact"}));
  attacks.push_back(
      std::make_unique<Pgd>(Pgd::Options{.eps = 0.1, .iters = 3, .early_stop = false, .loss = "margin"}));
  attacks.push_back(std::make_unique<Jsma>(Jsma::Options{}));
  attacks.push_back(std::make_unique<Jsma>(Jsma::Options{.rule = Jsma::Rule::single, .on = Outputs::logits}));
  return attacks;
}

TEST_CASE("every attack runs against a model on every device") {
  const Model here = testing::small_net();
  const Tensor x = testing::images(4, {1, 6, 6}), y = testing::own_labels(here, x);
  for (const Device device : other_devices())
    for (const AttackInfo& info : all_attacks()) {
      CAPTURE(info.name);
      const auto attack = make_attack(info.name + ":" + info.samples[0]);
      const AttackResult there = attack->run(here.to(device), {x, y, {}, {}}),
                         own = attack->run(here, {x, y, {}, {}});
      CHECK(there.x_adv.device() == Device{});
      CHECK(there.success.to_vector<uint8_t>() == own.success.to_vector<uint8_t>());
    }
}

TEST_CASE("attacks on a device find what they find on the CPU, wherever the images come from") {
  for (const DType type : {DType::float32, DType::float64}) {
    const Model here = testing::small_net(type);
    const Tensor x = testing::images(5, {1, 6, 6}, type), y = testing::own_labels(here, x);
    for (const Device device : other_devices()) {
      const Model there = here.to(device);
      CHECK(input_gradient(there, x, y, "ce").device() == Device{});  // where x is
      CHECK(input_gradient(there, x.to(device), y, "ce").device() == device);
      CHECK(testing::difference(input_gradient(there, x, y, "ce"), input_gradient(here, x, y, "ce")) < 1e-5);
      CHECK(testing::difference(jacobian(there, x, Outputs::probs), jacobian(here, x, Outputs::probs)) <
            1e-5);
      for (const auto& attack : some_attacks()) {
        CAPTURE(attack->repr());
        const AttackResult wanted = attack->run(here, {x, y, {}, {}});
        const AttackResult got = attack->run(there, {x, y, {}, {}});
        CHECK(got.x_adv.device() == Device{});
        CHECK(testing::difference(got.x_adv, wanted.x_adv) < (type == DType::float32 ? 1e-5 : 1e-12));
        CHECK(identical(got.success, wanted.success));
        CHECK(identical(got.first_success, wanted.first_success));
        CHECK(identical(got.status, wanted.status));
        CHECK(identical(got.forwards, wanted.forwards));
        CHECK(identical(attack->run(there, {x.to(device), y.to(device), {}, {}}).x_adv, got.x_adv));
      }
      const Tensor start = random_start(x, {Norm::l2, 0.5}, 9, {4, 5, 6, 7, 8}, 1);
      CHECK(identical(random_start(x.to(device), {Norm::l2, 0.5}, 9, {4, 5, 6, 7, 8}, 1), start));
    }
  }
}

TEST_CASE("a row attacked on a device does not depend on neighbours, order or batch size") {
  const int64_t n = 5;
  const Model here = testing::small_net();
  const Tensor x = testing::images(n, here.input_shape());
  AttackInput input{x, testing::own_labels(here, x), {}, {}};
  input.y.data<int64_t>()[3] = (input.y.data<int64_t>()[3] + 1) % 5;  // one is wrong from the start
  for (int64_t i = 0; i < n; ++i) input.samples.push_back(100 + i);
  for (const Device device : other_devices()) {
    const Model model = here.to(device);
    for (const auto& attack : some_attacks()) {
      CAPTURE(attack->repr());
      const AttackResult whole = attack->run(model, input), parts = attack->run(model, input, {.batch = 2});
      const AttackResult backwards = attack->run(model, gather(input, {4, 3, 2, 1, 0}));
      for (int64_t i = 0; i < n; ++i) {
        CHECK(testing::same_row(whole, i, parts, i));
        CHECK(testing::same_row(whole, i, backwards, n - 1 - i));
      }
      CHECK(testing::same_row(whole, 2, attack->run(model, gather(input, {2})), 0));
    }
  }
}

TEST_CASE("growing budgets and counting gradients work on a device as on the CPU") {
  const Model here = testing::small_net(DType::float64);
  const Tensor x = testing::images(5, here.input_shape(), DType::float64);
  const GrowOptions eps{.budgets = {0.05, 0.2, 0.8}, .batch = 2}, features{.budgets = {1, 4, 16}, .batch = 2};
  for (const Device device : other_devices()) {
    const Model there = here.to(device);
    CHECK(grow_fgsm(there, x, "ce", eps).predictions == grow_fgsm(here, x, "ce", eps).predictions);
    CHECK(grow_jsma(there, x, Outputs::probs, features).predictions ==
          grow_jsma(here, x, Outputs::probs, features).predictions);
    CHECK(identical(fgsm_images(there, x, "ce", 0.1), fgsm_images(here, x, "ce", 0.1)));
    CHECK(identical(jsma_images(there, x.to(device), Outputs::probs, 4),
                    jsma_images(here, x, Outputs::probs, 4)));
    CHECK(gradient_histogram(input_gradient(there, x, {}, "ce")).counts ==
          gradient_histogram(input_gradient(here, x, {}, "ce")).counts);
    const Tensor scores = Oracle(there).logits(x);
    CHECK(
        identical(choose_targets(TargetRule::runner_up, scores, testing::own_labels(here, x)),
                  choose_targets(TargetRule::runner_up, scores.to(Device{}), testing::own_labels(here, x))));
  }
}

#if HASHGRAD_WITH_EMULATOR
TEST_CASE("pgd waits for its device once per step") {
  const Model here = testing::small_net(), model = here.to(Device{Device::Kind::emu});
  const Tensor x = testing::images(5, here.input_shape());
  const AttackInput input{x, testing::own_labels(here, x), {}, {}};
  for (const Norm norm : {Norm::linf, Norm::l2})
    for (const char* loss : {"ce", "dlr"}) {
      const auto waits = [&](int64_t iters) {
        const int64_t before = emulator::waits();
        Pgd({.norm = norm, .eps = 1e-3, .iters = iters, .early_stop = false, .loss = loss}).run(model, input);
        return emulator::waits() - before;
      };
      const int64_t few = waits(2);
      CHECK(waits(12) == few + 10);
    }
}
#endif

}  // namespace
}  // namespace hashgrad
