// Input transforms: defences that change the image in front of layer 0. They are no layers, so the parameters
// keep the names of the spec; a model file lists them in its metadata `defences`, the first next to the
// pixels.
#pragma once

#include <memory>
#include <string>

#include "autograd/node.h"

namespace hashgrad {

/// A function of single images, pixels in [0,1] to pixels in [0,1]. It computes on the CPU: both directions
/// take and return contiguous float32 or float64 there.
class InputTransform {
 public:
  InputTransform() = default;
  virtual ~InputTransform() = default;
  InputTransform(const InputTransform&) = delete;
  InputTransform& operator=(const InputTransform&) = delete;

  /// What the network sees of x [N,C,H,W]. An Error where it does not apply to images of this shape.
  virtual Tensor forward(const Tensor& x) const = 0;
  /// The true derivative at x, transposed, times each of `copies` stacked cotangents dy [copies N,C,H,W].
  /// Here: of a function that is constant almost everywhere, exactly zero.
  virtual Tensor backward(const Tensor& x, const Tensor& dy, int64_t copies) const;
};

using InputTransformPtr = std::shared_ptr<const InputTransform>;

/// A kind of transform, and the one integer that it is made of.
struct TransformKind {
  const char* method;   // "bit-depth": its "method" in `defences`
  const char* setting;  // "bits": the key beside it
  int64_t low, high;    // accepted values
  InputTransformPtr (*make)(int64_t value);
};
/// Null when `method` is none of bit-depth, median, jpeg, feature-distillation.
const TransformKind* find_transform(const std::string& method);
/// An Error for an unknown method or a value out of its range.
InputTransformPtr make_input_transform(const std::string& method, int64_t value);

/// The transform as an op. From another device x is copied to the CPU, and the result back: such a step
/// cannot be recorded as a graph.
struct TransformInput {
  static constexpr const char* name = "input_transform";
  InputTransformPtr transform;
  bool stand_in = false;  // backward is the identity, whatever forward does
  Tensor x = {};          // saved on the CPU, unless standing in
  Tensor forward(Needs needs, const Tensor& in);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// transform(x). With `stand_in` the backward pass takes it for the identity: backward pass differentiable
/// approximation (Athalye, Carlini and Wagner, ICML 2018, section 4.1).
template <TensorLike X>
X transform_input(const X& x, const InputTransformPtr& transform, bool stand_in) {
  return apply(TransformInput{transform, stand_in}, x);
}

}  // namespace hashgrad
