#include "autograd/ops/pointwise.h"
#include "autograd/ops/reduce.h"
#include "cuda/optim.h"
#include "cuda/pointwise.h"
#include "nn/optim.h"
#include "tests/cuda_testing.h"
#include "tests/error_of.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

namespace {

/// A GPU multiplies and adds in one rounding; after three steps that is a few units in the last place.
template <class T>
constexpr double few_ulps = 16 * epsilon<T>;

/// The error after three updates of a parameter and its two buffers, [3, n], by step(device, number, update).
template <class T, class Step>
double error_of_steps(Device device, int64_t n, double decay, const Step& step) {
  const Tensor start = values<T>({3 * n}, 1, 0.1, 1);
  return error_of<T>(device, 3 * n, [&](Device d, T* state) {
    const Tensor copy = start.to(d);
    HASHGRAD_ON(d, scale(3 * n, T{1}, copy.data<T>(), state));
    for (int64_t k = 1; k <= 3; ++k) {
      const Tensor gradient = values<T>({n}, 10 + static_cast<uint64_t>(k)).to(d);
      step(d, k, cpu::Update<T>{n, 0.5, decay, gradient.data<T>(), state, state + n, state + 2 * n});
    }
  });
}

/// A pace in the memory of a device.
class OnDevice {
 public:
  OnDevice(Device device, const cpu::Pace& pace) : memory_(sizeof(pace), device) {
    memory_of(device).from_host(memory_.data(), reinterpret_cast<const std::byte*>(&pace), sizeof(pace));
  }
  const cpu::Pace* data() const { return reinterpret_cast<const cpu::Pace*>(memory_.data()); }

 private:
  Storage memory_;
};

struct Net {
  std::vector<Variable> variables;
  std::vector<Parameter> parameters;

  /// 70 parameters, so that three launches are needed; of both types, one without a gradient, one empty.
  explicit Net(Device device) {
    for (int64_t i = 0; i < 70; ++i) {
      const Shape shape{i == 60 ? 0 : i % 7 * 300 + 1};
      const Tensor w = i % 5 == 4 ? values<double>(shape, static_cast<uint64_t>(i))
                                  : values<float>(shape, static_cast<uint64_t>(i));
      variables.push_back(Variable::leaf(w.to(device)));
    }
    for (size_t i = 0; i < variables.size(); ++i)
      parameters.push_back({"p" + std::to_string(i), &variables[i], i % 3 == 0});
  }
  void set_gradients() {
    for (size_t i = 0; i < variables.size(); ++i) {
      variables[i].zero_grad();
      if (i != 11) sum(square(variables[i])).backward();  // 2 w
    }
  }
};

}  // namespace

TEST_CASE_TEMPLATE("cuda: three steps of every optimiser", T, float, double) {
  const cpu::Sgd sgds[] = {{}, {0.9}, {0.9, true}};
  const cpu::Adam adam;
  const cpu::RmsProp rmsprops[] = {{}, {.momentum = 0.5}};
  for (const Device device : other_devices())
    for (const int64_t n : {0, 1, 3, 129, 1024, 1025, 3000}) {
      CAPTURE(n);
      const double decay = n % 2 == 0 ? 0 : 0.01;
      for (const cpu::Sgd& sgd : sgds)
        CHECK(error_of_steps<T>(device, n, decay, [&](Device d, int64_t, cpu::Update<T> u) {
                const OnDevice pace(d, {0.2});
                if (sgd.momentum == 0) u.first = nullptr;
                HASHGRAD_ON(d, sgd_step<T>(sgd, pace.data(), {u}));
              }) <= few_ulps<T>);
      CHECK(error_of_steps<T>(device, n, decay, [&](Device d, int64_t k, const cpu::Update<T>& u) {
              const OnDevice pace(d, cpu::adam_pace(adam, 0.02, k));
              HASHGRAD_ON(d, adam_step<T>(adam, pace.data(), {u}));
            }) <= few_ulps<T>);
      for (const cpu::RmsProp& rmsprop : rmsprops)
        CHECK(error_of_steps<T>(device, n, decay, [&](Device d, int64_t, cpu::Update<T> u) {
                const OnDevice pace(d, {0.02});
                if (rmsprop.momentum == 0) u.second = nullptr;
                HASHGRAD_ON(d, rmsprop_step<T>(rmsprop, pace.data(), {u}));
              }) <= few_ulps<T>);
    }
}

TEST_CASE("cuda: a missing buffer, a step before the first and a pace elsewhere are refused") {
  const std::vector<cpu::Update<float>> bare{{1, 1, 0, nullptr, nullptr, nullptr, nullptr}};
  for (const Device device : other_devices()) {
    CHECK_ERROR([&] { HASHGRAD_ON(device, sgd_step<float>({0.9}, nullptr, bare)); }(),
                "momentum 0.9 needs a velocity buffer");
    CHECK_ERROR([&] { HASHGRAD_ON(device, rmsprop_step<float>({.momentum = 0.5}, nullptr, bare)); }(),
                "momentum 0.5 needs a buffer");
    Net net(device);
    Optimizer optimizer(net.parameters, {});
    CHECK_ERROR(optimizer.update(optimizer.pace(0.1)), "the pace is on cpu, the parameters on");
  }
  CHECK_ERROR(cpu::adam_pace({}, 0.1, 0), "step 0");
}

TEST_CASE(
    "cuda: an optimiser on a device follows the one on the CPU, and its state travels through an archive") {
  for (const Device device : other_devices())
    for (const char* text :
         {"sgd:momentum=0.9,nesterov,weight_decay=0.01", "sgd:momentum=0", "adam", "rmsprop"}) {
      CAPTURE(text);
      Net here({}), there(device);
      Optimizer a(here.parameters, parse_optimizer(text)), b(there.parameters, parse_optimizer(text));
      const auto step = [&] {
        here.set_gradients();
        there.set_gradients();
        a.step(0.01, 0.5);
        b.step(0.01, 0.5);
      };
      step();
      Archive saved;
      b.save(saved);
      for (const auto& [name, tensor] : saved.tensors) CHECK(tensor.device() == Device{});
      b.load(saved, "state");
      a.load(saved, "state");
      step();
      for (size_t i = 0; i < here.variables.size(); ++i) {
        CAPTURE(i);
        const std::vector<double> x = here.variables[i].value().to(DType::float64).to_vector<double>(),
                                  y = there.variables[i].value().to(DType::float64).to_vector<double>();
        CHECK(there.variables[i].device() == device);
        CHECK(relative_error(y, x, 1) <= few_ulps<float>);
        if (i == 11)
          CHECK(identical(there.variables[i].value(), values<float>(there.variables[i].shape(), i)));
      }
    }
}
