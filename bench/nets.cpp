// One piece of work of a network or a layer, repeated on request: the Hashgrad side of
// bench/compare_pytorch.py.
//
//   bench_nets NET TASK BATCH THREADS [DEVICE [MATH]]
//
// Prints its name and the number of parameters, separated by a bar, then answers each line of standard input,
// a number of calls, with the milliseconds of one call and the peak resident memory (MiB) above what the
// process held before the work was set up.
//
// Task `error` prints instead how far the arithmetic MATH is from float64 with the same weights: max |a-b| /
// max |b| of the result, and of its gradient with respect to the images, then ends.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <string>

#include "attacks/fgsm.h"
#include "attacks/pgd.h"
#include "autograd/ops/conv2d.h"
#include "autograd/ops/hashed.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/reduce.h"
#include "core/device_memory.h"
#include "core/math_mode.h"
#include "core/parallel.h"
#include "core/random.h"
#include "cpu/kernels.h"
#include "cuda/pipeline.h"
#include "nn/fixed_weights.h"
#include "nn/model.h"
#include "nn/optim.h"

namespace hashgrad {
namespace {

double resident_mib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field)) return std::stod(line.substr(field.size() + 1)) / 1024;
  return 0;
}

Tensor uniform(const Shape& shape, uint64_t sample, float low = 0, float high = 1) {
  Tensor t = Tensor::empty(shape);
  Random random(1, Stream::test, sample);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = low + (high - low) * random.uniform();
  return t;
}

Tensor labels(int64_t n) {
  Tensor t = Tensor::empty({n}, DType::int64);
  Random random(1, Stream::test, 99);
  for (int64_t i = 0; i < n; ++i) t.data<int64_t>()[i] = random.below(10);
  return t;
}

/// A layer alone.
struct LoneLayer {
  Shape input;                                                    // of one sample
  std::vector<Tensor> parameters;                                 // float32, on the CPU
  std::function<Variable(const std::vector<Variable>&)> forward;  // of {x, parameters...}
};

LoneLayer hashed_layer(int64_t divide) {
  const int64_t in = 6272, out = 512, buckets = in * out / divide;
  const auto v = std::make_shared<const cpu::HashedMatrix>(cpu::HashedMatrix::linear({1, buckets}, out, in));
  return {{in},
          {uniform({buckets}, 1, -0.01f, 0.01f), Tensor::zeros({out})},
          [v](const std::vector<Variable>& a) { return hashed_linear(a[0], a[1], a[2], v); }};
}

LoneLayer dense_layer() {
  const int64_t in = 6272, out = 512;
  return {{in},
          {uniform({out, in}, 1, -0.01f, 0.01f), Tensor::zeros({out})},
          [](const std::vector<Variable>& a) { return linear(a[0], a[1], a[2]); }};
}

/// The first convolution of a network, to 64 channels, same size.
LoneLayer first_convolution(int64_t channels, int64_t kernel, int64_t size) {
  return {{channels, size, size},
          {uniform({64, channels, kernel, kernel}, 1, -0.1f, 0.1f)},
          [kernel](const std::vector<Variable>& a) {
            return conv2d(a[0], a[1], Variable(), {.stride = 1, .padding = kernel / 2});
          }};
}

const std::map<std::string, std::function<LoneLayer()>> layers{
    {"hashed8", [] { return hashed_layer(8); }},
    {"hashed64", [] { return hashed_layer(64); }},
    {"dense", dense_layer},
    {"conv1", [] { return first_convolution(1, 5, 28); }},
    {"conv3", [] { return first_convolution(3, 3, 32); }}};

const std::map<std::string, std::string> networks{{"a2", "liu2018-mnist"},
                                                  {"b2", "liu2021-mnist"},
                                                  {"lenet5", "lenet5"},
                                                  {"vgg16", "vgg16(bn,fc=512)"},
                                                  {"resnet18", "resnet18"}};

const std::string& network_spec(const std::string& net) {
  const auto spec = networks.find(net);
  check(spec != networks.end(),
        "no net '{}' (accepted: a2, b2, lenet5, vgg16, resnet18, hashed8, hashed64, dense, conv1, "
        "conv3)",
        net);
  return spec->second;
}

/// A result as a function of the images, for error_of().
using Function = std::function<Variable(const Variable&)>;

/// What a process is asked for.
struct Job {
  int64_t parameters;
  std::function<void()> work;
  std::unique_ptr<FixedWeights> fixed;  // while it lives; null: of a layer
};

Function function_of(const LoneLayer& layer, DType type) {
  std::vector<Variable> arguments(1);
  for (const Tensor& p : layer.parameters) arguments.emplace_back(p.to(type));
  return [forward = layer.forward, arguments](const Variable& x) mutable {
    arguments[0] = x;
    return forward(arguments);
  };
}

/// forward; train: forward and the gradients of input and parameters; dinput: the gradient of the input
/// alone, of a forward pass that was made before.
std::function<void()> layer_work(const LoneLayer& layer, const std::string& task, int64_t batch,
                                 Device device) {
  std::vector<Tensor> tensors{uniform(layer.input.with(0, batch), 2).to(device)};
  for (const Tensor& p : layer.parameters) tensors.push_back(p.to(device));
  const std::vector<Variable> constants(tensors.begin(), tensors.end());
  if (task == "forward") return [forward = layer.forward, constants] { forward(constants); };
  const Tensor dy = uniform(layer.forward(constants).shape().with(0, 1), 3, -1, 1).to(device);  // [1,B,...]
  if (task == "train")
    return [forward = layer.forward, tensors, dy] {
      std::vector<Variable> leaves;
      for (const Tensor& t : tensors) leaves.push_back(Variable::leaf(t));
      vjp(forward(leaves), leaves, dy);
    };
  check(task == "dinput", "a layer has no task '{}' (accepted: forward, train, dinput, error)", task);
  std::vector<Variable> arguments = constants;
  arguments[0] = Variable::leaf(tensors[0]);
  return [x = arguments[0], y = layer.forward(arguments), dy] { vjp(y, {x}, dy, true); };
}

/// A training step on one batch; on a GPU, as hashgrad train runs it, recorded as one graph.
std::function<void()> training_step(const std::shared_ptr<Model>& model, const Tensor& x, const Tensor& y) {
  const Device device = model->device();
  const auto sgd = std::make_shared<Optimizer>(model->parameters(), OptimizerOptions{});
  const Tensor pace = sgd->pace(1e-3).to(device);
  const Pass pass{.training = true,
                  .step = Tensor::zeros({1}, DType::int64).to(device),
                  .samples = Tensor::zeros({x.size(0)}, DType::int64).to(device)};
  const std::function<void()> step = [=] {
    model->zero_grad();
    const Variable logits = model->logits(Variable(x), pass);
    mean(cross_entropy_soft(logits, smoothed_one_hot_of_valid(y, logits.size(1), 0, logits.dtype())))
        .backward();
    sgd->update(pace);
  };
  step();  // makes what is made only once
  std::unique_ptr<Pipeline> pipeline;
  HASHGRAD_ON(device, make_pipeline(pipeline));
  return [step, run = pipeline->record(step)] { run(); };  // step owns what the recording reads
}

std::function<void()> network_work(const std::shared_ptr<Model>& model, const std::string& task,
                                   int64_t batch) {
  const Device device = model->device();
  const Tensor x = uniform(model->input_shape().with(0, batch), 1).to(device), y = labels(batch).to(device);
  if (task == "forward") return [=] { model->logits(x); };
  if (task == "train") return training_step(model, x, y);
  const AttackInput input{x, y, {}, {}};
  if (task == "fgsm")
    return [=] { step(x, 0.1, steepest(input_gradient(*model, x, y, "ce", batch), Norm::linf)); };
  if (task == "pgd10") {
    Pgd::Options options;
    options.eps = 0.1;
    options.step = 0.02;
    options.iters = 10;
    options.random_start = false;
    options.early_stop = false;
    return [=] { Pgd(options).run(*model, input, {.batch = batch}); };
  }
  check(task == "jacobian", "no task '{}' (accepted: forward, train, fgsm, pgd10, jacobian, error)", task);
  return [=] { jacobian(*model, x, Outputs::logits, batch); };
}

int64_t parameters_of(const LoneLayer& layer) {
  int64_t count = 0;
  for (const Tensor& p : layer.parameters) count += p.numel();
  return count;
}

/// All of a network but training asks as evaluation and attacks do: of weights that do not change meanwhile.
Job job_of(const std::string& net, const std::string& task, int64_t batch, Device device) {
  if (const auto layer = layers.find(net); layer != layers.end()) {
    const LoneLayer lone = layer->second();
    return {parameters_of(lone), layer_work(lone, task, batch, device), nullptr};
  }
  const auto model = std::make_shared<Model>(Model(network_spec(net)).to(device));
  const Model* const asked = task == "train" ? nullptr : model.get();
  return {model->parameter_count(), network_work(model, task, batch),
          std::make_unique<FixedWeights>(std::initializer_list{asked})};
}

/// The result for x, and its product with dy differentiated by x.
std::pair<Tensor, Tensor> answer(const Function& f, const Tensor& x, uint64_t seed) {
  const Variable leaf = Variable::leaf(x), y = f(leaf);
  const Tensor dy = uniform(y.shape().with(0, 1), seed, -1, 1).to(y.dtype());
  return {y.value(), vjp(y, {leaf}, dy)[0]};
}

/// max |a - b| / max |b|.
double relative_error(const Tensor& a, const Tensor& b) {
  const std::vector<double> got = a.to(DType::float64).to_vector<double>(), expected = b.to_vector<double>();
  double difference = 0, largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference = std::max(difference, std::abs(got[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return difference / largest;
}

/// Of float32 in the arithmetic of the caller's MathScope, on the CPU.
void print_errors(const std::string& net, int64_t batch) {
  Function single, exact;
  Shape input;
  if (const auto found = layers.find(net); found != layers.end()) {
    const LoneLayer layer = found->second();
    input = layer.input;
    single = function_of(layer, DType::float32);
    exact = function_of(layer, DType::float64);
  } else {
    const auto model = std::make_shared<Model>(network_spec(net));
    input = model->input_shape();
    single = [=](const Variable& x) { return model->logits(x); };
    exact = [twin = std::make_shared<Model>(model->to(DType::float64))](const Variable& x) {
      return twin->logits(x);
    };
  }
  const Tensor x = uniform(input.with(0, batch), 1);
  const auto [y, dx] = answer(single, x, 3);
  const auto [exact_y, exact_dx] = answer(exact, x.to(DType::float64), 3);
  std::cout << relative_error(y, exact_y) << ' ' << relative_error(dx, exact_dx) << std::endl;
}

/// Answers requests until standard input ends.
void serve(const Job& job, Device device, double idle) {
  const bool on_cpu = device == Device{};
  std::cout << "Hashgrad (" << (on_cpu ? cpu::isa_name(cpu::isa()) : to_string(device)) << ")|"
            << job.parameters << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const int64_t calls = std::stoll(line);
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < calls; ++i) job.work();
    memory_of(device).synchronize();
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    const double peak =
        on_cpu ? resident_mib("VmHWM") : static_cast<double>(memory_count(device).peak) / (1 << 20);
    std::cout << elapsed.count() / static_cast<double>(calls) << ' ' << peak - idle << std::endl;
  }
}

int run(int argc, char** argv) {
  check(argc >= 5 && argc <= 7, "usage: bench_nets NET TASK BATCH THREADS [DEVICE [MATH]]");
  const std::string net = argv[1], task = argv[2];
  const int64_t batch = std::stoll(argv[3]);
  set_threads(std::stoi(argv[4]));
  const Device device = parse_device(argc > 5 ? argv[5] : "cpu");
  const MathScope scope(parse_math(argc > 6 ? argv[6] : "fp32"));
  if (task == "error") {
    print_errors(net, batch);
    return 0;
  }
  const double idle = device == Device{} ? resident_mib("VmRSS") : 0;
  serve(job_of(net, task, batch, device), device, idle);
  return 0;
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) try { return hashgrad::run(argc, argv); } catch (const std::exception& e) {
  std::cerr << "bench_nets: " << e.what() << '\n';
  return 1;
}
