// The same program on every device: tensors travel, and every op, model, training and attack computes on the
// emulator (and on a GPU, where there is one) what it computes on the CPU.
#include <cmath>
#include <doctest/doctest.h>
#include <map>

#include "attacks/fgsm.h"
#include "attacks/jsma.h"
#include "attacks/pgd.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/view.h"
#include "core/file.h"
#include "datasets/registry.h"
#include "nn/evaluate.h"
#include "nn/model_file.h"
#include "nn/train.h"
#include "tests/attack_models.h"
#include "tests/engines_testing.h"
#include "tests/ops_testing.h"

namespace hashgrad {
namespace {

std::vector<Tensor> moved(const std::vector<Tensor>& tensors, Device device) {
  std::vector<Tensor> result;
  for (const Tensor& t : tensors) result.push_back(t.to(device));
  return result;
}

/// Largest |a - b| / (largest |b|, at least 1), as one number for a whole op.
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

TEST_CASE("inputs of one op on two devices are an error that names both") {
  for (const Device device : other_devices()) {
    const Tensor here = Tensor::zeros({2, 3}), there = Tensor::zeros({2, 3}, DType::float32, device);
    CHECK_ERROR(here + there, "one input is on cpu, another on " + to_string(device));
    CHECK_ERROR(linear(there, here, Tensor::zeros({2})), "linear: one input is on");
    CHECK_ERROR(Model("1x2x3 flatten fc2").logits(there.reshape({1, 1, 2, 3})), "the model is on cpu");
  }
}

TEST_CASE("every op computes on every device what it computes on the CPU") {
  std::map<std::string, double> worst[2];
  for (const Device device : other_devices()) {
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
  }
  if (std::getenv("HASHGRAD_WRITE_DOCS") == nullptr || other_devices().empty()) return;
  std::string table =
      "# Parity\n\nLargest relative error of each op's values and gradients on the GPU engine (its kernels "
      "in the "
      "emulator,\nand on a GPU where the table was made on one) against the CPU, over all samples of the "
      "op's "
      "row.\nWritten by the tests when `HASHGRAD_WRITE_DOCS` is set.\n\n| op | float32 | float64 "
      "|\n|---|---:|---:|\n";
  for (const auto& [name, error] : worst[0])
    table += fmt::format("| `{}` | {:.0e} | {:.0e} |\n", name, error, worst[1][name]);
  write_file(HASHGRAD_SOURCE_DIR "/docs/parity.md", table);
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
      const std::string path = "/tmp/hashgrad-device-test.safetensors";
      save_model(path, there);
      CHECK(identical(load_model(path).logits(x), here.logits(x)));
      std::remove(path.c_str());
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

TEST_CASE("attacks on a device find what they find on the CPU") {
  for (const DType type : {DType::float32, DType::float64}) {
    const Model here = testing::small_net(type);
    const Tensor x = testing::images(5, {1, 6, 6}, type), y = testing::own_labels(here, x);
    Fgsm::Options fgsm;
    fgsm.eps = 0.1;
    Pgd::Options pgd;
    pgd.eps = 0.1;
    Jsma::Options jsma;
    for (const Device device : other_devices()) {
      const Model there = here.to(device);
      const AttackInput input{x, y, {}, {}};
      CHECK(testing::difference(input_gradient(there, x, y, "ce"), input_gradient(here, x, y, "ce")) < 1e-5);
      CHECK(testing::difference(jacobian(there, x, Outputs::probs), jacobian(here, x, Outputs::probs)) <
            1e-5);
      CHECK(testing::difference(Fgsm(fgsm).run(there, input).x_adv, Fgsm(fgsm).run(here, input).x_adv) <
            1e-6);
      CHECK(identical(Pgd(pgd).run(there, input).success, Pgd(pgd).run(here, input).success));
      CHECK(identical(Jsma(jsma).run(there, input).x_adv, Jsma(jsma).run(here, input).x_adv));
    }
  }
}

}  // namespace
}  // namespace hashgrad
