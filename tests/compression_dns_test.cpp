#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "compression/dns.h"
#include "compression/prune.h"
#include "core/parallel.h"
#include "datasets/synthetic_digits.h"
#include "nn/materialise.h"
#include "nn/model_file.h"
#include "tests/attack_models.h"
#include "tests/train_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;
using Rule = NetworkSurgery::Rule;

namespace {

const char* const dns_net = "1x28x28 conv4k5s2 relu maxpool2 flatten fc16 relu fc10";

const Dataset& dns_digits() {
  static const Dataset data = synthetic_digits(Split::train, 60, 1);
  return data;
}

/// The weights of a 1x1x6 -> 1 network after the first masks at this c.
std::vector<double> first_cut(const std::vector<double>& weights, double c_rate) {
  const Model model =
      compress_surgically(linear_model(weights, {0.5}), {.rule = Rule::c_rate, .value = c_rate});
  CHECK(model.state().at("1.bias").item() == 0.5);
  return model.state().at("1.weight").to_vector<double>();
}

int64_t ones(const Tensor& mask) {
  const std::vector<double> m = mask.to(DType::float64).to_vector<double>();
  return std::count(m.begin(), m.end(), 1.0);
}

int64_t kept(const Model& model, const char* name) {
  const std::vector<double> w = model.state().at(name).to(DType::float64).to_vector<double>();
  return std::ssize(w) - std::count(w.begin(), w.end(), 0.0);
}

struct Operation {
  Model model{dns_net, {.seed = 3}};
  NetworkSurgery surgery{.value = 0.3, .gamma = 0.2};
  TrainOptions options{.epochs = 4, .batch = 16, .lr = 0.05};

  const Model& done() {
    prepare_surgery(model, surgery, options);
    train(model, dns_digits(), options);
    return model;
  }
};

/// Calls look(moment, weights and masks) behind each asking of `surgery`, with whether masks changed.
template <class F>
void watch(Surgery& surgery, F look) {
  surgery.revise = [look, revise = surgery.revise](const Moment& now, std::vector<MaskedWeights>& all) {
    const bool changed = revise(now, all);
    look(now, all, changed);
    return changed;
  };
}

}  // namespace

TEST_CASE("dns: the first masks by hand") {
  // |w|: mean 8/3, deviation sqrt(11 - 64/9) = 1.972; kept is what exceeds 0.9 (mean + c deviation).
  const std::vector<double> w{1, -2, 3, -4, 0, 6};
  CHECK(first_cut(w, -2) == w);                                        // a threshold of 0
  CHECK(first_cut(w, 0) == std::vector<double>{0, 0, 3, -4, 0, 6});    // 2.4
  CHECK(first_cut(w, 0.5) == std::vector<double>{0, 0, 0, -4, 0, 6});  // 3.29
  CHECK(first_cut(w, 2) == std::vector<double>{0, 0, 0, 0, 0, 6});     // 5.95
  CHECK_ERROR(first_cut(w, 2.1), "compress dns: keeps none of the 6 weights of '1.weight'");  // 6.13
}

TEST_CASE("dns: between 0.9 and 1.1 of the threshold a mask stays what it is") {
  Model model = linear_model({1, -2, 3, -4, 0, 6}, {0});  // c = 0: threshold 8/3, from 2.4 to 2.93
  TrainOptions training;
  for (const bool once : {true, false}) {
    prepare_surgery(model, {.rule = Rule::c_rate, .value = 0, .statistics_once = once}, training);
    model.coding = {};
    const Tensor weights = Tensor::of<double>({2.39, -2.41, 2.41, 2.92, -2.94, 9}, {1, 6});
    const Tensor mask = Tensor::of<double>({1, 1, 0, 0, 0, 1}, {1, 6});
    std::vector<MaskedWeights> all{{"1.weight", weights, mask}};
    CHECK(training.surgery.revise({}, all));
    // By their own statistics, mean 3.68, the last alone is above 0.9 of the threshold.
    CHECK(mask.to_vector<double>() ==
          (once ? std::vector<double>{0, 1, 0, 0, 1, 1} : std::vector<double>{0, 0, 0, 0, 0, 1}));
  }
}

TEST_CASE("dns: a density is met in each layer, or in all together by one c") {
  const Model model(dns_net, {.seed = 3});
  for (const double density : {0.05, 0.101, 0.5, 1.0}) {
    const Model each = compress_surgically(model, {.value = density});
    for (const char* name : {"0.weight", "4.weight", "6.weight"})
      CHECK(kept(each, name) == std::llround(density * static_cast<double>(model.state().at(name).numel())));
  }
  const Model together = compress_surgically(model, {.value = 0.25, .global = true});
  CHECK(kept(together, "0.weight") + kept(together, "4.weight") + kept(together, "6.weight") ==
        std::llround(0.25 * (100 + 2304 + 160)));
  // One c: each layer keeps what exceeds 0.9 of a threshold at the same number of deviations from its mean.
  double low = -1e9, high = 1e9;
  for (const char* name : {"0.weight", "4.weight", "6.weight"}) {
    const std::vector<double> all = model.state().at(name).to(DType::float64).to_vector<double>(),
                              left = together.state().at(name).to(DType::float64).to_vector<double>();
    double sum = 0, squares = 0;
    for (const double w : all) sum += std::abs(w), squares += w * w;
    const double mean = sum / static_cast<double>(all.size());
    const double deviation = std::sqrt(squares / static_cast<double>(all.size()) - mean * mean);
    for (size_t i = 0; i < all.size(); ++i) {
      const double c = (std::abs(all[i]) / 0.9 - mean) / deviation;
      if (left[i] != 0) high = std::min(high, c);
      if (left[i] == 0) low = std::max(low, c);
    }
  }
  CHECK(low < high);
}

TEST_CASE("dns: the density holds whenever masks change and at the end, in the file as well") {
  for (const bool global : {false, true})
    for (const bool learn : {false, true}) {
      Operation o;
      o.surgery.global = global;
      o.surgery.pruned_learn = learn;
      prepare_surgery(o.model, o.surgery, o.options);
      int64_t changes = 0;
      watch(o.options.surgery, [&](const Moment&, const std::vector<MaskedWeights>& all, bool changed) {
        changes += changed;
        if (global) CHECK(ones(all[0].mask) + ones(all[1].mask) + ones(all[2].mask) == 769);  // of 2564
        if (!global) CHECK(ones(all[1].mask) == 691);                                         // of 2304
      });
      train(o.model, dns_digits(), o.options);
      CHECK(changes > 2);
      CHECK(kept(o.model, "0.weight") + kept(o.model, "4.weight") + kept(o.model, "6.weight") == 769);
      const Archive archive = archive_of(o.model);
      CHECK(archive.tensors.contains("4.weight.gaps"));
      CHECK(archive.metadata.at("masks").find(R"({"method":"prune","parameter":"4.weight"})") !=
            std::string::npos);
      CHECK(same_bits(model_from_archive(archive, "f"), o.model));
      CHECK(materialise(o.model).coding.parameters.empty());
    }
}

TEST_CASE("dns: pruned weights learn and come back, or stay where they were") {
  for (const bool learn : {true, false}) {
    Operation o;
    o.surgery = {.rule = Rule::c_rate, .value = 0.5, .pruned_learn = learn};
    o.options.optimizer = parse_optimizer("sgd:momentum=0");
    o.options.lr = 0.3;
    prepare_surgery(o.model, o.surgery, o.options);
    std::vector<float> mask, weights;  // before the update
    int64_t returned = 0, moved = 0, still = 0;
    watch(o.options.surgery, [&](const Moment& now, const std::vector<MaskedWeights>& all, bool) {
      const std::vector<float> m = all[1].mask.to_vector<float>(), w = all[1].weights.to_vector<float>();
      for (size_t i = 0; now.step > 0 && i < m.size(); ++i) {
        returned += mask[i] == 0 && m[i] == 1;
        if (mask[i] == 0) (w[i] == weights[i] ? still : moved)++;
      }
      mask = m, weights = w;
    });
    train(o.model, dns_digits(), o.options);
    CHECK((moved > 0) == learn);
    CHECK((returned > 0) == learn);
    CHECK((learn || still > 0));
    const std::vector<float> last = o.model.state().at("4.weight").to_vector<float>();
    for (size_t i = 0; i < mask.size(); ++i) CHECK((last[i] == 0) == (mask[i] == 0));
  }
}

TEST_CASE("dns: one update by hand") {
  // Two scores, two inputs: logits = mask * w x, softmax, d loss / d w[k][j] = (p[k] - y[k]) x[j].
  for (const bool learn : {true, false}) {
    Model model = linear_model({0.3, 0.1, -0.2, 0.9}, {0, 0});
    const Dataset data{.name = "one",
                       .images = Tensor::of(std::vector<double>{0.5, 1}, {1, 1, 1, 2}),
                       .labels = classes({0}),
                       .classes = 2,
                       .class_names = {}};
    TrainOptions options{.epochs = 2, .batch = 1, .optimizer = parse_optimizer("sgd:momentum=0"), .lr = 0.5};
    prepare_surgery(model, {.value = 0.5, .pruned_learn = learn, .stop = 0}, options);  // 0.3 and 0.9 stay
    std::vector<double> after;
    watch(options.surgery, [&](const Moment& now, const std::vector<MaskedWeights>& all, bool) {
      if (now.step == 1) after = all[0].weights.to_vector<double>();
    });
    train(model, data, options);
    const double p1 = 1 / (1 + std::exp(0.3 * 0.5 - 0.9));
    const double up = 0.5 * p1;  // lr p1
    const std::vector<double> expected{0.3 + up * 0.5, 0.1 + (learn ? up : 0), -0.2 - (learn ? up * 0.5 : 0),
                                       0.9 - up};
    for (size_t i = 0; i < 4; ++i) CHECK(after[i] == doctest::Approx(expected[i]).epsilon(1e-12));
  }
}

TEST_CASE("dns: when masks change") {
  const auto changes = [](const NetworkSurgery& surgery, uint64_t seed) {
    Model model(dns_net, {.seed = 3});
    TrainOptions training{.seed = seed};
    prepare_surgery(model, surgery, training);
    std::vector<MaskedWeights> all;
    for (const char* name : {"0.weight", "4.weight", "6.weight"}) {
      const Tensor w = model.parameter(name).value();
      all.push_back({name, w, Tensor::full(w.shape(), 1)});
    }
    std::vector<int64_t> steps;
    for (int64_t step = 0; step < 100; ++step)
      if (training.surgery.revise({step, 10, 100}, all)) steps.push_back(step);
    return steps;
  };
  std::vector<int64_t> to_three_quarters(75), to_thirty(30);
  for (size_t i = 0; i < 75; ++i) to_three_quarters[i] = static_cast<int64_t>(i);
  for (size_t i = 0; i < 30; ++i) to_thirty[i] = static_cast<int64_t>(i);
  CHECK(changes({.gamma = 0}, 1) == to_three_quarters);
  CHECK(changes({.power = 0, .stop = 30}, 1) == to_thirty);
  CHECK(changes({.by_epoch = true}, 1) == std::vector<int64_t>{0, 10, 20, 30, 40, 50, 60, 70});
  CHECK(changes({.by_epoch = true, .stop = 0}, 1) == std::vector<int64_t>{0});  // the first masks, always
  CHECK(changes({.gamma = 1e9}, 1) == std::vector<int64_t>{0});
  CHECK(changes({.gamma = 0.1}, 1) != changes({.gamma = 0.1}, 2));
  size_t all = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) all += changes({.gamma = 0.1, .stop = 100}, seed).size();
  double expected = 0;
  for (int64_t i = 0; i < 100; ++i) expected += 20 / (1 + 0.1 * static_cast<double>(i));
  CHECK(std::abs(static_cast<double>(all) - expected) < 4 * std::sqrt(expected));
}

TEST_CASE("dns: the same bits on any number of threads, and when resumed") {
  const TempDir folder;
  for (const bool once : {true, false}) {
    Operation whole;
    whole.surgery.statistics_once = once;
    const Model& wanted = whole.done();
    {
      const int before = threads();
      set_threads(before == 1 ? 3 : 1);
      Operation other;
      other.surgery.statistics_once = once;
      CHECK(same_bits(other.done(), wanted));
      set_threads(before);
    }
    Operation first, second, third;
    for (Operation* o : {&first, &second, &third}) o->surgery.statistics_once = once;
    std::atomic<bool> stop = false;
    first.options.checkpoint = folder / "run.safetensors";
    first.options.stop = &stop;
    first.options.progress = [&](const TrainProgress& p) { stop = p.step == 6; };
    first.done();
    CHECK(same_bits(load_model(first.options.checkpoint), first.model));
    second.options.resume = third.options.resume = first.options.checkpoint;
    CHECK(same_bits(second.done(), wanted));
    third.surgery.value = 0.31;
    CHECK_ERROR(third.done(), "was made with method 'dns: density 0.3");
    Operation other_start;
    other_start.model = Model(dns_net, {.seed = 4});
    other_start.surgery.statistics_once = once;
    other_start.options.resume = first.options.checkpoint;
    if (once) CHECK_ERROR(other_start.done(), "was made with method 'dns: ");
  }
}

TEST_CASE("dns: afterwards it is a pruned network like any other") {
  Operation o;
  const Model sparse = o.done().clone();
  Model tuned = sparse.clone();
  train(tuned, dns_digits(), {.epochs = 1, .batch = 16});
  CHECK_FALSE(same_bits(tuned, sparse));
  const std::vector<float> before = sparse.state().at("4.weight").to_vector<float>(),
                           after = tuned.state().at("4.weight").to_vector<float>();
  for (size_t i = 0; i < before.size(); ++i)
    if (before[i] == 0) CHECK(after[i] == 0);
  const Model hashed =
      compress_surgically(small_net(DType::float32, "@1/4"), {.value = 0.5, .layers = "last:2"});
  CHECK(kept(hashed, "4.weight") == 77);  // round(153 / 2) bucket values
}

TEST_CASE("compress dns refuses what it cannot do, and leaves the model as it was") {
  Model model = small_net();
  TrainOptions training;
  const auto fault = [&](const NetworkSurgery& options) {
    const std::string message = error_of([&] { prepare_surgery(model, options, training); });
    CHECK(message == error_of([&] { compress_surgically(model, options); }));
    return message;
  };
  for (const double density : {0.0, -1.0, 1.01, double{NAN}})
    CHECK(fault({.value = density}).find("compress dns: density ") == 0);
  for (const double c : {double{NAN}, double{INFINITY}})
    CHECK(fault({.rule = Rule::c_rate, .value = c}).find("compress dns: c_rate ") == 0);
  CHECK(fault({.gamma = -1}) == "compress dns: gamma -1, a number from 0 expected");
  CHECK(fault({.power = NAN}).find("compress dns: power nan") == 0);
  CHECK(fault({.layers = "last:9"}).find("compress dns: layers 'last:9'") == 0);
  CHECK(fault({.value = 0.001}) == "compress dns: keeps none of the 36 weights of '0.weight'");
  CHECK(fault({.rule = Rule::c_rate, .value = 9}).find("compress dns: keeps none of the 36") == 0);
  CHECK(model.coding == Coding{});
  CHECK(model.metadata.empty());
  CHECK(training.surgery.parameters.empty());
  CHECK_ERROR(compress_surgically(linear_model({1, -1, 1, 1}, {0}), {}),
              "compress dns: all 4 weights of '1.weight' have the magnitude 1");
  CHECK_ERROR(
      compress_surgically(linear_model({1, -1, 2, 2}, {0}), {.value = 0.25}),
      "compress dns: density 0.25 asks for 1 of 4 weights; because some are zero or equal, it gets 0");
  CHECK_ERROR(compress_surgically(linear_model({1, 0, 0, 2}, {0}), {.value = 0.75}), "it gets 2");
  CHECK_ERROR(compress_surgically(linear_model({1, 2, 3}, {0}), {.rule = Rule::c_rate, .global = true}),
              "a c_rate is one number for each layer as for all together");
  const Model once = compress_surgically(model, {.value = 0.5});
  CHECK_ERROR(compress_surgically(once, {}),
              "compress dns: layer 0 (conv4k3p1) is pruned, shared or in fixed point already");
  CHECK_ERROR(compress_prune(once, {}), "compress prune: layer 0 (conv4k3p1) is pruned already");
}

TEST_CASE("dns: a checkpoint's mask of the wrong shape is named") {
  const TempDir folder;
  Operation first, second;
  first.options.epochs = second.options.epochs = 1;
  first.options.checkpoint = second.options.resume = folder / "run.safetensors";
  first.done();
  Archive archive = read_archive(first.options.checkpoint);
  archive.tensors["train.mask.4.weight"] = Tensor::zeros({3});
  write_archive(first.options.checkpoint, archive);
  CHECK_ERROR(second.done(), "tensor 'train.mask.4.weight' is float32 [3], float32 [16,144] is expected");
}
