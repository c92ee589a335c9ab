#include <atomic>
#include <cmath>
#include <doctest/doctest.h>
#include <filesystem>
#include <functional>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "compression/fixed_point.h"
#include "compression/hash.h"
#include "compression/prune.h"
#include "core/file.h"
#include "core/parallel.h"
#include "datasets/synthetic_digits.h"
#include "nn/average.h"
#include "nn/checkpoint.h"
#include "nn/model_file.h"
#include "nn/train.h"
#include "tests/error_of.h"
#include "tests/ops_testing.h"
#include "tests/train_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

const Dataset& digits() {
  static const Dataset data = synthetic_digits(Split::train, 100, 1);
  return data;
}

const char* const small = "1x28x28 conv4k5s2 relu maxpool2 bn flatten dropout0.25 fc32@1/4 relu fc10";

TrainOptions small_options() {
  TrainOptions options{
      .epochs = 2, .batch = 16, .optimizer = parse_optimizer("sgd:nesterov,weight_decay=1e-4"), .lr = 0.03};
  options.schedule = Schedule("cosine");
  options.label_smoothing = 0.1;
  options.augmentation.shift = 1;
  return options;
}

Model trained(const TrainOptions& options) {
  Model model(small, {.seed = 4});
  train(model, digits(), options);
  return model;
}

/// Three updates of w = [1, -2] with gradients [0.5, -1], [0.25, 2], [-1, 0] at learning rate 0.1.
std::vector<double> three_steps(const std::string& optimizer) {
  Variable w = Variable::leaf(Tensor::of(std::vector<double>{1, -2}, {2}));
  Optimizer o({{"w", &w}}, parse_optimizer(optimizer));
  for (const std::vector<double>& g : {std::vector<double>{0.5, -1}, {0.25, 2}, {-1, 0}}) {
    w.zero_grad();
    sum(w * Variable(Tensor::of(g, {2}))).backward();
    o.step(0.1);
  }
  return w.value().to_vector<double>();
}

/// Over all parameters.
double largest_difference(Model& a, Model& b) {
  double largest = 0;
  for (const Parameter& p : a.parameters())
    largest = std::max(largest, difference(p.variable->value(), b.parameter(p.name).value()));
  return largest;
}

int64_t zero_weights(Model& model) {
  int64_t count = 0;
  for (const Parameter& p : model.parameters())
    if (p.name.ends_with("weight"))
      for (const float w : p.variable->value().to_vector<float>()) count += w == 0;
  return count;
}

}  // namespace

TEST_CASE("optimisers follow PyTorch's formulas") {
  const double g[3][2] = {{0.5, -1}, {0.25, 2}, {-1, 0}};
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    const double start = i == 0 ? 1 : -2;
    double plain = start, momentum = start, nesterov = start, v = 0, u = 0;
    double adam = start, m = 0, s = 0, rms = start, square = 0, rms_m = start, square_m = 0, buffer = 0;
    for (int t = 1; t <= 3; ++t) {
      const double grad = g[t - 1][i];
      plain -= 0.1 * (grad + 0.5 * plain);
      v = 0.9 * v + grad;
      momentum -= 0.1 * v;
      u = 0.8 * u + grad;
      nesterov -= 0.1 * (grad + 0.8 * u);
      m = 0.9 * m + 0.1 * grad;
      s = 0.999 * s + 0.001 * grad * grad;
      adam -= 0.1 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(s / (1 - std::pow(0.999, t))) + 1e-8);
      square = 0.99 * square + 0.01 * grad * grad;
      rms -= 0.1 * grad / (std::sqrt(square) + 1e-8);
      square_m = 0.9 * square_m + 0.1 * grad * grad;
      buffer = 0.5 * buffer + grad / (std::sqrt(square_m) + 1);
      rms_m -= 0.1 * buffer;
    }
    const size_t j = static_cast<size_t>(i);
    CHECK(three_steps("sgd:momentum=0,weight_decay=0.5")[j] == doctest::Approx(plain).epsilon(1e-12));
    CHECK(three_steps("sgd")[j] == doctest::Approx(momentum).epsilon(1e-12));
    CHECK(three_steps("sgd:momentum=0.8,nesterov")[j] == doctest::Approx(nesterov).epsilon(1e-12));
    CHECK(three_steps("adam")[j] == doctest::Approx(adam).epsilon(1e-12));
    CHECK(three_steps("rmsprop")[j] == doctest::Approx(rms).epsilon(1e-12));
    CHECK(three_steps("rmsprop:alpha=0.9,eps=1,momentum=0.5")[j] == doctest::Approx(rms_m).epsilon(1e-12));
  }
}

TEST_CASE("optimiser settings have one canonical text; faults are named") {
  const std::pair<const char*, const char*> texts[] = {
      {"sgd", "sgd:momentum=0.9,weight_decay=0"},
      {"sgd:momentum=0", "sgd:momentum=0,weight_decay=0"},
      {"sgd:nesterov", "sgd:momentum=0.9,nesterov,weight_decay=0"},
      {"adam:beta2=0.5,eps=1e-6", "adam:beta1=0.9,beta2=0.5,eps=1e-06,weight_decay=0"},
      {"rmsprop:momentum=0.9", "rmsprop:alpha=0.99,eps=1e-08,momentum=0.9,weight_decay=0"}};
  for (const auto& [text, canonical] : texts) {
    CHECK(to_string(parse_optimizer(text)) == canonical);
    CHECK(to_string(parse_optimizer(canonical)) == canonical);
  }
  CHECK_ERROR(parse_optimizer("sdg"), "optimizer 'sdg' is not known; accepted: sgd[");
  CHECK_ERROR(parse_optimizer(""), "optimizer '' is not known");
  CHECK_ERROR(parse_optimizer("sgd:beta1=0.5"), "'beta1=0.5' is not a setting of sgd");
  CHECK_ERROR(parse_optimizer("sgd:momentum"), "momentum needs a value");
  CHECK_ERROR(parse_optimizer("sgd:momentum=1"), "optimizer: momentum is 1");
  CHECK_ERROR(parse_optimizer("sgd:momentum=0.5x"), "momentum is '0.5x', a number is expected");
  CHECK_ERROR(parse_optimizer("adam:beta1=1"), "optimizer: beta1 is 1, at least 0 and below 1 is accepted");
  CHECK_ERROR(parse_optimizer("sgd:momentum=x"), "optimizer: momentum is 'x', a number is expected");
  CHECK_ERROR(parse_optimizer("sgd:momentum=0,nesterov"), "nesterov needs a momentum above 0");
  for (const char* eps : {"0", "1e-46"})
    CHECK_ERROR(parse_optimizer(fmt::format("adam:eps={}", eps)), "a number from 1.18e-38 is expected");
  CHECK_ERROR(parse_optimizer("adam:weight_decay=-1"), "optimizer: weight_decay is -1, 0 to 1 is accepted");
  CHECK_ERROR(parse_optimizer("adam:"), "'' is not a setting of adam");
  CHECK_ERROR(parse_optimizer("adam:nesterov"), "'nesterov' is not a setting of adam");
  CHECK_ERROR(parse_optimizer("sgd:momentum=0.9,momentum=0.5"), "momentum is given twice");
  CHECK_ERROR(parse_optimizer("sgd:nesterov,nesterov"), "nesterov is given twice");
  CHECK_ERROR(Optimizer({}, {.momentum = 0, .nesterov = true}), "nesterov needs a momentum above 0");
  CHECK_ERROR(Optimizer({}, {.beta2 = 1}), "optimizer: beta2 is 1, at least 0 and below 1 is accepted");
}

TEST_CASE("weight decay may be of weights only: not of biases, nor of what normalisations scale by") {
  const auto ones = [](const Shape& shape) { return Variable::leaf(Tensor::full(shape, 1)); };
  Variable matrix = ones({2, 2}), buckets = ones({3}), scale = ones({3}), bias = ones({3}),
           hashed_bias = ones({3});
  const std::vector<Parameter> all{{"0.weight", &matrix},
                                   {"1.weight", &buckets, true},
                                   {"2.weight", &scale},
                                   {"2.bias", &bias},
                                   {"1.bias", &hashed_bias, true}};
  for (const bool weights_only : {false, true}) {
    Optimizer o(all, parse_optimizer(weights_only ? "sgd:momentum=0,weight_decay=0.5,weights_only"
                                                  : "sgd:momentum=0,weight_decay=0.5"));
    for (const Parameter& p : all) {
      p.variable->value().copy_from(Tensor::full(p.variable->shape(), 1));
      p.variable->zero_grad();
      sum(*p.variable * 0.0).backward();
    }
    o.step(0.1);
    for (const Parameter& p : all) {
      CAPTURE(p.name);
      const bool decays = !weights_only || p.variable == &matrix || p.variable == &buckets;
      CHECK(p.variable->value().to_vector<float>()[0] == doctest::Approx(decays ? 0.95 : 1));
    }
  }
  CHECK(to_string(parse_optimizer("adam:weights_only")) ==
        "adam:beta1=0.9,beta2=0.999,eps=1e-08,weight_decay=0,weights_only");
  CHECK_ERROR(parse_optimizer("sgd:weights_only=1"), "'weights_only=1' is not a setting of sgd");
}

TEST_CASE("schedules are functions of progress") {
  const auto factor = [](const char* text, int64_t step) { return Schedule(text).factor(step, 10, 4); };
  CHECK(factor("constant", 39) == 1);
  CHECK(factor("step:1,3", 9) == 1);
  CHECK(factor("step:1,3", 10) == doctest::Approx(0.1));
  CHECK(factor("step:1,3:0.5", 30) == doctest::Approx(0.25));
  CHECK(factor("cosine", 0) == doctest::Approx(1));
  CHECK(factor("cosine", 20) == doctest::Approx(0.5));
  CHECK(factor("exponential:0.5", 29) == doctest::Approx(0.25));
  CHECK(factor("triangular:0.25", 5) == doctest::Approx(0.5));
  CHECK(factor("triangular:0.25", 10) == doctest::Approx(1));
  CHECK(factor("triangular:0.25", 25) == doctest::Approx(0.5));
  CHECK(factor("triangular:0", 0) == doctest::Approx(1));
  CHECK(factor("onecycle", 0) == doctest::Approx(0.04));
  CHECK(factor("onecycle", 12) == doctest::Approx(1));
  CHECK(1e6 * factor("onecycle", 40) == doctest::Approx(4));
  CHECK(factor("inv:1:0.5", 15) == doctest::Approx(0.25));
  const std::pair<const char*, const char*> texts[] = {{"constant", "constant"},
                                                       {"step:1,3", "step:1,3:0.1"},
                                                       {"step:1:0.5", "step:1:0.5"},
                                                       {"cosine", "cosine"},
                                                       {"exponential:0.25", "exponential:0.25"},
                                                       {"triangular", "triangular:0.2"},
                                                       {"onecycle:0.2", "onecycle:0.2"},
                                                       {"inv:1e-4", "inv:0.0001:0.75"},
                                                       {"inv:1:0.5", "inv:1:0.5"}};
  for (const auto& [text, canonical] : texts) {
    CHECK(Schedule(text).text() == canonical);
    CHECK(Schedule(canonical).text() == canonical);
  }
  CHECK_ERROR(Schedule("linear"), "schedule 'linear' is not known; accepted: constant, step:");
  CHECK_ERROR(Schedule("step"), "schedule 'step' has 0 values");
  CHECK_ERROR(Schedule("step:a"), "schedule 'step:a': epoch is 'a', a number is expected");
  CHECK_ERROR(Schedule("cosine:1"), "schedule 'cosine:1' has 1 values");
  CHECK_ERROR(Schedule("inv:1:2:3"), "schedule 'inv:1:2:3' has 3 values");
  CHECK_ERROR(Schedule("exponential:2"), "value 1 is 2, 0 to 1 is accepted");
  CHECK_ERROR(Schedule("inv:-1"), "value 1 is -1");
  CHECK_ERROR(Schedule("step:1:nan"), "is nan");
}

TEST_CASE("training learns the digits, and gives the same bits on one thread and on two") {
  const Dataset test = synthetic_digits(Split::test, 100, 1);
  TrainOptions options{.epochs = 12, .batch = 16, .lr = 0.05};
  std::vector<TrainProgress> seen;
  options.progress = [&](const TrainProgress& p) { seen.push_back(p); };
  Model model("1x28x28 conv8k5s2 relu maxpool2 flatten fc10"), twin = model.clone();
  const double before = evaluate(model, test).accuracy;
  const int all = threads();
  set_threads(2);
  const TrainResult result = train(model, digits(), options);
  set_threads(1);
  options.progress = {};
  train(twin, digits(), options);
  set_threads(all);
  CHECK(same_bits(model, twin));
  CHECK(before < 0.3);
  CHECK(evaluate(model, test).accuracy > 0.6);
  CHECK(result.epochs == 12);
  CHECK(result.steps == 12 * 7);  // the last, partial batch is used
  REQUIRE(seen.size() == 84);
  CHECK(seen.front().loss > 2 * seen.back().loss);
  CHECK(seen.back().step == seen.back().steps);
  CHECK(seen.back().epoch == 12);
  CHECK(seen.back().lr == 0.05);
}

TEST_CASE("a row of the log is of an epoch's steps, then of the validation behind it") {
  const TempDir folder;
  // One update per epoch, on all images: its loss is that of the weights which the epoch before left.
  TrainOptions options{.epochs = 3, .batch = 100, .lr = 0.05, .schedule = Schedule("inv:1:1")};
  options.validation = &digits();
  options.log_csv = folder / "log.csv";
  Model model("1x28x28 flatten fc10", {.dtype = DType::float64, .seed = 4});
  std::vector<Score> before{evaluate(model, digits())};
  std::vector<TrainProgress> seen;
  options.progress = [&](const TrainProgress& p) { seen.push_back(p); };
  options.epoch_done = [&](int64_t epoch) {
    CHECK(epoch == std::ssize(before));
    before.push_back(evaluate(model, digits()));
  };
  const TrainResult result = train(model, digits(), options);
  std::string expected = "epoch,step,lr,loss,accuracy,validation_loss,validation_accuracy\n";
  for (size_t e = 0; e < 3; ++e) {
    const double lr = 0.05 / static_cast<double>(e + 1);
    expected += fmt::format("{0},{0},{1:.6g},{2:.6g},{3:.6g},{4:.6g},{5:.6g}\n", e + 1, lr, before[e].loss,
                            before[e].accuracy, before[e + 1].loss, before[e + 1].accuracy);
    CHECK(seen[e].lr == lr);
    CHECK(seen[e].loss == doctest::Approx(before[e].loss));
    CHECK(seen[e].accuracy == before[e].accuracy);
  }
  CHECK(timeless_log(options.log_csv) == expected);
  CHECK(result.loss == doctest::Approx(before[2].loss));
  CHECK(result.accuracy == before[2].accuracy);
  for (const Parameter& p : model.parameters()) CHECK_FALSE(p.variable->grad().defined());
}

TEST_CASE("label smoothing takes its share of the way to the labels") {
  const auto biases = [](double smoothing) {  // behind one update; before it all classes are as likely
    TrainOptions options{.epochs = 1, .batch = 100, .optimizer = parse_optimizer("sgd:momentum=0"), .lr = 1};
    options.label_smoothing = smoothing;
    Model model("1x28x28 flatten fc10", {.dtype = DType::float64, .init = Init::zeros});
    train(model, digits(), options);
    return model.parameter("1.bias").value().to_vector<double>();
  };
  const std::vector<double> all = biases(0), part = biases(0.25);
  for (size_t k = 0; k < 10; ++k) CHECK(part[k] == doctest::Approx(0.75 * all[k]));
  CHECK(*std::max_element(all.begin(), all.end()) > 0.01);
}

TEST_CASE("evaluation does not depend on the batch size") {
  const Model model(small);
  const Score all = evaluate(model, digits(), 1000), some = evaluate(model, digits(), 33);
  CHECK(all.samples == 100);
  CHECK(all.correct == some.correct);
  CHECK(all.loss == some.loss);
  CHECK(all.accuracy == doctest::Approx(static_cast<double>(all.correct) / 100));
}

TEST_CASE("a run that was stopped anywhere and resumed gives the bits of an uninterrupted one") {
  const TempDir folder;
  TrainOptions options = small_options();
  options.log_csv = folder / "whole.csv";
  const Model whole = trained(options);
  for (int stop_after : {1, 7, 8}) {  // 7 steps are an epoch
    CAPTURE(stop_after);
    TrainOptions first = options;
    std::atomic<bool> stop = false;
    first.checkpoint = folder / "run.safetensors";
    first.log_csv = folder / "run.csv";
    first.stop = &stop;
    first.progress = [&](const TrainProgress& p) { stop = p.step >= stop_after; };
    Model broken(small, {.seed = 4});
    CHECK(train(broken, digits(), first).stopped);
    write_file(first.log_csv, "epoch,rows\n9,of a later time that was lost\n");

    TrainOptions second = options;
    second.checkpoint = first.checkpoint;
    second.log_csv = first.log_csv;
    second.resume = first.checkpoint;
    Model resumed(small, {.seed = 1000});
    const TrainResult result = train(resumed, digits(), second);
    CHECK(result.steps == 14);
    CHECK(same_bits(resumed, whole));
    CHECK(timeless_log(second.log_csv) == timeless_log(options.log_csv));
    CHECK(same_bits(load_model(second.checkpoint), whole));  // a checkpoint is also a model
  }
}

TEST_CASE("accumulated batches make the updates of one large batch, the last of an epoch too") {
  const char* spec = "1x28x28 flatten dropout0.3 fc16 relu fc10";
  TrainOptions at_once{.epochs = 2, .batch = 48, .lr = 0.05}, in_parts = at_once;  // 100 images: 48, 48, 4
  at_once.schedule = in_parts.schedule = Schedule("cosine");
  in_parts.batch = 16;
  in_parts.accumulate = 3;
  Model whole(spec, {.dtype = DType::float64, .seed = 4}), parts = whole.clone(), uneven = whole.clone();
  const TrainResult expected = train(whole, digits(), at_once), result = train(parts, digits(), in_parts);
  CHECK(result.steps == 6);
  CHECK(result.loss == doctest::Approx(expected.loss).epsilon(1e-12));
  CHECK(largest_difference(parts, whole) < 1e-12);
  at_once.batch = 64, in_parts.accumulate = 4;  // 64 images; 16, 16 and 4
  Model two = whole.clone(), two_in_parts = whole.clone();
  train(two, digits(), at_once), train(two_in_parts, digits(), in_parts);
  CHECK(largest_difference(two_in_parts, two) < 1e-12);
  in_parts.batch = 20, in_parts.accumulate = 3;  // 60 and 40 images
  CHECK(train(uneven, digits(), in_parts).steps == 4);
  CHECK(largest_difference(uneven, whole) > 1e-4);
  at_once.batch = INT64_MAX, in_parts.accumulate = INT64_MAX;  // all images
  CHECK(train(whole, digits(), at_once).steps == 2);
  CHECK(train(uneven, digits(), in_parts).steps == 2);
  in_parts.accumulate = 3;
  const std::atomic<bool> stop = true;  // before an update's first part: it is finished all the same
  in_parts.stop = &stop;
  CHECK(train(uneven, digits(), in_parts).steps == 1);
  in_parts.accumulate = 0;
  CHECK_ERROR(train(parts, digits(), in_parts), "accumulate is 0, at least 1 is accepted");
  in_parts.accumulate = in_parts.replays = 2;
  CHECK_ERROR(train(parts, digits(), in_parts), "batches that are replayed cannot be accumulated");
}

TEST_CASE("mixed precision rounds what is multiplied in a step, and nothing else") {
  TrainOptions options{.epochs = 1, .batch = 25, .lr = 0.05};
  options.math = Math::bf16;
  Model full(small, {.seed = 4}), mixed = full.clone();
  const Dataset images = digits().first(25);
  train(mixed, images, options);
  CHECK(math_mode() == Math::fp32);
  options.math = Math::fp32;
  train(full, images, options);
  CHECK_FALSE(same_bits(mixed, full));
  CHECK(largest_difference(mixed, full) < 0.01);
  const std::vector<float> weights = mixed.parameters().front().variable->value().to_vector<float>();
  CHECK(std::any_of(weights.begin(), weights.end(), [](float w) { return rounded_to_bf16(w) != w; }));
  Model doubles(small, {.dtype = DType::float64});
  options.math = Math::bf16;
  CHECK_ERROR(train(doubles, images, options), "math bf16 is for float32 networks, this one is float64");
}

TEST_CASE("a training may end with the moving average of its weights, bias-corrected") {
  const char* spec = "1x28x28 flatten fc10";
  const Dataset images = digits().first(32);
  TrainOptions options{.epochs = 5, .batch = 32, .lr = 0.05};
  options.ema = 0.7;
  Model model(spec, {.dtype = DType::float64, .seed = 4});
  std::vector<double> sum(7840);
  const auto weights = [&] { return model.parameter("1.weight").value().to_vector<double>(); };
  options.progress = [&](const TrainProgress&) {  // after each update
    const std::vector<double> w = weights();
    for (size_t i = 0; i < sum.size(); ++i) sum[i] = 0.7 * sum[i] + 0.3 * w[i];
  };
  options.epoch_done = [&](int64_t epoch) {  // each is one update
    const std::vector<double> w = weights();
    for (size_t i = 0; i < sum.size(); ++i)
      REQUIRE(w[i] == doctest::Approx(sum[i] / (1 - std::pow(0.7, epoch))).epsilon(1e-12));
  };
  const Dataset test = synthetic_digits(Split::test, 50, 1);
  const TempDir folder;
  options.validation = &test;
  options.log_csv = folder / "log.csv";
  train(model, images, options);
  const std::vector<double> average = weights();
  for (size_t i = 0; i < sum.size(); ++i)
    REQUIRE(average[i] == doctest::Approx(sum[i] / (1 - std::pow(0.7, 5))).epsilon(1e-12));
  const std::string log = read_file(options.log_csv);
  CHECK(log.find(fmt::format(",{:.6g},", evaluate(model, test).loss)) != std::string::npos);
  options.ema = 1;
  CHECK_ERROR(train(model, images, options), "average is 1, at least 0 and below 1 is accepted");
}

TEST_CASE("an average of no updates is the weights, and a look at it changes nothing of the training") {
  const Model start = [] {
    Model model("1x28x28 flatten fc10", {.seed = 4});
    declare_fixed_point(model, {.format = {6, 1}, .activations = false});
    return model;
  }();
  TrainOptions options{.epochs = 3, .batch = 20, .lr = 0.05};
  options.ema = 0.7;
  Model plain = start.clone(), seen = start.clone();
  train(plain, digits(), options);
  std::vector<double> of_epochs;
  options.epoch_done = [&](int64_t) { of_epochs.push_back(evaluate(seen, digits()).loss); };
  train(seen, digits(), options);
  CHECK(same_bits(seen, plain));
  CHECK(of_epochs.back() == evaluate(seen, digits()).loss);
  options.ema = 0;
  Model last = start.clone();
  train(last, digits(), options);
  CHECK_FALSE(same_bits(last, plain));
  options.ema = 0.7;
  options.epochs = 0;
  train(seen, digits(), options);
  CHECK(same_bits(seen, plain));
}

TEST_CASE("the seed of a training orders the images, and draws what dropout drops") {
  const auto difference_of_seeds = [](const char* spec, int64_t batch) {
    TrainOptions options{.epochs = 1, .batch = batch, .lr = 0.05};
    Model a(spec, {.dtype = DType::float64, .seed = 4}), b = a.clone();
    train(a, digits(), options);
    options.seed = 1;
    train(b, digits(), options);
    return largest_difference(a, b);
  };
  CHECK(difference_of_seeds("1x28x28 flatten fc10", 100) < 1e-12);  // one batch of all images
  CHECK(difference_of_seeds("1x28x28 flatten fc10", 20) > 1e-4);
  CHECK(difference_of_seeds("1x28x28 flatten dropout0.5 fc10", 100) > 1e-4);
}

TEST_CASE("the average of weights that stay where they are is these weights, however near 1 the decay") {
  Variable w = Variable::leaf(Tensor::of(std::vector<float>{0.1F, -0.7F, 3.3F}, {3}));
  const std::vector<float> before = w.value().to_vector<float>();
  WeightAverage average({{"w", &w}}, 0.99999);
  for (int i = 0; i < 20000; ++i) average.update();
  average.lend(20000);
  for (size_t i = 0; i < before.size(); ++i)
    CHECK(w.value().to_vector<float>()[i] == doctest::Approx(before[i]).epsilon(2e-7));
  average.take_back();
  CHECK(w.value().to_vector<float>() == before);
}

TEST_CASE("the sums of an average may come from a checkpoint with float32 ones") {
  Variable w = Variable::leaf(Tensor::of(std::vector<float>{0.25F, -0.5F}, {2}));
  WeightAverage first({{"w", &w}}, 0.5), second({{"w", &w}}, 0.5);
  first.update();
  Archive archive;
  first.save(archive);
  Tensor& sums = archive.tensors.at("train.average.w");
  CHECK(sums.dtype() == DType::float64);
  sums = sums.to(DType::float32);
  second.load(archive, "old");
  w.value().fill(0);
  second.lend(1);
  CHECK(w.value().to_vector<float>() == std::vector<float>{0.25F, -0.5F});
  CHECK_ERROR(second.load({{{"train.average.w", Tensor::zeros({3})}}, {}}, "old"),
              "old: tensor 'train.average.w' is float32 [3], float64 [2] is expected");
  sums = sums.to(DType::int64);
  CHECK_ERROR(second.load(archive, "old"),
              "old: tensor 'train.average.w' is int64 [2], float64 [2] is expected");
}

TEST_CASE("a resumed run has the same average, and what was pruned stays pruned in it") {
  struct Killed {};
  const TempDir folder;
  TrainOptions options = small_options();
  options.ema = 0.9;
  options.accumulate = 2;
  Model pruned = compress_prune(Model(small, {.seed = 4}), {.value = 0.5});
  Model whole = pruned.clone(), broken = pruned.clone();
  train(whole, digits(), options);
  options.checkpoint = folder / "run.safetensors";
  options.checkpoint_steps = 3;
  options.progress = [](const TrainProgress& p) {
    if (p.step == 6) throw Killed{};
  };
  CHECK_THROWS_AS(train(broken, digits(), options), Killed);
  options.progress = {};
  options.resume = options.checkpoint;
  train(broken, digits(), options);
  CHECK(same_bits(broken, whole));
  CHECK(zero_weights(whole) == zero_weights(pruned));
}

TEST_CASE("the peak of a training's memory grows with its batch") {
  TrainOptions options{.epochs = 1, .batch = 4};
  Model model("1x28x28 conv16k3p1 relu flatten fc10");
  const int64_t few = train(model, digits(), options).peak_bytes;
  options.batch = 100;
  const int64_t many = train(model, digits(), options).peak_bytes;
  CHECK(many - few > 90 * 16 * 28 * 28 * 4);
}

TEST_CASE("a run killed between checkpoints resumes from the last one to the same bits") {
  struct Killed {};
  const TempDir folder;
  for (const char* optimizer : {"sgd", "adam", "rmsprop:momentum=0.5"}) {
    TrainOptions options = small_options();
    options.optimizer = parse_optimizer(optimizer);
    options.lr = 0.002;
    const Model whole = trained(options);
    options.checkpoint = folder / "run.safetensors";
    options.checkpoint_steps = 3;
    options.progress = [](const TrainProgress& p) {
      if (p.step == 11) throw Killed{};
    };
    CHECK_THROWS_AS(trained(options), Killed);
    options.progress = {};
    options.resume = options.checkpoint;
    CHECK(same_bits(trained(options), whole));
  }
}

TEST_CASE("resuming with other settings is an error that names the setting") {
  const TempDir folder;
  TrainOptions options = small_options();
  options.epochs = 1;
  options.checkpoint = folder / "run.safetensors";
  trained(options);
  options.resume = options.checkpoint;
  const std::pair<std::function<void(TrainOptions&)>, const char*> changes[] = {
      {[](TrainOptions& o) { o.lr = 0.04; }, "was made with lr '0.03', now it is '0.04'"},
      {[](TrainOptions& o) { o.batch = 32; }, "with batch '16', now it is '32'"},
      {[](TrainOptions& o) { o.epochs = 2; }, "with epochs '1', now it is '2'"},
      {[](TrainOptions& o) { o.seed = 2; }, "with seed '0', now it is '2'"},
      {[](TrainOptions& o) { o.schedule = Schedule(); }, "with schedule 'cosine', now it is 'constant'"},
      {[](TrainOptions& o) { o.optimizer.momentum = 0.8; }, "with optimizer 'sgd:momentum=0.9"},
      {[](TrainOptions& o) { o.augmentation.shift = 0; }, "with augment 'shift:1', now it is 'none'"},
      {[](TrainOptions& o) { o.math = Math::bf16; }, "with math 'fp32', now it is 'bf16'"},
      {[](TrainOptions& o) { o.label_smoothing = 0; }, "with label_smoothing '0.1', now it is '0'"},
      {[](TrainOptions& o) { o.accumulate = 2; }, "with accumulate '1', now it is '2'"},
      {[](TrainOptions& o) { o.hashed_lr = 2; }, "with hashed_lr '1', now it is '2'"},
      {[](TrainOptions& o) { o.hashed_gradient = HashedGradient::mean; },
       "with hashed_gradient 'sum', now it is 'mean'"},
      {[](TrainOptions& o) { o.rounding = Rounding::stochastic; },
       "with rounding 'nearest', now it is 'stochastic'"},
      {[](TrainOptions& o) { o.ema = 0.5; }, "with ema '0', now it is '0.5'"},
      {[](TrainOptions& o) { o.replays = 2; }, "with replays '1', now it is '2'"},
      {[](TrainOptions& o) { o.method = "another"; }, "with method 'plain', now it is 'another'"},
      {[](TrainOptions& o) { o.start = "elsewhere"; }, "with start '', now it is 'elsewhere'"},
  };
  for (const auto& [change, phrase] : changes) {
    TrainOptions other = options;
    change(other);
    CHECK_ERROR(trained(other), phrase);
  }
  Model same(small, {.seed = 4});
  Dataset others = digits(), relabelled = digits();
  others.images = synthetic_digits(Split::train, 100, 2).images;
  relabelled.labels = digits().labels.clone();
  relabelled.labels.data<int64_t>()[99] = (digits().labels.data<int64_t>()[99] + 1) % 10;
  for (const Dataset& data : {others, relabelled})
    CHECK_ERROR(train(same, data, options), "was made with data_digest '");
  Dataset renamed = digits();
  renamed.name = "others";
  CHECK_ERROR(train(same, renamed, options), "with data 'synthetic-digits', now it is 'others'");
  Archive old = read_archive(options.resume);
  old.metadata.erase("train.data_digest");
  TrainOptions from_old = options;
  from_old.resume = folder / "old.safetensors";
  write_archive(from_old.resume, old);
  CHECK_ERROR(trained(from_old), "an older version made it and did not record its data_digest");
  Model wider("1x28x28 flatten fc10");
  CHECK_ERROR(train(wider, digits(), options), "was made with spec '1x28x28 conv4k5s2");
  CHECK(read_archive(options.resume).metadata.at("train.samples") == "100");
  const auto refuse = [&](Model other, const char* phrase) {
    CHECK_ERROR(train(other, digits(), options), phrase);
  };
  refuse(Model(small, {.hash = {.seed = 1}}), "was made with hash_seed '0', now it is '1'");
  refuse(Model(small, {.hash = {.mode = HashMode::strat}}), "with hash_mode 'full', now it is 'strat'");
  refuse(Model(small, {.hash = {.bias = true}}), "was made with hash_bias 'false', now it is 'true'");
  refuse(Model(small, {.dtype = DType::float64}), "was made with dtype 'float32', now it is 'float64'");
  same.metadata["defences"] = R"([{"method":"gi1","eps":0.1}])";
  refuse(same.clone(), "was made with defences '', now it is '[{");
  same.metadata.erase("defences");
  same.coding.activations[1] = {8, 2};
  refuse(same.clone(), "was made with quantisers '', now it is '[{");
  save_model(options.resume, wider);
  CHECK_ERROR(trained(options), "is not a checkpoint of a training run");
}

TEST_CASE("a finished run that is resumed says what it said; what a damaged checkpoint lacks is named") {
  const TempDir folder;
  TrainOptions options = small_options();
  options.checkpoint = folder / "run.safetensors";
  options.heed = [](const Lesson&, const Tensor&) {};
  Model model(small, {.seed = 4});
  const TrainResult first = train(model, digits(), options);
  options.resume = options.checkpoint;
  const Archive good = read_archive(options.resume);
  const auto resume_with = [&](const char* tensor, const Tensor& value) {
    Archive changed = good;
    changed.tensors[tensor] = value;
    write_archive(options.resume, changed);
    return train(model, digits(), options);
  };
  std::vector<double> sums = good.at("train.sums", "").to_vector<double>();
  sums[3] = 1000;
  const TrainResult second = resume_with("train.sums", Tensor::of(sums, {4}));
  CHECK(second.epochs == first.epochs);
  CHECK(second.steps == first.steps);
  CHECK(second.loss == first.loss);
  CHECK(second.accuracy == first.accuracy);
  CHECK(second.seconds >= 1000);
  CHECK_ERROR(resume_with("train.sums", Tensor::zeros({3}, DType::float64)),
              "tensor 'train.sums' is float64 [3], float64 [4] is expected");
  CHECK_ERROR(resume_with("train.counts", Tensor::full({5}, -1, DType::int64)),
              "tensor 'train.counts' has the negative count -1");
  CHECK_ERROR(resume_with("optimizer.velocity.0.bias", Tensor::zeros({5})),
              "tensor 'optimizer.velocity.0.bias' is float32 [5], float32 [4] is expected");
  CHECK_ERROR(resume_with("optimizer.steps", Tensor::zeros({}, DType::float64)),
              "tensor 'optimizer.steps' is float64 [], int64 [] is expected");
  CHECK_ERROR(resume_with("train.carried", Tensor::zeros({4})),
              "what lessons carry is float32 [4], float32 [16,1,28,28] is expected");
}

TEST_CASE("an answer that is not a number is not correct") {
  Model model("1x28x28 flatten fc10", {.seed = 4});
  const Dataset data = digits();
  for (const float bad : {NAN, INFINITY}) {  // argmax takes it for the largest
    model.parameter("1.bias").value().data<float>()[0] = bad;
    const Score score = evaluate(model, data);
    CHECK(score.correct == 0);
    CHECK(score.nan == data.size());
  }
}

TEST_CASE("resuming with other settings of a compression is an error that names them") {
  const TempDir folder;
  const Model model("1x28x28 flatten fc10", {.seed = 4});
  TrainOptions options{.epochs = 1, .batch = 50};
  options.checkpoint = folder / "run.safetensors";
  Model pruned = compress_prune(model, {.value = 0.5});
  train(pruned, digits(), options);
  options.resume = options.checkpoint;
  Model same = compress_prune(model, {.value = 0.5}), sparser = compress_prune(model, {.value = 0.25});
  train(same, digits(), options);
  CHECK_ERROR(train(sparser, digits(), options),
              "was made with compress.prune 'density 0.5, layers all, each', now it is 'density 0.25, ");

  Model noted = same.clone();
  noted.metadata["compress.other"] = "1";
  CHECK_ERROR(train(noted, digits(), options), "was made with compress.other '', now it is '1'");
  options.resume.clear();
  train(noted, digits(), options);
  options.resume = options.checkpoint;
  CHECK_ERROR(train(same, digits(), options), "was made with compress.other '1', now it is ''");

  options.resume.clear();
  Model fitted = compress_hash(model, {.rate = 0.25});
  train(fitted, digits(), options);
  options.resume = options.checkpoint;
  Model drawn = compress_hash(model, {.rate = 0.25, .start = HashCompression::Start::scratch});
  CHECK_ERROR(train(drawn, digits(), options),
              "was made with compress.hash 'rates 0.25, layers all, start projection', now it is 'rates ");
}

TEST_CASE("training refuses what cannot work, and a diverging run keeps its checkpoint") {
  const TempDir folder;
  Model model("1x28x28 flatten fc10");
  const auto fault = [&](const std::function<void(TrainOptions&)>& change) {
    TrainOptions options;
    change(options);
    return testing::error_of([&] { train(model, digits(), options); });
  };
  CHECK(fault([](auto& o) { o.lr = 0; }) == "train: the learning rate is 0, a number above 0 is expected");
  CHECK(fault([](auto& o) { o.lr = NAN; }) ==
        "train: the learning rate is nan, a number above 0 is expected");
  CHECK(fault([](auto& o) { o.batch = 0; }) == "train: batch is 0, at least 1 is accepted");
  CHECK(fault([](auto& o) { o.epochs = -1; }) == "train: epochs is -1, 0 to 1000000 is accepted");
  CHECK(fault([](auto& o) { o.replays = 0; }) == "train: replays is 0, 1 to 1000 is accepted");
  CHECK(fault([](auto& o) { o.checkpoint_steps = -1; }).find("checkpoint_steps is -1") != std::string::npos);
  CHECK(fault([](auto& o) { o.report_seconds = -1; }).find("report_seconds is -1") != std::string::npos);
  CHECK(fault([](auto& o) { o.hashed_lr = 0; }).find("of hashed layers is 0") != std::string::npos);
  CHECK(fault([](auto& o) { o.label_smoothing = 1; }).find("label smoothing is 1") != std::string::npos);
  CHECK(fault([&](auto& o) {
          o.checkpoint = "/no/such/folder/c";
          o.log_csv = folder / "log.csv";
        }).find("/no/such/folder/c") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "log.csv"));  // the checkpoint comes first
  CHECK(fault([](auto& o) { o.resume = "/no/such/file"; }).find("/no/such/file") != std::string::npos);
  Model few("1x28x28 flatten fc9"), wide("3x28x28 flatten fc10");
  CHECK_ERROR(train(few, digits(), {}), "has 10 classes, the model tells 9 apart");
  CHECK_ERROR(train(wide, digits(), {}), "images are [1,28,28], the model takes [3,28,28]");
  CHECK_ERROR(evaluate(wide, digits()), "images are [1,28,28], the model takes [3,28,28]");
  Dataset unlabelled = digits();
  unlabelled.labels = {};
  CHECK_ERROR(train(model, unlabelled, {}), "has no labels");
  Model flat("1x28x28 flatten fc4 bn fc10"), pixels("1x28x28 conv2k5 bn flatten fc10");
  for (const int64_t batch : {1, 9, 11, 33}) {
    const Model untouched = flat.clone();
    CHECK_ERROR(train(flat, digits(), {.epochs = 1, .batch = batch}),
                fmt::format("train: 100 images in batches of {} leave a last batch of one, too few for the "
                            "batch norm of layer 2",
                            batch));
    CHECK(same_bits(flat, untouched));
  }
  for (const int64_t batch : {2, 100, 101}) train(flat, digits(), {.epochs = 1, .batch = batch});
  train(pixels, digits(), {.epochs = 1, .batch = 99});
  train(flat, digits(), {.epochs = 0, .batch = 9});
  Dataset strange = digits();
  strange.labels = Tensor::full({100}, 10, DType::int64);
  CHECK_ERROR(train(model, strange, {}), "synthetic-digits: the label of sample 0 is 10, not in [0,10)");
  TrainOptions judged{.epochs = 1};
  judged.validation = &unlabelled;
  const Model untouched = model.clone();
  CHECK_ERROR(train(model, digits(), judged), "has no labels");
  CHECK(same_bits(model, untouched));

  TrainOptions options{.epochs = 2, .batch = 50, .lr = 1e38};
  options.checkpoint = folder / "run.safetensors";
  CHECK_ERROR(train(model, digits(), options), "train: ");
  CHECK(load_model(options.checkpoint).classes() == 10);
  options.epochs = 1, options.batch = 100, options.lr = 1e40;  // the one loss is finite, the weights are not
  CHECK_ERROR(train(model = Model("1x28x28 flatten fc10"), digits(), options),
              "after step 1 (" + options.checkpoint + " is kept as it was): value 0 is ");
}

TEST_CASE("a schedule runs over all replays: the last of four updates is at three quarters of it") {
  TrainOptions options{.epochs = 1, .batch = 100, .lr = 0.1, .schedule = Schedule("cosine")};
  options.replays = 4;
  double last = 0;
  options.progress = [&](const TrainProgress& p) { last = p.lr; };
  Model model("1x28x28 flatten fc10", {.seed = 4});
  train(model, digits(), options);
  CHECK(last == doctest::Approx(0.1 * (1 - std::sqrt(0.5)) / 2));  // (1 + cos 3 pi / 4) / 2
}

TEST_CASE("the factor of hashed layers is on their bucket values, and on nothing else") {
  const Model start("1x28x28 flatten fc10@1/8", {.dtype = DType::float64, .seed = 4});
  TrainOptions options{.epochs = 1, .batch = 100, .optimizer = parse_optimizer("sgd:momentum=0"), .lr = 0.1};
  Model whole = start.clone(), half = start.clone();
  train(whole, digits(), options);  // one update
  options.hashed_lr = 0.5;
  train(half, digits(), options);
  for (const char* name : {"1.weight", "1.bias"}) {
    const std::vector<double> w0 = start.state().at(name).to_vector<double>(),
                              w1 = whole.state().at(name).to_vector<double>(),
                              w2 = half.state().at(name).to_vector<double>();
    const double factor = std::string(name) == "1.weight" ? 0.5 : 1;
    double most = 0;
    for (size_t i = 0; i < w0.size(); ++i) {
      CHECK(w2[i] - w0[i] == doctest::Approx(factor * (w1[i] - w0[i])).epsilon(1e-9));
      most = std::max(most, std::abs(w1[i] - w0[i]));
    }
    CHECK(most > 1e-4);
  }
}
