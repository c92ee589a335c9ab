#include <cmath>
#include <doctest/doctest.h>
#include <set>

#include "compression/fixed_point.h"
#include "compression/kmeans.h"
#include "compression/prune.h"
#include "datasets/synthetic_digits.h"
#include "nn/materialise.h"
#include "nn/model_file.h"
#include "nn/train.h"
#include "tests/attack_models.h"
#include "tests/train_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

std::vector<double> values_of(const Tensor& t) { return t.to(DType::float64).to_vector<double>(); }

std::set<double> distinct(const Tensor& t) {
  const std::vector<double> values = values_of(t);
  std::set<double> set(values.begin(), values.end());
  set.erase(0);
  return set;
}

/// One step of Lloyd's algorithm, straight from its definition.
std::vector<double> lloyd_step(const std::vector<double>& values, const std::vector<double>& centroids) {
  std::vector<double> sum(centroids.size()), count(centroids.size());
  for (const double v : values) {
    size_t best = 0;
    for (size_t k = 1; k < centroids.size(); ++k)
      if (std::abs(v - centroids[k]) < std::abs(v - centroids[best])) best = k;
    sum[best] += v;
    ++count[best];
  }
  std::vector<double> moved = centroids;
  for (size_t k = 0; k < centroids.size(); ++k)
    if (count[k] > 0) moved[k] = sum[k] / count[k];
  return moved;
}

}  // namespace

TEST_CASE("Lloyd's algorithm on five values, by hand") {
  // From 1 and 10: {1, 2, 4 | 9, 10}, means 7/3 and 9.5, and no assignment changes.
  const std::vector<double> two = lloyd({10, 2, 1, 9, 4}, 2);
  CHECK(two[0] == doctest::Approx(7.0 / 3));
  CHECK(two[1] == 9.5);
  CHECK(lloyd({10, 2, 1, 9, 4}, 1) == std::vector<double>{5.2});
  // From 0, 4, 8: 2 lies between 0 and 4 and goes to the lower. {0, 2 | . | 8, 8}: the centroid 4 has nothing
  // and stays.
  CHECK(lloyd({0, 2, 8, 8}, 3) == std::vector<double>{1, 4, 8});
  CHECK(lloyd({5, 5}, 4) == std::vector<double>{5, 5, 5, 5});
}

TEST_CASE("Lloyd's algorithm goes the way of its definition to a fixed point") {
  Random random(5, Stream::test);
  std::vector<double> values;
  for (int i = 0; i < 300; ++i) values.push_back(std::pow(random.uniform(), 3) - 0.2);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  std::vector<double> centroids;
  for (int k = 0; k < 8; ++k) centroids.push_back(*low + (*high - *low) * k / 7);
  for (int step = 0; step < 1000; ++step) centroids = lloyd_step(values, centroids);
  const std::vector<double> found = lloyd(values, 8);
  for (size_t k = 0; k < 8; ++k) CHECK(found[k] == doctest::Approx(centroids[k]).epsilon(1e-12));
  CHECK(nearest({1, 3}, 2) == 1);
  CHECK(nearest({1, 3}, 2.01) == 3);
  CHECK(nearest({1, 3}, -7) == 1);
  CHECK(nearest({1, 3}, 7) == 3);
}

TEST_CASE("weights become the centroid next to them; zeros and biases stay") {
  const Model before = compress_prune(small_net(), {.value = 0.5});
  const Model after = compress_kmeans(before, {.bits = 3});
  const std::vector<double> w = values_of(before.state().at("4.weight")),
                            c = values_of(after.state().at("4.weight"));
  std::vector<double> nonzero = w;
  std::erase(nonzero, 0.0);
  const std::vector<double> centroids = lloyd(nonzero, 8);
  for (size_t i = 0; i < w.size(); ++i)
    CHECK(c[i] == (w[i] == 0 ? 0 : static_cast<double>(static_cast<float>(nearest(centroids, w[i])))));
  CHECK(distinct(after.state().at("4.weight")).size() <= 8);
  CHECK(identical(before.state().at("4.bias"), after.state().at("4.bias")));
  const Model back = model_from_archive(archive_of(after), "f");
  CHECK(back.coding == after.coding);
  CHECK(same_bits(back, after));
  const Model last = compress_kmeans(small_net(), {.bits = 3, .layers = "last:1"});
  CHECK(last.coding.of("4.weight").plain());
}

TEST_CASE("training moves centroids by the summed gradients of their members and keeps assignments") {
  const Dataset data = synthetic_digits(Split::train, 60, 1);
  const Model before = compress_kmeans(
      compress_prune(Model("1x28x28 conv4k5s2 relu maxpool2 flatten fc16 relu fc10", {.seed = 3}),
                     {.value = 0.5}),
      {.bits = 3});
  Model after = before.clone();
  train(after, data, {.epochs = 2, .batch = 16, .lr = 0.001});
  for (const char* name : {"0.weight", "4.weight", "6.weight"}) {
    const std::vector<double> a = values_of(before.state().at(name)), b = values_of(after.state().at(name));
    std::map<double, double> moved;
    for (size_t i = 0; i < a.size(); ++i) CHECK(moved.emplace(a[i], b[i]).first->second == b[i]);
    CHECK(moved.at(0) == 0);
    CHECK_FALSE(a == b);
  }
  CHECK(same_bits(model_from_archive(archive_of(after), "f"), after));
}

TEST_CASE("training of shared weights goes on from the model that it began with, and from no other") {
  const Dataset data = synthetic_digits(Split::train, 60, 1);
  const auto started = [](uint64_t seed) {
    return compress_kmeans(Model("1x28x28 flatten fc16 relu fc10", {.seed = seed}), {.bits = 2});
  };
  struct Killed {};
  const TempDir folder;
  TrainOptions options{.epochs = 2, .batch = 16, .lr = 0.001};
  Model whole = started(7), killed = started(7), same = started(7), other = started(8);
  train(whole, data, options);
  options.checkpoint = folder / "run.safetensors";
  options.checkpoint_steps = 2;
  options.progress = [](const TrainProgress& p) {
    if (p.step == 5) throw Killed{};
  };
  CHECK_THROWS_AS(train(killed, data, options), Killed);
  options.progress = {};
  options.resume = options.checkpoint;
  CHECK_ERROR(train(other, data, options), "was made from another model");
  train(same, data, options);
  CHECK(same_bits(whole, same));
}

TEST_CASE("zeros stay in training, whether they are recorded as pruned or not") {
  const Model dense =
      materialise(compress_prune(Model("1x28x28 flatten fc16 relu fc10", {}), {.value = 0.3}));
  Model shared = compress_kmeans(dense, {.bits = 2});
  const std::vector<double> before = values_of(shared.state().at("1.weight"));
  train(shared, synthetic_digits(Split::train, 60, 1), {.epochs = 1, .batch = 16, .lr = 0.001});
  const std::vector<double> after = values_of(shared.state().at("1.weight"));
  for (size_t i = 0; i < after.size(); ++i) CHECK((after[i] == 0) == (before[i] == 0));
  CHECK(distinct(shared.state().at("1.weight")).size() <= 4);
  CHECK(same_bits(model_from_archive(archive_of(shared), "f"), shared));  // it can be written
}

TEST_CASE("one update of a centroid is the definition's") {
  // Logits w x on the image [0.1, 0.2, 0.4], two classes; weights of class 0: a a b, of class 1: b b a.
  const double a = 0.5, b = -0.25, lr = 0.1;
  Model model = linear_model({a, a, b, b, b, a}, {0, 0});
  model = compress_kmeans(model, {.bits = 1});
  Dataset data{.name = "one",
               .images = Tensor::of(std::vector<double>{0.1, 0.2, 0.4}, {1, 1, 1, 3}),
               .labels = classes({0}),
               .classes = 2,
               .class_names = {}};
  train(model, data, {.epochs = 1, .batch = 1, .optimizer = parse_optimizer("sgd:momentum=0"), .lr = lr});
  const double z0 = a * 0.3 + b * 0.4, z1 = b * 0.3 + a * 0.4;
  const double p1 = 1 / (1 + std::exp(z0 - z1));  // d loss / d z: -p1, p1
  const double da = -p1 * 0.3 + p1 * 0.4, db = -p1 * 0.4 + p1 * 0.3;
  const std::vector<double> w = values_of(model.state().at("1.weight"));
  const std::vector<double> expected{a - lr * da, a - lr * da, b - lr * db,
                                     b - lr * db, b - lr * db, a - lr * da};
  for (size_t i = 0; i < 6; ++i) CHECK(w[i] == doctest::Approx(expected[i]).epsilon(1e-12));
}

TEST_CASE("compress kmeans refuses what it cannot do") {
  const Model model = small_net();
  for (const int bits : {0, -1, 17})
    CHECK_ERROR(compress_kmeans(model, {.bits = bits}), "compress kmeans: bits ");
  CHECK_ERROR(compress_kmeans(model, {.layers = "last:0"}), "compress kmeans: layers 'last:0'");
  CHECK_ERROR(compress_kmeans(compress_kmeans(model, {}), {}),
              "compress kmeans: layer 0 (conv4k3p1) is shared already");
  CHECK_ERROR(compress_kmeans(compress_fixed_point(model, {}), {}),
              "layer 0 (conv4k3p1) is in fixed point already");
}

TEST_CASE("zeros do not draw centroids towards them") {
  const Model before = linear_model({0, 0, 0, 0, 1, 2, 4, 5}, {0, 0});
  const Model after = compress_kmeans(before, {.bits = 1});
  CHECK(values_of(after.state().at("1.weight")) == std::vector<double>{0, 0, 0, 0, 1.5, 1.5, 4.5, 4.5});
}
