#include "nn/optim.h"

#include <fmt/ranges.h>
#include <limits>
#include <set>

#include "core/settings.h"
#include "cuda/optim.h"

namespace hashgrad {
namespace {

using Kind = OptimizerOptions::Kind;

constexpr const char* accepted =
    "sgd[:momentum=0.9,nesterov,weight_decay=0], adam[:beta1=0.9,beta2=0.999,eps=1e-8,weight_decay=0], "
    "rmsprop[:alpha=0.99,eps=1e-8,momentum=0,weight_decay=0], each with weights_only";

void check_options(const OptimizerOptions& o) {
  const auto share = [](double value, const char* what) {
    check(value >= 0 && value < 1, "optimizer: {} is {}, at least 0 and below 1 is accepted", what, value);
  };
  share(o.momentum, "momentum");
  share(o.beta1, "beta1");
  share(o.beta2, "beta2");
  share(o.alpha, "alpha");
  constexpr double least = std::numeric_limits<float>::min();  // less would be 0 in float32
  check(o.eps >= least, "optimizer: eps is {}, a number from {:.3g} is expected", o.eps, least);
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

cpu::Adam adam_of(const OptimizerOptions& o) { return {o.beta1, o.beta2, o.eps}; }

/// Whether it is a layer's weights: a matrix, filters, or the bucket values of either.
bool is_weight(const Parameter& p) {
  return p.name.ends_with("weight") && (p.hashed || p.variable->shape().rank() >= 2);
}

std::string decay_text(const OptimizerOptions& o) {
  return fmt::format("weight_decay={}{}", o.weight_decay, o.weights_only ? ",weights_only" : "");
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
  std::set<std::string> given;
  for (const std::string& setting : split_at(std::string_view(text).substr(colon + 1), ',')) {
    const size_t equals = setting.find('=');
    const std::string key = setting.substr(0, equals);
    check(given.insert(key).second, "optimizer '{}': {} is given twice", text, key);
    const auto number = [&](double most) {
      check(equals != std::string::npos, "optimizer '{}': {} needs a value, as in {}=0.1", text, key, key);
      return parse_number(setting.substr(equals + 1), "optimizer: " + key, 0, most);
    };
    if (key == "nesterov" && o.kind == Kind::sgd && equals == std::string::npos) {
      o.nesterov = true;
    } else if (key == "weights_only" && equals == std::string::npos) {
      o.weights_only = true;
    } else if (key == "weight_decay") {
      o.weight_decay = number(1);
    } else if (key == "momentum" && !adam) {
      o.momentum = number(1);
    } else if (key == "beta1" && adam) {
      o.beta1 = number(1);
    } else if (key == "beta2" && adam) {
      o.beta2 = number(1);
    } else if (key == "alpha" && rmsprop) {
      o.alpha = number(1);
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
  const std::string decay = decay_text(o);
  switch (o.kind) {
    case Kind::sgd:
      return fmt::format("sgd:momentum={}{},{}", o.momentum, o.nesterov ? ",nesterov" : "", decay);
    case Kind::adam:
      return fmt::format("adam:beta1={},beta2={},eps={},{}", o.beta1, o.beta2, o.eps, decay);
    case Kind::rmsprop:
      break;
  }
  return fmt::format("rmsprop:alpha={},eps={},momentum={},{}", o.alpha, o.eps, o.momentum, decay);
}

Optimizer::Optimizer(std::vector<Parameter> parameters, const OptimizerOptions& options)
    : parameters_(std::move(parameters)), options_(options) {
  check_options(options_);
  if (!parameters_.empty()) device_ = parameters_.front().variable->device();
  for (const std::string& name : slot_names(options_)) {
    Slot slot{name, {}};
    for (const Parameter& p : parameters_)
      slot.tensors.push_back(Tensor::zeros(p.variable->shape(), p.variable->dtype(), device_));
    slots_.push_back(std::move(slot));
  }
}

Tensor Optimizer::pace(double lr) {
  ++steps_;
  const cpu::Pace pace =
      options_.kind == Kind::adam ? cpu::adam_pace(adam_of(options_), lr, steps_) : cpu::Pace{lr};
  return Tensor::of(std::vector<double>{pace.lr, pace.correction1, pace.correction2}, {3});
}

void Optimizer::update(const Tensor& pace, double hashed_lr) {
  static_assert(sizeof(cpu::Pace) == 3 * sizeof(double));
  check(pace.device() == device_, "optimizer: the pace is on {}, the parameters on {}",
        to_string(pace.device()), to_string(device_));
  const auto* at = reinterpret_cast<const cpu::Pace*>(pace.data<double>());
  update_all<float>(at, hashed_lr);
  update_all<double>(at, hashed_lr);
}

template <class T>
void Optimizer::update_all(const cpu::Pace* pace, double hashed_lr) {
  std::vector<cpu::Update<T>> updates;
  std::vector<Tensor> gradients;  // kept alive
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Variable& parameter = *parameters_[i].variable;
    if (!parameter.grad().defined() || parameter.dtype() != dtype_of<T>) continue;
    check(parameter.device() == device_, "optimizer: parameter '{}' is on {}, the optimizer on {}",
          parameters_[i].name, to_string(parameter.device()), to_string(device_));
    const auto state = [&](size_t slot) {
      return slot < slots_.size() ? slots_[slot].tensors[i].data<T>() : nullptr;
    };
    gradients.push_back(parameter.grad().contiguous());
    const bool decays = !options_.weights_only || is_weight(parameters_[i]);
    updates.push_back({parameter.numel(), parameters_[i].hashed ? hashed_lr : 1,
                       decays ? options_.weight_decay : 0, gradients.back().data<T>(), state(0), state(1),
                       parameter.value().data<T>()});
  }
  if (updates.empty()) return;
  const OptimizerOptions& o = options_;
  const cpu::Sgd sgd{o.momentum, o.nesterov};
  const cpu::RmsProp rmsprop{o.alpha, o.eps, o.momentum};
  switch (o.kind) {
    case Kind::sgd:
      HASHGRAD_ON(device_, sgd_step(sgd, pace, updates));
      break;
    case Kind::adam:
      HASHGRAD_ON(device_, adam_step(adam_of(o), pace, updates));
      break;
    case Kind::rmsprop:
      HASHGRAD_ON(device_, rmsprop_step(rmsprop, pace, updates));
      break;
  }
}

void Optimizer::save(Archive& archive) const {
  for (const Slot& slot : slots_)
    for (size_t i = 0; i < parameters_.size(); ++i)
      archive.tensors[tensor_name(slot.name, parameters_[i].name)] = slot.tensors[i].to(Device{});
  archive.tensors[steps_name] = Tensor::of(std::vector<int64_t>{steps_}, {});
}

void Optimizer::load(const Archive& archive, const std::string& name) {
  for (const Slot& slot : slots_)
    for (size_t i = 0; i < parameters_.size(); ++i)
      archive.restore(tensor_name(slot.name, parameters_[i].name), name, slot.tensors[i]);
  const Tensor steps = Tensor::zeros({}, DType::int64);
  archive.restore(steps_name, name, steps);
  steps_ = *steps.data<int64_t>();
}

}  // namespace hashgrad
