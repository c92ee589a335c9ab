// Networks that branch: what they compute, what they keep in memory, and everything that walks through them.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/registry.h"
#include "autograd/gradcheck.h"
#include "autograd/ops/batch_norm.h"
#include "autograd/ops/conv2d.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/pool2d.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/view.h"
#include "compression/fixed_point.h"
#include "compression/hash.h"
#include "compression/kmeans.h"
#include "compression/prune.h"
#include "compression/size_report.h"
#include "defenses/gradient_inhibition.h"
#include "defenses/logits_augmentation.h"
#include "nn/materialise.h"
#include "nn/model_file.h"
#include "nn/models/zoo.h"
#include "nn/train.h"
#include "tests/attack_models.h"
#include "tests/branch_models.h"
#include "tests/engines_testing.h"

namespace hashgrad {
namespace {

using testing::branching_net;

/// branching_net() written out, one op per line.
Variable by_hand(Model& m, const Variable& x) {
  const auto p = [&](const char* name) { return Variable(m.parameter(name).value()); };
  const auto state = m.state();
  const auto bn = [&](const Variable& v, const std::string& name) {
    const auto per_channel = [&](const char* part) {
      const Tensor t = state.at(name + part);
      return Variable(t.reshape({t.size(0), 1, 1}));
    };
    return (v - per_channel(".running_mean")) / sqrt(per_channel(".running_var") + 1e-5) *
               per_channel(".weight") +
           per_channel(".bias");
  };
  const Variable a = relu(bn(conv2d(x, p("stem.weight"), {}, {1, 1}), "stem_bn"));
  const Variable inner = relu(conv2d(a, p("block.conv1.weight"), p("block.conv1.bias"), {1, 1}));
  const Variable b = bn(conv2d(inner, p("6.weight"), {}, {2, 1}), "7");
  const Variable c = relu(conv2d(a, p("block.project.weight"), {}, {2, 0}) + b);
  const Variable wide = pad(c, {{0, 0}, {0, 0}, {0, 0}, {1, 1}});
  const Variable d = relu(conv2d(wide, p("14.weight"), p("14.bias")));
  const Variable f = concat(std::vector<Variable>{c, d, max_pool2d(c, {3, 1, 1})}, 1);
  const Variable h = relu(linear(flatten(relu(f) + f), p("fc.0.weight"), p("fc.0.bias")));
  return linear(h, p("fc.2.weight"), p("fc.2.bias"));
}

/// Moves the running statistics away from where they start.
void train_once(Model& model) {
  const Tensor x = testing::images(8, model.input_shape(), model.dtype(), 5);
  static_cast<void>(model.logits(Variable(x), {.training = true}));
}

double largest_difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> u = a.to(DType::float64).to_vector<double>(),
                            v = b.to(DType::float64).to_vector<double>();
  REQUIRE(u.size() == v.size());
  double most = 0;
  for (size_t i = 0; i < u.size(); ++i) most = std::max(most, std::abs(u[i] - v[i]));
  return most;
}

TEST_CASE("branches: a network computes, and differentiates, what its tokens say") {
  Model model = branching_net(DType::float64);
  train_once(model);
  const Tensor x = testing::images(3, {1, 6, 6}, DType::float64);
  const Variable one = Variable::leaf(x), other = Variable::leaf(x);
  const Variable y = model.logits(one), expected = by_hand(model, other);
  CHECK(largest_difference(y.value(), expected.value()) < 1e-12);
  CHECK(identical(y.value(), model.logits(x)));
  sum(square(y)).backward();
  sum(square(expected)).backward();
  CHECK(largest_difference(one.grad(), other.grad()) < 1e-12);
  const std::vector<double> g = one.grad().to_vector<double>();
  CHECK(std::count(g.begin(), g.end(), 0.0) < 10);
}

TEST_CASE("branches: gradients are those of finite differences, and of every class at once") {
  const Model model = branching_net(DType::float64);
  const auto f = [&](const std::vector<Variable>& in) { return model.logits(in[0]); };
  const GradcheckResult result = gradcheck(f, {testing::images(2, {1, 6, 6}, DType::float64)});
  INFO(result.message);
  CHECK(result.ok);
}

TEST_CASE("branches: fused layers, rows, threads and batches change no bit") {
  const Model model = branching_net();
  const Tensor x = testing::images(17, {1, 6, 6}), all = model.logits(x);
  CHECK(identical(model.forward(x, {}, 0, model.spec().layers.size(), false), all));
  for (const int64_t row : {0, 8, 16})
    CHECK(identical(model.logits(x.slice(0, row, row + 1).contiguous()),
                    all.slice(0, row, row + 1).contiguous()));
}

TEST_CASE("branches: a pass over a part of the layers stops at a value that both sides need") {
  const Model model("1x4x4 conv2k3p1 =a relu conv2k3p1 +a relu flatten fc3");
  const Tensor x = testing::images(2, {1, 4, 4});
  const Tensor middle = model.forward(x, {}, 0, 5);  // a's last use is layer 4
  CHECK(identical(model.forward(middle, {}, 5, 8), model.logits(x)));
  CHECK(identical(model.forward(model.forward(x, {}, 0, 1), {}, 1, 8), model.logits(x)));
  const std::string why = "in front of layer 3: the value 'a' is named by layer 1 and used by layer 4";
  CHECK_ERROR(model.forward(x, {}, 0, 3), why);
  CHECK_ERROR(model.forward(middle, {}, 3, 8), why);
  for (const size_t cut : {2u, 3u, 4u})
    CHECK_ERROR(model.forward(x, {}, 0, cut), "a pass cannot begin or end");
}

TEST_CASE("branches: a named value is let go after its last use") {
  // Without the labels every value would be one of 1 MiB; a chain of such sums holds three at a time.
  for (const char* sum : {" =v{0} relu relu +v{0}", " =v{0} relu bn +v{0} relu"}) {
    std::string spec = "4x256x256";
    for (int i = 0; i < 8; ++i) spec += fmt::format(fmt::runtime(sum), i);
    const Model model(spec + " gap flatten");
    const Tensor x = testing::images(1, model.input_shape());
    const int64_t before = memory_count().live, one = x.numel() * 4;
    reset_peak_memory();
    static_cast<void>(model.logits(x));
    CHECK(memory_count().peak - before < 5 * one);
  }
}

TEST_CASE("standardise: each image has mean 0 and deviation 1, one of a single colour becomes 0") {
  const Model model("3x5x4 standardise flatten fc2", {.dtype = DType::float64});
  Tensor x = testing::images(3, {3, 5, 4}, DType::float64);
  for (int64_t i = 0; i < 60; ++i) x.data<double>()[60 + i] = 0.25;  // one colour
  for (int64_t i = 0; i < 60; ++i)
    x.data<double>()[120 + i] = 0.5 + (i % 2 == 0 ? 0 : 1e-3);  // below the floor
  const std::vector<double> y = model.forward(x, {}, 0, 1).to_vector<double>();
  double mean = 0, square = 0;
  for (size_t i = 0; i < 60; ++i) mean += y[i] / 60, square += y[i] * y[i] / 60;
  CHECK(mean == doctest::Approx(0).epsilon(1e-12));
  CHECK(square == doctest::Approx(1));
  for (size_t i = 60; i < 120; ++i) CHECK(y[i] == 0);
  CHECK(y[121] == doctest::Approx(5e-4 * std::sqrt(60.0)));  // (0.501 - 0.5005) / (1 / sqrt(60))
  const auto f = [&](const std::vector<Variable>& in) { return model.logits(in[0]); };
  const GradcheckResult result = gradcheck(f, {x});
  INFO(result.message);
  CHECK(result.ok);
}

TEST_CASE("scale multiplies, bn takes its own eps and momentum, and unequal windows pad as they say") {
  const Tensor x = testing::images(2, {2, 4, 6}, DType::float64);
  Model scaled("2x4x6 scale0.125 flatten fc2", {.dtype = DType::float64});
  CHECK(identical(scaled.forward(x, {}, 0, 1), x * 0.125));
  Model normal("2x4x6 bn(eps=0.5,momentum=0.25) flatten fc2", {.dtype = DType::float64});
  CHECK(largest_difference(normal.forward(x, {}, 0, 1), x * (1 / std::sqrt(1.5))) < 1e-15);
  static_cast<void>(
      normal.logits(Variable(Tensor::full({2, 2, 4, 6}, 1, DType::float64)), {.training = true}));
  CHECK(normal.state().at("0.running_mean").to_vector<double>() == std::vector<double>{0.25, 0.25});
  for (const char* rate : {"", "@1/3"}) {
    const std::string weight = fmt::format("conv3k1x5p0x2{}", rate);
    Model row("2x4x6 " + weight + " flatten fc2", {.dtype = DType::float64});
    CHECK(row.shapes()[1] == Shape{3, 4, 6});
    const Model dense = materialise(row);  // a 1x5 window is the middle row of a 5x5 one
    Tensor square = Tensor::zeros({3, 2, 5, 5}, DType::float64);
    square.slice(2, 2, 3).copy_from(dense.state().at("0.weight"));
    const Tensor expected = conv2d(x, square, dense.state().at("0.bias"), {1, 2});
    CHECK(largest_difference(row.forward(x, {}, 0, 1), expected) < 1e-12);
  }
}

TEST_CASE("branches: a file keeps labels and names, and one with torchvision's names loads by name") {
  Model model = branching_net();
  const Archive archive = archive_of(model);
  CHECK(archive.metadata.at("spec") == to_string(model.spec()));
  CHECK(archive.tensors.contains("block.conv1.weight"));
  CHECK(archive.tensors.contains("7.running_mean"));
  const Tensor x = testing::images(3, {1, 6, 6});
  CHECK(identical(model_from_archive(archive, "f").logits(x), model.logits(x)));
  for (const Model& twin : {model.to(DType::float64).to(DType::float32), model.alias(), model.clone()})
    CHECK(identical(twin.logits(x), model.logits(x)));

  Archive named = archive_of(Model("resnet18(classes=3,size=8)"));
  named.metadata = {{"spec", "resnet18(classes=3,size=8)"}};
  CHECK(named.tensors.size() == 122);
  for (const char* name :
       {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.bias", "layer4.1.bn2.weight", "fc.bias"})
    CHECK(named.tensors.contains(name));
  CHECK(model_from_archive(named, "f").classes() == 3);
}

TEST_CASE("branches: compression and defences reach every layer by its name") {
  const Model model = branching_net();
  const Tensor x = testing::images(4, {1, 6, 6});
  const auto reloaded = [&](const Model& m) { return model_from_archive(archive_of(m), "f").logits(x); };

  const Model hashed = compress_hash(model, {.rate = 0.25, .layers = "all"});
  CHECK(hashed.state().at("block.project.weight").numel() == 6);
  CHECK(identical(hashed.state().at("stem_bn.weight"), model.state().at("stem_bn.weight")));
  CHECK(identical(materialise(hashed).logits(x), hashed.logits(x)));
  CHECK(identical(reloaded(hashed), hashed.logits(x)));

  const Model pruned = compress_prune(model, {.value = 0.5});
  CHECK(pruned.coding.of("block.conv1.weight").pruned);
  CHECK(identical(reloaded(pruned), pruned.logits(x)));
  CHECK(identical(reloaded(compress_kmeans(model, {.bits = 3})),
                  compress_kmeans(model, {.bits = 3}).logits(x)));
  CHECK(size_report(pruned).virtual_parameters == model.parameter_count());

  Model inhibited = branching_net();
  gradient_inhibition_1(inhibited, 0.1, "all");
  CHECK_FALSE(identical(inhibited.state().at("stem.weight"), model.state().at("stem.weight")));
  Model larger = branching_net();
  logits_augmentation(larger, 1);
  CHECK(identical(larger.state().at("fc.2.weight"), model.state().at("fc.2.weight") * 2.0));
  CHECK(identical(larger.state().at("fc.0.weight"), model.state().at("fc.0.weight")));
  Model two("1x2x2 flatten =a fc3 =b <a fc3 +b");
  CHECK_ERROR(logits_augmentation(two, 1), "the last fully connected layer (fc3) is only one branch");
}

TEST_CASE("branches: activations are rounded behind layers, each branch for itself, not class scores") {
  const FixedPointFormat format{6, 2};
  const Model model = compress_fixed_point(
      Model("1x4x4 conv2k3p1 =a relu conv2k3p1 bn +a relu conv3k4 flatten", {.seed = 2}), {.format = format});
  CHECK(model.coding.activations == std::map<size_t, FixedPointFormat>{{0, format}, {4, format}});
  const Tensor x = testing::images(3, {1, 4, 4});
  auto state = model.state();
  const auto conv = [&](const Tensor& v, const std::string& layer, int64_t padding) {
    return conv2d(v, state.at(layer + ".weight"), state.at(layer + ".bias"), {1, padding});
  };
  const Tensor a = fixed_point(conv(x, "0", 1), format);
  const Tensor sums = batch_norm(conv(relu(a), "3", 1), state.at("4.weight"), state.at("4.bias"),
                                 state.at("4.running_mean"), state.at("4.running_var"), {false});
  CHECK(identical(model.logits(x), conv(relu(fixed_point(sums, format) + a), "7", 0).reshape({3, 3})));
}

TEST_CASE("branches: every attack runs, and hashed weights written out change no bit") {
  const Model hashed = branching_net(DType::float32, "@1/4"), dense = materialise(hashed);
  const Tensor x = testing::images(3, {1, 6, 6});
  const AttackInput input{x, testing::own_labels(hashed, x), {}, {}};
  for (const AttackInfo& info : all_attacks()) {
    CAPTURE(info.name);
    const auto attack = make_attack(info.name + ":" + info.samples[0]);
    const AttackResult a = attack->run(hashed, input), b = attack->run(dense, input);
    for (int64_t row = 0; row < 3; ++row) CHECK(testing::same_row(a, row, b, row));
  }
}

Dataset stripes() {
  Dataset data;
  data.name = "stripes";
  data.classes = 5;
  data.images = testing::images(20, {1, 6, 6});
  data.labels = Tensor::empty({20}, DType::int64);
  for (int64_t i = 0; i < 20; ++i) data.labels.data<int64_t>()[i] = i % 5;
  return data;
}

TEST_CASE("branches: training moves every parameter, on every device alike") {
  for (const Device device : all_devices()) {
    Model model = branching_net().to(device), again = branching_net().to(device);
    const Model start = branching_net();
    TrainOptions options{.epochs = 2, .batch = 8, .lr = 0.01};
    train(model, stripes(), options);
    options.graph = false;
    train(again, stripes(), options);
    for (const auto& [name, tensor] : model.state()) {
      CAPTURE(name);
      CHECK(identical(tensor.to(Device{}), again.state().at(name).to(Device{})));
      CHECK_FALSE(identical(tensor.to(Device{}), start.state().at(name)));
    }
  }
}

TEST_CASE("branches: the other engines agree with the CPU on branching networks") {
  for (const Device device : other_devices())
    for (const Model& model : {branching_net(), Model("3x6x6 standardise conv4k3x1p1x0 scale0.5 =a relu =b "
                                                      "cat(b,a) flatten fc3")}) {
      const Tensor x = testing::images(3, model.input_shape());
      const Model there = model.to(device);
      CHECK(largest_difference(there.logits(x.to(device)).to(Device{}), model.logits(x)) < 1e-4);
      const Variable here = Variable::leaf(x), away = Variable::leaf(x.to(device));
      sum(square(model.logits(here))).backward();
      sum(square(there.logits(away))).backward();
      CHECK(largest_difference(away.grad().to(Device{}), here.grad()) < 1e-3);
    }
}

}  // namespace
}  // namespace hashgrad
