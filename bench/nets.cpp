// One piece of work of a whole network, repeated on request: the Hashgrad side of bench/compare_pytorch.py.
//
//   bench_nets NET TASK BATCH THREADS
//
// Prints its name, then answers each line of standard input with the milliseconds of one repetition and the
// peak resident memory (MiB) above what the process held before the work was set up.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <string>

#include "attacks/fgsm.h"
#include "attacks/pgd.h"
#include "autograd/ops/hashed.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/reduce.h"
#include "core/device_memory.h"
#include "core/parallel.h"
#include "core/random.h"
#include "cpu/kernels.h"
#include "cuda/pipeline.h"
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

/// The hashed layer 6272 -> 512 alone: forward, or forward and the gradients of input, buckets and bias.
std::function<void()> hashed_work(int64_t divide, const std::string& task, int64_t batch, Device device) {
  const int64_t in = 6272, out = 512, buckets = in * out / divide;
  const auto v = std::make_shared<const cpu::HashedMatrix>(cpu::HashedMatrix::linear({1, buckets}, out, in));
  const Tensor w = uniform({buckets}, 1, -0.01f, 0.01f).to(device);  // [K]
  const Tensor bias = Tensor::zeros({out}).to(device);               // [out]
  const Tensor x = uniform({batch, in}, 2).to(device);               // [B,in]
  const Tensor dy = uniform({1, batch, out}, 3, -1, 1).to(device);   // [1,B,out]
  if (task == "forward") return [=] { hashed_linear(x, w, bias, v); };
  check(task == "train", "bench_nets: a hashed layer has no task '{}' (accepted: forward, train)", task);
  return [=] {
    const std::vector<Variable> leaves{Variable::leaf(x), Variable::leaf(w), Variable::leaf(bias)};
    vjp(hashed_linear(leaves[0], leaves[1], leaves[2], v), leaves, dy);
  };
}

/// A training step on one batch; on a GPU, as hashgrad train runs it, recorded as one graph.
std::function<void()> training_step(const std::shared_ptr<Model>& model, const Tensor& x, const Tensor& y) {
  const Device device = model->device();
  const auto sgd = std::make_shared<Optimizer>(model->parameters(), OptimizerOptions{});
  const Tensor pace = sgd->pace(1e-3).to(device);
  const std::function<void()> step = [=] {
    model->zero_grad();
    const Variable logits = model->logits(Variable(x), {.training = true});
    mean(cross_entropy_soft(logits, smoothed_one_hot_of_valid(y, logits.size(1), 0, logits.dtype())))
        .backward();
    sgd->update(pace);
  };
  step();  // makes what is made only once
  std::unique_ptr<Pipeline> pipeline;
  HASHGRAD_ON(device, make_pipeline(pipeline));
  return [step, run = pipeline->record(step)] { run(); };  // step owns what the recording reads
}

std::function<void()> network_work(const std::string& net, const std::string& task, int64_t batch,
                                   Device device) {
  const std::map<std::string, std::string> specs{
      {"a2", "liu2018-mnist"}, {"b2", "liu2021-mnist"}, {"resnet18", "resnet18"}};
  check(specs.contains(net), "bench_nets: no net '{}' (accepted: a2, b2, resnet18, hashed8, hashed64)", net);
  const auto model = std::make_shared<Model>(Model(specs.at(net)).to(device));
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
  check(task == "jacobian", "bench_nets: no task '{}' (accepted: forward, train, fgsm, pgd10, jacobian)",
        task);
  return [=] { jacobian(*model, x, Outputs::logits, batch); };
}

int run(int argc, char** argv) {
  check(argc == 5 || argc == 6, "usage: bench_nets NET TASK BATCH THREADS [DEVICE]");
  const std::string net = argv[1], task = argv[2];
  const int64_t batch = std::stoll(argv[3]);
  set_threads(std::stoi(argv[4]));
  const Device device = parse_device(argc == 6 ? argv[5] : "cpu");
  const bool on_cpu = device == Device{};
  const double idle = on_cpu ? resident_mib("VmRSS") : 0;
  const std::function<void()> work = net.starts_with("hashed")
                                         ? hashed_work(std::stoll(net.substr(6)), task, batch, device)
                                         : network_work(net, task, batch, device);
  std::cout << "Hashgrad (" << (on_cpu ? cpu::isa_name(cpu::isa()) : to_string(device)) << ")" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const int64_t calls = std::stoll(line);
    const auto start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < calls; ++i) work();
    memory_of(device).synchronize();
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    const double peak =
        on_cpu ? resident_mib("VmHWM") : static_cast<double>(memory_count(device).peak) / (1 << 20);
    std::cout << elapsed.count() / static_cast<double>(calls) << ' ' << peak - idle << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) try { return hashgrad::run(argc, argv); } catch (const std::exception& e) {
  std::cerr << "bench_nets: " << e.what() << '\n';
  return 1;
}
