#include <cmath>
#include <doctest/doctest.h>

#include "autograd/ops/arithmetic.h"
#include "compression/fixed_point.h"
#include "compression/kmeans.h"
#include "compression/prune.h"
#include "datasets/synthetic_digits.h"
#include "nn/constraints.h"
#include "nn/materialise.h"
#include "nn/model_file.h"
#include "nn/train.h"
#include "tests/attack_models.h"
#include "tests/train_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

std::vector<double> rounded(const std::vector<double>& values, int width, int point) {
  return fixed_point(Tensor::of(values, {std::ssize(values)}), {width, point}).to_vector<double>();
}

/// d sum(fixed_point(x)) / dx.
std::vector<double> slopes(const std::vector<double>& values, int width, int point) {
  const Variable x = Variable::leaf(Tensor::of(values, {std::ssize(values)}));
  const Variable y = fixed_point(x, FixedPointFormat{width, point});
  return vjp(y, {x}, Tensor::full({1, std::ssize(values)}, 1, DType::float64))[0].to_vector<double>();
}

const char* const net = "1x28x28 conv4k5s2 relu maxpool2 flatten fc16 relu fc10";

}  // namespace

TEST_CASE("fixed-point numbers by hand: halves to even, saturation on both sides") {
  // Width 4, point 1: step 1/8, [-1, 7/8].
  CHECK(rounded({0.0625, 0.1875, 0.3125, -0.0625, -0.1875}, 4, 1) ==
        std::vector<double>{0, 0.25, 0.25, 0, -0.25});
  CHECK(rounded({0.13, 0.8, 0.95, 7, -0.99, -1.3, -INFINITY}, 4, 1) ==
        std::vector<double>{0.125, 0.75, 0.875, 0.875, -1, -1, -1});
  CHECK(rounded({1.99, 2, -3, 0.008}, 8, 2) == std::vector<double>{127.0 / 64, 127.0 / 64, -2, 1.0 / 64});
  CHECK(rounded({7.9999999, -8}, 16, 4) == std::vector<double>{8 - 0x1p-12, -8});
  CHECK(rounded({5, -7.4, 100}, 4, 4) == std::vector<double>{5, -7, 7});  // integers
  CHECK(std::isnan(rounded({NAN}, 4, 1)[0]));
  // The largest code is the largest that the element type has: float32 has integers of 24 bits.
  CHECK(FixedPointFormat{25, 1}.highest_code(DType::float32) == (1 << 24) - 1);
  CHECK(FixedPointFormat{26, 1}.highest_code(DType::float32) == (1 << 25) - 2);
  CHECK(FixedPointFormat{32, 1}.highest_code(DType::float64) == INT32_MAX);
}

TEST_CASE("the gradient passes straight through the rounding and not through the clip") {
  // 0.93 rounds to 7/8, a code; 0.95 would round to 1, which is clipped. -1.05 rounds to -1, a code; -1.07 to
  // -1.125.
  CHECK(slopes({0.3, 0.93, 0.95, -1.05, -1.07, 50}, 4, 1) == std::vector<double>{1, 1, 0, 1, 0, 0});
  CHECK(slopes({0, 1.99, 2.01}, 8, 2) == std::vector<double>{1, 1, 0});
}

TEST_CASE("every width rounds to neighbours within half a step, and again to the same") {
  for (int width = 2; width <= 32; ++width)
    for (const DType dtype : {DType::float32, DType::float64}) {
      const FixedPointFormat format{width, 1};
      const Tensor x = images(4, {1, 1, 9}, dtype);  // in [0,1]
      const Tensor y = fixed_point(x, format);
      CHECK(identical(fixed_point(y, format), y));
      const std::vector<double> a = x.to(DType::float64).to_vector<double>(),
                                b = y.to(DType::float64).to_vector<double>();
      const double largest = static_cast<double>(format.highest_code(dtype)) * format.step();
      for (size_t i = 0; i < a.size(); ++i)
        CHECK(std::abs(std::min(a[i], largest) - b[i]) <= format.step() / 2);
    }
}

TEST_CASE("formats out of range are refused") {
  for (const auto& [width, point] : {std::pair{0, 1}, {1, 1}, {33, 1}, {8, 0}, {8, 9}})
    CHECK_ERROR(compress_fixed_point(small_net(), {.format = {width, point}}), "compress fixed-point: ");
  CHECK_ERROR(fixed_point(Tensor::zeros({1}), FixedPointFormat{1, 1}), "fixed_point: width 1, 2 to 32");
}

TEST_CASE("a fixed-point network is the plain one with rounded parameters and rounded pre-activations") {
  const FixedPointFormat format{6, 2};
  Model plain("1x6x6 conv4k3p1 bn relu maxpool2 flatten fc17 relu fc5", {.dtype = DType::float64, .seed = 7});
  const Model model = compress_fixed_point(plain, {.format = format});
  CHECK(model.coding.activations ==
        std::map<size_t, FixedPointFormat>{{1, format}, {5, format}});  // not behind fc5
  for (const char* name : {"0.weight", "0.bias", "5.weight", "5.bias", "7.weight", "7.bias"})
    CHECK(identical(model.state().at(name), fixed_point(plain.state().at(name), format) + 0.0));
  CHECK(identical(model.state().at("1.weight"), plain.state().at("1.weight")));
  const Tensor x = images(3, plain.input_shape(), DType::float64);
  for (auto& [name, tensor] : plain.state()) Tensor(tensor).copy_from(model.state().at(name));
  const Pass pass;
  Tensor h = fixed_point(plain.forward(x, pass, 0, 2), format);
  h = fixed_point(plain.forward(h, pass, 2, 6), format);
  CHECK(identical(model.logits(x), plain.forward(h, pass, 6, 8)));
  CHECK_FALSE(identical(model.logits(x), plain.logits(x)));
}

TEST_CASE("a rounding anywhere keeps what would be fused apart") {
  const FixedPointFormat format{5, 1};
  const Model plain = small_net();  // conv relu maxpool2 flatten fc relu fc
  const Tensor x = images(3, plain.input_shape());
  for (size_t layer = 0; layer < 4; ++layer) {
    Model model = plain.clone();
    model.coding.activations[layer] = format;
    const Tensor h = fixed_point(plain.forward(x, {}, 0, layer + 1), format);
    CHECK(identical(model.logits(x), plain.forward(h, {}, layer + 1, 7)));
    CHECK(identical(model.forward(x, {}, 0, 7, false), model.logits(x)));
  }
}

TEST_CASE("a rounding anywhere keeps batch norm, what is added and ReLU apart") {
  const FixedPointFormat format{5, 1};
  const Model plain("1x4x4 conv2k3p1 =a conv2k3p1 bn +a relu flatten fc3", {.seed = 2});
  const Tensor x = images(3, plain.input_shape());
  for (size_t layer = 3; layer < 6; ++layer) {
    Model model = plain.clone();
    model.coding.activations[layer] = format;
    CHECK(identical(model.forward(x, {}, 0, 8, false), model.logits(x)));
    CHECK_FALSE(identical(model.logits(x), plain.logits(x)));
  }
}

TEST_CASE("rounding stays with clones, other devices and precisions, dense twins and files") {
  const Model model = compress_fixed_point(compress_prune(small_net(), {.value = 0.5}), {.format = {6, 3}});
  const Tensor x = images(3, model.input_shape());
  const Tensor logits = model.logits(x);
  CHECK(identical(model.clone().logits(x), logits));
  CHECK(identical(model.to(Device{}).logits(x), logits));
  CHECK(model.to(DType::float64).coding == model.coding);
  const Model twin = materialise(model);
  CHECK(identical(twin.logits(x), logits));
  CHECK(twin.coding.parameters.empty());
  for (const DType dtype : {DType::float32, DType::float64})
    for (const Model& m : {model.to(dtype), materialise(model.to(dtype))}) {
      const Model back = model_from_archive(archive_of(m), "f");
      CHECK(back.coding == m.coding);
      CHECK(back.dtype() == dtype);
      CHECK(same_bits(back, m));
    }
}

TEST_CASE("attacks get the straight-through gradient") {
  // logits = W2 relu(round(W1 x)): behind a rounded unit in range the gradient is that of the plain network.
  Model model("1x1x1 flatten fc2nb relu fc2nb", {.dtype = DType::float64, .init = Init::zeros});
  model.parameter("1.weight").value().copy_from(Tensor::of(std::vector<double>{0.5, 4}, {2, 1}));
  model.parameter("3.weight").value().copy_from(Tensor::of(std::vector<double>{1, 0, 0, 1}, {2, 2}));
  model.coding.activations[1] = {4, 2};  // [-2, 1.75]: 4 x saturates at x = 0.9
  const Variable x = Variable::leaf(Tensor::full({1, 1, 1, 1}, 0.9, DType::float64));
  const Variable logits = model.logits(x);
  CHECK(logits.value().to_vector<double>() == std::vector<double>{0.5, 1.75});  // 0.45 rounds to 0.5
  const Tensor jacobian = vjp(logits, {x}, Tensor::of(std::vector<double>{1, 0, 0, 1}, {2, 1, 2}))[0];
  CHECK(jacobian.to_vector<double>() == std::vector<double>{0.5, 0});
}

TEST_CASE("one update of a fixed-point weight is made on its master") {
  Model model = linear_model({0.3, 0.1, -0.2, 0.95}, {0, 0});
  declare_fixed_point(model, {.format = {4, 1}, .activations = false});
  const std::vector<double> masters{0.3, 0.1, -0.2, 0.95}, held{0.25, 0.125, -0.25, 0.875};
  Dataset data{.name = "one",
               .images = Tensor::of(std::vector<double>{0.5, 1}, {1, 1, 1, 2}),
               .labels = classes({0}),
               .classes = 2,
               .class_names = {}};
  const double lr = 0.5;
  train(model, data, {.epochs = 1, .batch = 1, .optimizer = parse_optimizer("sgd:momentum=0"), .lr = lr});
  const double z0 = held[0] * 0.5 + held[1], z1 = held[2] * 0.5 + held[3];
  const double p1 = 1 / (1 + std::exp(z0 - z1));
  // 0.95 rounds to 1, is clipped and gets no gradient.
  const std::vector<double> expected = rounded(
      {masters[0] + lr * p1 * 0.5, masters[1] + lr * p1, masters[2] - lr * p1 * 0.5, masters[3]}, 4, 1);
  const std::vector<double> w = model.state().at("1.weight").to_vector<double>();
  for (size_t i = 0; i < 4; ++i) CHECK(w[i] == expected[i]);
  CHECK_FALSE(w == held);
}

TEST_CASE("a fixed-point network trains, keeps pruned zeros, and resumes to the same bits") {
  const TempDir folder;
  const Dataset data = synthetic_digits(Split::train, 60, 1);
  Model start = compress_prune(Model(net, {.seed = 3}), {.value = 0.5});
  const Tensor zeros = start.state().at("4.weight").clone();
  declare_fixed_point(start, {.format = {6, 1}});
  TrainOptions options{.epochs = 3, .batch = 16};
  Model whole = start.clone(), resumed = start.clone();
  train(whole, data, options);
  options = resumed_behind(3, start, data, options, folder / "run.safetensors");
  train(resumed, data, options);
  CHECK(same_bits(whole, resumed));
  CHECK(same_bits(model_from_archive(archive_of(whole), "f"), whole));
  const std::vector<float> before = zeros.to_vector<float>(),
                           after = whole.state().at("4.weight").to_vector<float>();
  for (size_t i = 0; i < before.size(); ++i)
    if (before[i] == 0) CHECK(after[i] == 0);
  round_parameters(start);
  CHECK_FALSE(same_bits(start, whole));
}

TEST_CASE("stochastic rounding takes a neighbour, the upper one as often as makes it right on average") {
  // Width 6, point 1: step 1/32. 0.01 lies 0.32 of a step above 0, -0.01 as much below.
  constexpr int64_t n = 20000;
  std::vector<double> w(n, 0.01);
  std::fill(w.begin() + n / 2, w.end(), -0.01);
  const Model model = linear_model(w, {0});
  const auto weights = [&](uint64_t seed) {
    const FixedPointCompression options{
        .format = {6, 1}, .layers = "last:1", .rounding = Rounding::stochastic, .seed = seed};
    return compress_fixed_point(model, options).state().at("1.weight").to_vector<double>();
  };
  const std::vector<double> rounded_weights = weights(1);
  const auto end = rounded_weights.begin() + n / 2;
  const auto up = std::count(rounded_weights.begin(), end, 1.0 / 32),
             down = std::count(end, rounded_weights.end(), -1.0 / 32);
  CHECK(up + down + std::count(rounded_weights.begin(), rounded_weights.end(), 0.0) == n);
  const double deviation = std::sqrt(n / 2 * 0.32 * 0.68);
  CHECK(std::abs(static_cast<double>(up) - n / 2 * 0.32) < 4 * deviation);
  CHECK(std::abs(static_cast<double>(down) - n / 2 * 0.32) < 4 * deviation);
  CHECK(weights(1) == rounded_weights);
  CHECK(weights(2) != rounded_weights);
}

TEST_CASE("stochastic rounding leaves codes alone, saturates, and draws for each parameter") {
  const FixedPointCompression options{
      .format = {4, 1}, .activations = false, .rounding = Rounding::stochastic, .seed = 5};
  const auto held = [&](const std::vector<double>& w, DType dtype) {
    return compress_fixed_point(linear_model(w, {0}, dtype), options)
        .state()
        .at("1.weight")
        .to(DType::float64)
        .to_vector<double>();
  };
  const std::vector<double> codes{0.125, -0.25, 0, 0.875, -1, 0.5}, beyond{7, -7, 0.9, 1, -1.01, 0.875};
  for (const DType dtype : {DType::float32, DType::float64}) {
    CHECK(held(codes, dtype) == codes);
    CHECK(held(beyond, dtype) == std::vector<double>{0.875, -1, 0.875, 0.875, -1, 0.875});
  }
  for (int width = 2; width <= 32; ++width) {  // idempotent where float32 has no bit to spare
    const Model once = compress_fixed_point(
        small_net(), {.format = {width, 1}, .rounding = Rounding::stochastic, .seed = 1});
    Model again = once.clone();
    round_parameters(again, Rounding::stochastic, 2);
    CHECK(same_bits(once, again));
    CHECK(same_bits(model_from_archive(archive_of(once), "f"), once));
  }
  Model twins("1x1x50 flatten fc2 relu fc50", {.init = Init::zeros});
  for (auto& [name, tensor] : twins.state()) Tensor(tensor).fill(0.06);
  const Model drawn = compress_fixed_point(twins, options);
  CHECK(drawn.state().at("1.weight").to_vector<float>() != drawn.state().at("3.weight").to_vector<float>());
}

TEST_CASE("stochastic rounding goes with a training: what is written is what was trained") {
  const TempDir folder;
  const Dataset data = synthetic_digits(Split::train, 60, 1);
  const FixedPointCompression format{
      .format = {5, 1}, .activations = false, .rounding = Rounding::stochastic, .seed = 7};
  Model start(net, {.seed = 3});
  const Model rounded_once = compress_fixed_point(start, format);
  declare_fixed_point(start, format);
  TrainOptions options{.epochs = 0, .batch = 16, .rounding = Rounding::stochastic, .seed = 7};
  Model untrained = start.clone(), whole = start.clone(), resumed = start.clone(), nearest = start.clone();
  train(untrained, data, options);
  CHECK(same_bits(untrained, rounded_once));
  options.epochs = 2;
  train(whole, data, options);
  CHECK(same_bits(model_from_archive(archive_of(whole), "f"), whole));
  options = resumed_behind(3, start, data, options, folder / "run.safetensors");
  train(resumed, data, options);
  CHECK(same_bits(whole, resumed));
  options.rounding = Rounding::nearest;
  CHECK_ERROR(train(nearest, data, options), "was made with rounding 'stochastic', now it is 'nearest'");
}

TEST_CASE("model files: faults of quantisers are named; what no longer fits its format is not written") {
  const Archive good = archive_of(compress_fixed_point(small_net(), {.format = {6, 3}}));
  const auto fault = [&](const std::string& quantisers) {
    Archive archive = good;
    archive.metadata["quantisers"] = quantisers;
    return error_of([&] { model_from_archive(archive, "f"); });
  };
  CHECK(fault(R"([{"method":"fixed-point","layer":70,"width":6,"point":3}])")
            .find("f: metadata quantisers name layer 70") == 0);
  CHECK(fault(R"([{"method":"fixed-point","layer":7,"width":6,"point":3}])").find("name layer 7, '") !=
        std::string::npos);
  const std::string layer = R"({"method":"fixed-point","layer":1,"width":6,"point":3})",
                    fixed = R"({"method":"fixed-point","parameter":"0.weight","width":6,"point":3})",
                    shared = R"({"method":"kmeans","parameter":"0.weight","bits":2})";
  for (const auto& [first, second] :
       {std::pair(layer, layer), {fixed, fixed}, {fixed, shared}, {shared, shared}})
    CHECK(fault("[" + first + "," + second + "]").find(" comes on top of another entry") !=
          std::string::npos);
  CHECK(fault(R"([{"method":"kmeans","parameter":"0.weight","bits":0}])").find("\"bits\" of") !=
        std::string::npos);
  CHECK(fault(R"([{"method":"fixed-point","layer":-1,"width":6,"point":3}])").find("\"layer\" of") !=
        std::string::npos);
  CHECK(fault(R"([{"method":"fixed-point","layer":1,"width":33,"point":3}])").find("\"width\" of") !=
        std::string::npos);
  CHECK(fault(R"([{"method":"fixed-point","layer":1,"width":6,"point":7}])")
            .find("point 7, 1 to the width of 6") != std::string::npos);
  CHECK(fault(R"([{"method":"fixed-point","layer":1,"width":6.5,"point":3}])").find("\"width\" of") !=
        std::string::npos);
  CHECK(fault(R"([{"method":"kmeans","parameter":"0.weight"}])").find("\"bits\" of") != std::string::npos);
  Model changed = compress_fixed_point(small_net(), {.format = {6, 3}});
  changed.parameter("4.weight").value().fill(0.01);
  CHECK_ERROR(archive_of(changed),
              "model: parameter '4.weight': value 0 is 0.01, which is no fixed-point number");
  CHECK_ERROR(compress_fixed_point(compress_fixed_point(small_net(), {}), {}),
              "'0.weight' is in fixed point already");
  CHECK_ERROR(compress_fixed_point(compress_kmeans(small_net(), {}), {}), "'0.weight' is shared already");
}

TEST_CASE("a model in a wide fixed-point format stays in it when it becomes float32") {
  for (const int width : {25, 26, 32}) {
    CAPTURE(width);
    const FixedPointFormat format{width, 1};
    const Model wide = compress_fixed_point(linear_model({5, -5, 0.3, -0.7}, {0.1}), {.format = format});
    REQUIRE(wide.dtype() == DType::float64);
    CHECK(wide.state().at("1.weight").to_vector<double>()[0] == 1 - format.step());
    const Model narrow = wide.to(DType::float32);
    const Tensor weights = narrow.state().at("1.weight");
    CHECK(identical(fixed_point(weights, format), weights));
    CHECK(weights.to_vector<float>()[0] ==
          static_cast<double>(format.highest_code(DType::float32)) * format.step());
    CHECK(same_bits(model_from_archive(archive_of(narrow), "memory"), narrow));
  }
  Model changed = compress_fixed_point(linear_model({0.5, -0.5}, {0}), {.format = {8, 1}});
  changed.parameter("1.weight").value().fill(0.3);  // no code: what a defence may make of weights
  CHECK(changed.to(DType::float32).state().at("1.weight").to_vector<float>() == std::vector<float>(2, 0.3F));
}
