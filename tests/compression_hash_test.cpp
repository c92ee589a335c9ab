#include <cmath>
#include <doctest/doctest.h>

#include "compression/hash.h"
#include "datasets/synthetic_digits.h"
#include "nn/materialise.h"
#include "nn/model_file.h"
#include "nn/train.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

double squared_error(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to(DType::float64).to_vector<double>(),
                            y = b.to(DType::float64).to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return sum;
}

}  // namespace

TEST_CASE("the chosen layers are hashed, the rest is copied") {
  const Model dense = small_net();
  const Model last = compress_hash(dense, {.rate = 0.25, .layers = "last:2"});
  CHECK(to_string(last.spec()) == "1x6x6 conv4k3p1 relu maxpool2 flatten fc17@1/4 relu fc5@1/4");
  CHECK(identical(last.state().at("0.weight"), dense.state().at("0.weight")));
  CHECK(identical(last.state().at("4.bias"), dense.state().at("4.bias")));
  CHECK(last.state().at("4.weight").shape() == Shape{153});  // 17 * 36 / 4
  CHECK(last.state().at("6.weight").shape() == Shape{22});   // ceil(5 * 17 / 4)
  const Model all = compress_hash(dense, {.rate = 1.0 / 8, .hash = {.seed = 3}});
  CHECK(all.spec().layers[0].hashed());
  CHECK(all.hash().seed == 3);
}

TEST_CASE("a dense twin computes what the hashed model computes") {
  for (const DType dtype : {DType::float32, DType::float64})
    for (const HashMode mode : {HashMode::full, HashMode::xxhash})
      for (const bool bias : {false, true}) {
        const Model hashed =
            compress_hash(small_net(dtype),
                          {.rate = 0.25, .hash = {.mode = mode, .seed = xxhash_default_seed, .bias = bias}});
        const Model twin = materialise(hashed);
        CHECK(to_string(twin.spec()) == to_string(small_net().spec()));
        const Tensor x = images(17, hashed.input_shape(), dtype);
        const std::vector<double> a = hashed.logits(x).to(DType::float64).to_vector<double>();
        const std::vector<double> b = twin.logits(x).to(DType::float64).to_vector<double>();
        for (size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-5).scale(1));
      }
}

TEST_CASE("modes strat and window compress, expand and go through a file like the others") {
  const Model dense("1x8x8 flatten fc32 relu fc16", {.seed = 3});
  const Tensor x = images(5, dense.input_shape());
  for (const HashMode mode : {HashMode::strat, HashMode::window}) {
    const Model hashed =
        compress_hash(dense, {.rate = 0.25, .hash = {.mode = mode, .seed = 7, .bias = true}});
    const Archive archive = archive_of(hashed);
    CHECK(archive.metadata.at("hash_mode") == name_of(mode));
    const Model back = model_from_archive(archive, "memory");
    CHECK(back.hash() == HashOptions{mode, 7, true});
    CHECK(identical(back.logits(x), hashed.logits(x)));
    CHECK(squared_error(materialise(hashed).logits(x), hashed.logits(x)) < 1e-8);
    const Model rounded = compress_hash(dense, {.rate = 0.26, .hash = {.mode = mode}});  // from 533 and 134
    CHECK(rounded.state().at("1.weight").shape() == Shape{544});
    CHECK(rounded.state().at("3.weight").shape() == Shape{160});
    CHECK(rounded.parameter_count() == 544 + 32 + 160 + 16);
    CHECK(identical(model_from_archive(archive_of(rounded), "memory").logits(x), rounded.logits(x)));
  }
}

TEST_CASE("projected bucket values are the best: any change is further from the dense weights") {
  const Model dense = small_net(DType::float64);
  const Model hashed = compress_hash(dense, {.rate = 0.25, .layers = "last:1"});
  const Tensor target = dense.state().at("6.weight");
  const double best = squared_error(materialise(hashed).state().at("6.weight"), target);
  for (int64_t b = 0; b < 22; ++b)
    for (const double change : {-1e-3, 1e-3}) {
      Model moved = hashed.clone();
      moved.parameter("6.weight").value().data<double>()[b] += change;
      const double error = squared_error(materialise(moved).state().at("6.weight"), target);
      CHECK(error >= best);
    }
  CHECK(best > 0);
}

TEST_CASE("hashing what a hashed model holds gives the same bucket values back") {
  const Model hashed = small_net(DType::float64, "@1/4");
  const Model again = compress_hash(materialise(hashed), {.rate = 0.25, .layers = "last:2"});
  const std::vector<double> a = hashed.state().at("4.weight").to_vector<double>();
  const std::vector<double> b = again.state().at("4.weight").to_vector<double>();
  int64_t used = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (b[i] == 0) continue;  // an empty bucket: no virtual weight shows its value
    ++used;
    CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-12));
  }
  CHECK(used > 140);
}

TEST_CASE("from scratch the bucket values are an untrained layer's and depend on the seed") {
  const Model dense = small_net();
  const auto weights = [&](uint64_t seed) {
    return compress_hash(
               dense,
               {.rate = 0.25, .layers = "last:1", .start = HashCompression::Start::scratch, .seed = seed})
        .state()
        .at("6.weight");
  };
  CHECK(identical(weights(1), weights(1)));
  CHECK_FALSE(identical(weights(1), weights(2)));
  for (const float w : weights(1).to_vector<float>()) CHECK(std::abs(w) <= 1 / std::sqrt(17.0));
}

TEST_CASE("each layer has a rate of its own, in order") {
  const Model dense = small_net();
  const Model hashed = compress_hash(dense, {.rates = {1.0 / 8, 1.0 / 2}, .layers = "last:2"});
  CHECK(to_string(hashed.spec()) == "1x6x6 conv4k3p1 relu maxpool2 flatten fc17@1/8 relu fc5@1/2");
  for (const std::vector<double>& rates : {std::vector<double>{0.5}, std::vector<double>{0.5, 0.5, 0.5}})
    CHECK_ERROR(compress_hash(dense, {.rates = rates, .layers = "last:2"}),
                "rates for the 2 layers of 'last:2'");
  CHECK_ERROR(compress_hash(dense, {.rates = {0.5, 0.0}, .layers = "last:2"}), "compress hash: rate 0, ");
}

TEST_CASE("every virtual weight is counted in its bucket") {
  for (const HashMode mode : {HashMode::full, HashMode::strat, HashMode::window, HashMode::xxhash}) {
    const Model hashed = Model("1x1x40 flatten fc30@1/10", {.hash = {.mode = mode}});
    const HashedMatrices v = hashed.hashed_matrices(1);
    const std::vector<int64_t> counts = occupancy(*v.weights);
    REQUIRE(std::ssize(counts) == v.weights->buckets());
    for (int64_t b = 0; b < v.weights->buckets(); ++b) {
      std::vector<double> one(counts.size()), dense(1200);
      one[static_cast<size_t>(b)] = 1;
      cpu::materialise(*v.weights, one.data(), dense.data());
      CHECK(counts[static_cast<size_t>(b)] == 1200 - std::count(dense.begin(), dense.end(), 0.0));
    }
  }
}

TEST_CASE("a step by mean gradients is the dense layer's step, projected onto what can be hashed") {
  const Dataset data = synthetic_digits(Split::train, 20, 1);
  const char* const spec = "1x28x28 conv3k5s3@1/5 relu flatten fc12@1/30 relu fc10@1/4";
  TrainOptions options{.epochs = 1, .batch = 20, .optimizer = parse_optimizer("sgd:momentum=0"), .lr = 0.1};
  for (const bool bias : {false, true}) {
    Model hashed(spec, {.dtype = DType::float64, .seed = 3, .hash = {.seed = 5, .bias = bias}});
    Model dense = materialise(hashed);
    const Model start = dense.clone();
    options.hashed_gradient = HashedGradient::mean;
    train(hashed, data, options);
    options.hashed_gradient = HashedGradient::sum;  // says nothing of dense layers
    train(dense, data, options);
    const Model projected =
        compress_hash(dense, {.rates = {1.0 / 5, 1.0 / 30, 1.0 / 4}, .hash = hashed.hash()});
    const auto wanted = materialise(projected).state(), got = materialise(hashed).state();
    for (const auto& [name, tensor] : got) {
      CAPTURE(name);
      CHECK(squared_error(tensor, wanted.at(name)) < 1e-24);
      CHECK(squared_error(tensor, start.state().at(name)) > 1e-8);
    }
    Model summed(spec, {.dtype = DType::float64, .seed = 3, .hash = {.seed = 5, .bias = bias}});
    train(summed, data, options);
    CHECK(squared_error(materialise(summed).state().at("3.weight"), wanted.at("3.weight")) > 1e-6);
  }
}

TEST_CASE("a compressed model goes through a file with its hash options") {
  const Model hashed = compress_hash(small_net(), {.rate = 0.25, .hash = {.seed = 77, .bias = true}});
  const Model back = model_from_archive(archive_of(hashed), "memory");
  const Tensor x = images(3, hashed.input_shape());
  CHECK(identical(back.logits(x), hashed.logits(x)));
}

TEST_CASE("compress hash refuses what it cannot do") {
  const Model dense = small_net(), hashed = small_net(DType::float32, "@1/4");
  for (const double rate : {0.0, -1.0, 1.5, double{NAN}})
    CHECK(error_of([&] { compress_hash(dense, {.rate = rate}); }).find("compress hash: rate ") == 0);
  CHECK(error_of([&] {
          compress_hash(dense, {.layers = "last:9"});
        }).find("compress hash: layers 'last:9'") == 0);
  CHECK(error_of([&] {
          compress_hash(hashed, {});
        }).find("compress hash: layer 4 (fc17@1/4) is hashed already") == 0);
  CHECK(error_of([&] {
          compress_hash(hashed, {.layers = "last:1", .hash = {.seed = 5}});
        }).find("another hash seed") != std::string::npos);
}
