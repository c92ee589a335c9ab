#include <cmath>
#include <doctest/doctest.h>

#include "compression/hash.h"
#include "compression/prune.h"
#include "datasets/synthetic_digits.h"
#include "nn/materialise.h"
#include "nn/model_file.h"
#include "nn/train.h"
#include "tests/attack_models.h"
#include "tests/train_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;
using Rule = Pruning::Rule;

namespace {

/// The weights of a 1x1x6 -> 1 network after pruning.
std::vector<double> pruned_weights(const std::vector<double>& weights, Rule rule, double value) {
  const Model model = compress_prune(linear_model(weights, {0.5}), {.rule = rule, .value = value});
  CHECK(model.state().at("1.bias").item() == 0.5);
  return model.state().at("1.weight").to_vector<double>();
}

int64_t nonzeros(const Tensor& tensor) {
  int64_t count = 0;
  for (const double w : tensor.to(DType::float64).to_vector<double>()) count += w != 0;
  return count;
}

/// Whether a is zero exactly where b is.
bool same_zeros(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to(DType::float64).to_vector<double>(),
                            y = b.to(DType::float64).to_vector<double>();
  for (size_t i = 0; i < x.size(); ++i)
    if ((x[i] == 0) != (y[i] == 0)) return false;
  return true;
}

const char* const net = "1x28x28 conv4k5s2 relu maxpool2 flatten fc16 relu fc10";

}  // namespace

TEST_CASE("percentiles are numpy's") {
  CHECK(percentile({4, 1, 3, 2}, 0) == 1);
  CHECK(percentile({4, 1, 3, 2}, 50) == 2.5);
  CHECK(percentile({4, 1, 3, 2}, 10) == doctest::Approx(1.3));
  CHECK(percentile({4, 1, 3, 2}, 100) == 4);
  CHECK(percentile({7}, 33) == 7);
}

TEST_CASE("each rule keeps the weights that its definition says") {
  const std::vector<double> w{0.1, -0.5, 0.3, -0.3, 0, 0.2};
  CHECK(pruned_weights(w, Rule::threshold, 0.3) ==
        std::vector<double>{0, -0.5, 0.3, -0.3, 0, 0});  // |w| = alpha stays
  CHECK(pruned_weights(w, Rule::density, 0.5) == std::vector<double>{0, -0.5, 0.3, -0.3, 0, 0});
  CHECK(pruned_weights(w, Rule::density, 1.0 / 3) ==
        std::vector<double>{0, -0.5, 0.3, 0, 0, 0});  // of equals the first
  CHECK(pruned_weights(w, Rule::percent, 25) ==
        std::vector<double>{0, -0.5, 0.3, -0.3, 0, 0.2});  // 0.2 is the percentile
  CHECK(pruned_weights(w, Rule::percent, 50) == std::vector<double>{0, -0.5, 0.3, -0.3, 0, 0});
}

TEST_CASE("densities are met exactly, in each layer or in all together") {
  const Model model(net, {.seed = 3});
  const auto count = [](const Model& m, const char* name) { return nonzeros(m.state().at(name)); };
  for (const double density : {0.05, 0.101, 0.5, 1.0}) {
    const Model each = compress_prune(model, {.value = density});
    for (const char* name : {"0.weight", "4.weight", "6.weight"})
      CHECK(count(each, name) == std::llround(density * static_cast<double>(model.state().at(name).numel())));
    if (density < 0.2) continue;  // of all layers together so few are none of the widest layer's
    const Model together = compress_prune(model, {.value = density, .global = true});
    const int64_t all = 100 + 16 * 144 + 160;
    CHECK(count(together, "0.weight") + count(together, "4.weight") + count(together, "6.weight") ==
          std::llround(density * static_cast<double>(all)));
    CHECK((density == 1) == (count(together, "0.weight") == count(each, "0.weight")));
  }
  CHECK_ERROR(compress_prune(model, {.value = 0.05, .global = true}),
              "keeps none of the 2304 weights of '4.weight'");
  const Model last = compress_prune(model, {.value = 0.1, .layers = "last:1"});
  CHECK(identical(last.state().at("4.weight"), model.state().at("4.weight")));
  CHECK(last.coding.of("4.weight").plain());
  CHECK(last.coding.of("6.weight").pruned);
}

TEST_CASE("bucket values of hashed layers are pruned like weights") {
  const Model hashed = small_net(DType::float32, "@1/4");
  const Model model = compress_prune(hashed, {.value = 0.5, .layers = "last:2"});
  CHECK(nonzeros(model.state().at("4.weight")) == 77);  // round(153 / 2)
  const Tensor x = images(3, model.input_shape());
  CHECK(identical(model_from_archive(archive_of(model), "memory").logits(x), model.logits(x)));
}

TEST_CASE("pruning in rounds takes its share of what is left") {
  const Model model(net, {.seed = 3});
  std::vector<int64_t> conv, rounds;
  const Model result = compress_iterative_prune(model, {.rounds = 3, .conv_percent = 5, .fc_percent = 10},
                                                [&](Model& m, int64_t round) {
                                                  rounds.push_back(round);
                                                  conv.push_back(nonzeros(m.state().at("0.weight")));
                                                  CHECK(m.coding.of("4.weight").pruned);
                                                });
  CHECK(rounds == std::vector<int64_t>{1, 2, 3});
  CHECK(conv ==
        std::vector<int64_t>{95, 90, 85});  // less ceil of 5 % of one less than is left: 4.95, 4.7, 4.45
  CHECK(nonzeros(result.state().at("4.weight")) == 2304 - 231 - 208 - 187);
}

TEST_CASE("a pruned model keeps its zeros in training, for every optimiser, and trains the rest") {
  const Dataset data = synthetic_digits(Split::train, 60, 1);
  for (const char* optimizer : {"sgd:momentum=0.9,weight_decay=1e-3", "adam", "rmsprop"}) {
    CAPTURE(optimizer);
    const Model before = compress_prune(Model(net, {.seed = 3}), {.value = 0.3});
    Model after = before.clone();
    train(after, data, {.epochs = 2, .batch = 16, .optimizer = parse_optimizer(optimizer), .lr = 0.003});
    for (const char* name : {"0.weight", "4.weight", "6.weight"}) {
      CHECK(same_zeros(before.state().at(name), after.state().at(name)));
      CHECK_FALSE(identical(before.state().at(name), after.state().at(name)));
    }
    CHECK(same_bits(model_from_archive(archive_of(after), "memory"), after));
  }
}

TEST_CASE("a resumed run of a pruned model ends in the bits of an unbroken one") {
  const TempDir folder;
  const Dataset data = synthetic_digits(Split::train, 60, 1);
  const Model start = compress_prune(Model(net, {.seed = 3}), {.value = 0.3});
  TrainOptions options{.epochs = 2, .batch = 16};
  Model whole = start.clone(), resumed = start.clone();
  train(whole, data, options);
  options = resumed_behind(3, start, data, options, folder / "run.safetensors");
  train(resumed, data, options);
  CHECK(same_bits(whole, resumed));
  Model plain(net, {.seed = 3});
  CHECK_ERROR(train(plain, data, options), "was made with masks '[{");
}

TEST_CASE("a dense twin has plain weights; a file says which are pruned") {
  const Model model = compress_prune(small_net(), {.value = 0.25});
  const Archive archive = archive_of(model);
  CHECK(archive.metadata.at("masks").find(R"({"method":"prune","parameter":"4.weight"})") !=
        std::string::npos);
  CHECK(archive.tensors.contains("4.weight.gaps"));
  const Model back = model_from_archive(archive, "f");
  CHECK(back.coding == model.coding);
  CHECK(same_bits(back, model));
  const Archive twin = archive_of(materialise(back));
  CHECK_FALSE(twin.metadata.contains("masks"));
  CHECK(twin.tensors.at("4.weight").shape() == Shape{17, 36});
}

TEST_CASE("model files: faults of masks are named") {
  const Archive good = archive_of(compress_prune(small_net(), {.value = 0.25}));
  const auto fault = [&](const std::function<void(Archive&)>& change) {
    Archive archive = good;
    change(archive);
    return error_of([&] { model_from_archive(archive, "f"); });
  };
  CHECK(fault([](Archive&) {}) == "(no error)");
  CHECK(fault([](Archive& a) {
          a.metadata["masks"] = R"([{"method":"prune"}])";
        }).find("f: metadata masks has an entry that is not an object with a \"parameter\"") == 0);
  CHECK(fault([](Archive& a) {
          a.metadata["masks"] = R"([{"method":"prune","parameter":"9.weight"}])";
        }).find("f: metadata masks or quantisers name the parameter '9.weight'") == 0);
  CHECK(fault([](Archive& a) {
          a.metadata["masks"] =
              R"([{"method":"prune","parameter":"4.weight"},{"method":"prune","parameter":"4.weight"}])";
        }).find("comes on top of another entry") != std::string::npos);
  CHECK(fault([](Archive& a) { a.metadata.erase("masks"); }).find("'0.weight'") != std::string::npos);
  CHECK(fault([](Archive& a) {
          a.tensors["4.weight"] = Tensor::zeros({17, 36});
        }).find("f: tensor '4.weight' [17,36] has no place") == 0);
  CHECK(fault([](Archive& a) {
          a.tensors["4.bias.gaps"] = a.tensors.at("4.weight.gaps");
        }).find("f: tensor '4.bias.gaps'") == 0);
}

TEST_CASE("compress prune refuses what it cannot do") {
  const Model model = small_net();
  const auto fault = [&](const Pruning& options) {
    return error_of([&] { compress_prune(model, options); });
  };
  for (const double density : {0.0, 1.01, -1.0, double{NAN}})
    CHECK(fault({.value = density}).find("compress prune: density ") == 0);
  for (const double percent : {0.0, 100.0, double{NAN}})
    CHECK(fault({.rule = Rule::percent, .value = percent}).find("compress prune: percent ") == 0);
  for (const double threshold : {-0.1, double{NAN}, double{INFINITY}})
    CHECK(fault({.rule = Rule::threshold, .value = threshold}).find("compress prune: threshold ") == 0);
  CHECK(fault({.layers = "last:9"}).find("compress prune: layers 'last:9'") == 0);
  CHECK(fault({.value = 0.001}) == "compress prune: keeps none of the 36 weights of '0.weight'");
  CHECK(fault({.rule = Rule::threshold, .value = 1e9}).find("compress prune: keeps none") == 0);
  const Model once = compress_prune(model, {.value = 0.5});
  CHECK_ERROR(compress_prune(once, {}), "compress prune: layer 0 (conv4k3p1) is pruned already");
  CHECK_ERROR(compress_prune(model, {.rule = Rule::threshold, .value = 0.01, .global = true}),
              "a threshold is one number for each layer as for all together");
  CHECK_ERROR(compress_hash(once, {}),
              "compress hash: layer 0 (conv4k3p1) is pruned, shared or in fixed point");
  CHECK_ERROR(pruned_weights({1, 0, 0, 0, 0, 0}, Rule::density, 0.5),
              "keeps 3 weights of '1.weight', which has 1");
  CHECK_ERROR(compress_iterative_prune(model, {.rounds = 0}, [](Model&, int64_t) {}), "0 rounds, at least 1");
  CHECK_ERROR(compress_iterative_prune(model, {.fc_percent = 100}, [](Model&, int64_t) {}), "percent 100");
}
