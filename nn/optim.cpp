#include "nn/optim.h"

#include <fmt/ranges.h>

#include "cpu/optim.h"
#include "nn/settings.h"

namespace hashgrad {
namespace {

using Kind = OptimizerOptions::Kind;

constexpr const char* accepted =
    "sgd[:momentum=0.9,nesterov,weight_decay=0], adam[:beta1=0.9,beta2=0.999,eps=1e-8,weight_decay=0], "
    "rmsprop[:alpha=0.99,eps=1e-8,momentum=0,weight_decay=0]";
constexpr double below_one = 1 - 0x1p-53;

void check_options(const OptimizerOptions& o) {
  const auto share = [](double value, const char* what) {
    check(value >= 0 && value < 1, "optimizer: {} is {}, at least 0 and below 1 is accepted", what, value);
  };
  share(o.momentum, "momentum");
  share(o.beta1, "beta1");
  share(o.beta2, "beta2");
  share(o.alpha, "alpha");
  check(o.eps > 0, "optimizer: eps is {}, a number above 0 is expected", o.eps);
  check(o.weight_decay >= 0 && o.weight_decay <= 1, "optimizer: weight_decay is {}, 0 to 1 is accepted",
        o.weight_decay);
  check(!o.nesterov || o.momentum > 0, "optimizer: nesterov needs a momentum above 0");
}

/// Names of the state tensors that an update of this kind keeps per parameter.
std::vector<std::string> slot_names(const OptimizerOptions& o) {
  switch (o.kind) {
    case Kind::sgd:
      return o.momentum > 0 ? std::vector<std::string>{"velocity"} : std::vector<std::string>{};
    case Kind::adam:
      return {"m", "v"};
    case Kind::rmsprop:
      break;
  }
  return o.momentum > 0 ? std::vector<std::string>{"square", "momentum"} : std::vector<std::string>{"square"};
}

std::string tensor_name(const std::string& slot, const std::string& parameter) {
  return "optimizer." + slot + "." + parameter;
}

constexpr const char* steps_name = "optimizer.steps";

}  // namespace

OptimizerOptions parse_optimizer(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  OptimizerOptions o;
  if (name == "adam") {
    o.kind = Kind::adam;
  } else if (name == "rmsprop") {
    o.kind = Kind::rmsprop, o.momentum = 0;
  } else {
    check(name == "sgd", "optimizer '{}' is not known; accepted: {}", text, accepted);
  }
  if (colon == std::string::npos) return o;
  const bool adam = o.kind == Kind::adam, rmsprop = o.kind == Kind::rmsprop;
  for (const std::string& setting : split_at(std::string_view(text).substr(colon + 1), ',')) {
    const size_t equals = setting.find('=');
    const std::string key = setting.substr(0, equals);
    const auto number = [&](double most) {
      check(equals != std::string::npos, "optimizer '{}': {} needs a value, as in {}=0.1", text, key, key);
      return parse_number(setting.substr(equals + 1), "optimizer: " + key, 0, most);
    };
    if (key == "nesterov" && o.kind == Kind::sgd && equals == std::string::npos) {
      o.nesterov = true;
    } else if (key == "weight_decay") {
      o.weight_decay = number(1);
    } else if (key == "momentum" && !adam) {
      o.momentum = number(below_one);
    } else if (key == "beta1" && adam) {
      o.beta1 = number(below_one);
    } else if (key == "beta2" && adam) {
      o.beta2 = number(below_one);
    } else if (key == "alpha" && rmsprop) {
      o.alpha = number(below_one);
    } else if (key == "eps" && (adam || rmsprop)) {
      o.eps = number(1e9);
    } else {
      fail("optimizer '{}': '{}' is not a setting of {}; accepted: {}", text, setting, name, accepted);
    }
  }
  check_options(o);
  return o;
}

std::string to_string(const OptimizerOptions& o) {
  switch (o.kind) {
    case Kind::sgd:
      return fmt::format("sgd:momentum={}{},weight_decay={}", o.momentum, o.nesterov ? ",nesterov" : "",
                         o.weight_decay);
    case Kind::adam:
      return fmt::format("adam:beta1={},beta2={},eps={},weight_decay={}", o.beta1, o.beta2, o.eps,
                         o.weight_decay);
    case Kind::rmsprop:
      break;
  }
  return fmt::format("rmsprop:alpha={},eps={},momentum={},weight_decay={}", o.alpha, o.eps, o.momentum,
                     o.weight_decay);
}

Optimizer::Optimizer(std::vector<Parameter> parameters, const OptimizerOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  check_options(options_);
  for (const std::string& name : slot_names(options_)) {
    Slot slot{name, {}};
    for (const Parameter& p : parameters_)
      slot.tensors.push_back(Tensor::zeros(p.variable->shape(), p.variable->dtype()));
    slots_.push_back(std::move(slot));
  }
}

void Optimizer::step(double lr, double hashed_lr) {
  ++steps_;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = parameters_[i];
    if (!p.variable->grad().defined()) continue;
    for_float_type(p.variable->dtype(), "optimizer",
                   [&]<class T>() { update<T>(i, p.hashed ? lr * hashed_lr : lr); });
  }
}

template <class T>
void Optimizer::update(size_t i, double lr) {
  Variable& parameter = *parameters_[i].variable;
  const Tensor gradient = parameter.grad().contiguous();
  const auto state = [&](size_t slot) {
    return slot < slots_.size() ? slots_[slot].tensors[i].data<T>() : nullptr;
  };
  const int64_t n = parameter.numel();
  const T* g = gradient.data<T>();
  T* w = parameter.value().data<T>();
  const OptimizerOptions& o = options_;
  switch (o.kind) {
    case Kind::sgd:
      return cpu::sgd_step<T>({lr, o.momentum, o.weight_decay, o.nesterov}, n, g, state(0), w);
    case Kind::adam:
      return cpu::adam_step<T>({lr, o.beta1, o.beta2, o.eps, o.weight_decay}, steps_, n, g, state(0),
                               state(1), w);
    case Kind::rmsprop:
      return cpu::rmsprop_step<T>({lr, o.alpha, o.eps, o.momentum, o.weight_decay}, n, g, state(0), state(1),
                                  w);
  }
}

void Optimizer::save(Archive& archive) const {
  for (const Slot& slot : slots_)
    for (size_t i = 0; i < parameters_.size(); ++i)
      archive.tensors[tensor_name(slot.name, parameters_[i].name)] = slot.tensors[i];
  archive.tensors[steps_name] = Tensor::of(std::vector<int64_t>{steps_}, {});
}

void Optimizer::load(const Archive& archive, const std::string& name) {
  const auto get = [&](const std::string& key, const Tensor& like) {
    const Tensor& tensor = archive.at(key, name);
    check(tensor.shape() == like.shape() && tensor.dtype() == like.dtype(),
          "{}: tensor '{}' is {} {}, {} {} is expected", name, key, name_of(tensor.dtype()), tensor.shape(),
          name_of(like.dtype()), like.shape());
    return tensor;
  };
  for (Slot& slot : slots_)
    for (size_t i = 0; i < parameters_.size(); ++i)
      slot.tensors[i].copy_from(get(tensor_name(slot.name, parameters_[i].name), slot.tensors[i]));
  steps_ = *get(steps_name, Tensor::zeros({}, DType::int64)).data<int64_t>();
}

}  // namespace hashgrad
