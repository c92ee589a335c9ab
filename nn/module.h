// Module: something with parameters that maps a batch to a batch. Each layer is written once and runs on
// Tensors (no graph) and on Variables (recorded).
#pragma once

#include <string>
#include <vector>

#include "autograd/node.h"
#include "autograd/variable.h"
#include "nn/init.h"

namespace hashgrad {

/// How a forward pass is to be made. There is no global mode: the default is inference.
struct Pass {
  /// Dropout drops, batch norm uses the batch's statistics, and gradients of parameters are recorded. In
  /// inference parameters are constants, so the graph of an attack leads to the images alone.
  bool training = false;
  /// Keys of the random draws in training, as in RowKey (autograd/ops/dropout.h): row n of the batch is
  /// sample samples[n] of the dataset. Without dropout they are not needed.
  uint64_t seed = 0;
  Tensor step{};     // [1] int64
  Tensor samples{};  // [N] int64
  /// The backward pass takes input transforms (nn/input_transform.h) for the identity; forward is as ever.
  bool stand_ins = false;
};

class BatchNormLayer;

/// Layers that follow a convolution, a linear layer or batch norm and are computed by its kernel; the bits
/// are the same.
struct Fused {
  const BatchNormLayer* norm = nullptr;  // of inference, behind a convolution only
  bool add = false;  // of `added`, which is a constant in a pass on Tensors; behind batch norm only
  bool relu = false;
  bool max_pool2 = false;  // 2x2 windows, stride 2; only together with relu, behind a convolution only
  Variable added = {};

  size_t layers() const { return size_t{norm != nullptr} + size_t{add} + size_t{relu} + size_t{max_pool2}; }
};

/// What training changes, under its PyTorch name ("weight", "bias").
struct Parameter {
  std::string name;
  Variable* variable;
  bool hashed = false;  // bucket values: each collects the gradient of many virtual weights
  size_t layer = 0;     // its number in the network
};

/// State that is saved but not trained ("running_mean").
struct Buffer {
  std::string name;
  Tensor* tensor;
  size_t layer = 0;  // its number in the network
};

class Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  virtual Tensor forward(const Tensor& x, const Pass& pass, Fused fused) const = 0;
  virtual Variable forward(const Variable& x, const Pass& pass, Fused fused) const = 0;
  virtual std::vector<Parameter> parameters() { return {}; }
  virtual std::vector<Buffer> buffers() { return {}; }
  /// Draws the values that training starts from (on the CPU).
  virtual void initialise(const Initialiser&) {}
  /// Moves parameters and buffers to a device.
  virtual void move(Device device);
};

inline void Module::move(Device device) {
  for (const Parameter& p : parameters()) *p.variable = Variable::leaf(p.variable->value().to(device));
  for (const Buffer& b : buffers()) *b.tensor = b.tensor->to(device);
}

/// Writes both forwards from the one `run` of a layer L:
///     template <TensorLike X> X run(const X& x, const Pass& pass, Fused fused) const;
template <class L>
class Layer : public Module {
 public:
  Tensor forward(const Tensor& x, const Pass& pass, Fused fused) const final {
    return static_cast<const L*>(this)->run(x, pass, fused);
  }
  Variable forward(const Variable& x, const Pass& pass, Fused fused) const final {
    return static_cast<const L*>(this)->run(x, pass, fused);
  }
};

/// A parameter as an op on X takes it: its value, or itself in training, or a constant in inference.
template <TensorLike X>
X as(const Variable& parameter, const Pass& pass) {
  if constexpr (std::is_same_v<X, Tensor>) {
    return parameter.value();
  } else {
    return pass.training ? parameter : Variable(parameter.value());
  }
}

}  // namespace hashgrad
