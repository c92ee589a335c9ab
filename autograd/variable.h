// Variable: a Tensor plus a place in the graph. What is not a Variable is never recorded.
#pragma once

#include <memory>
#include <vector>

#include "core/tensor.h"

namespace hashgrad {

class Node;  // autograd/node.h

/// A value that gradients can be asked of. Copies share value, gradient and graph. First order only:
/// gradients are Tensors, so a derivative of a derivative cannot be written by accident.
///
/// An op keeps the memory of what it was given, not a copy: whoever writes into a value() that a graph was
/// made of changes the gradients of that graph, so update weights behind the backward pass.
class Variable {
 public:
  Variable() = default;
  /// A constant: takes part in computations, records nothing.
  Variable(Tensor value) : value_(std::move(value)) {}  // NOLINT: the conversion is what mixed calls rely on
  /// The result of the op behind `node`.
  Variable(Tensor value, std::shared_ptr<Node> node) : value_(std::move(value)), node_(std::move(node)) {}
  /// A leaf whose gradient is wanted: a parameter, or the input of a network under attack.
  static Variable leaf(Tensor value);

  const Tensor& value() const { return value_; }
  Tensor& value() { return value_; }
  const Shape& shape() const { return value_.shape(); }
  int64_t size(int axis) const { return value_.size(axis); }
  int rank() const { return value_.rank(); }
  int64_t numel() const { return value_.numel(); }
  DType dtype() const { return value_.dtype(); }
  Device device() const { return value_.device(); }
  bool defined() const { return value_.defined(); }

  bool requires_grad() const { return node_ != nullptr; }
  /// Turns a leaf into a constant or a constant into a leaf; its gradient is forgotten.
  void set_requires_grad(bool wanted);

  /// The gradient that backward() calls have added up in this leaf; undefined before the first and for
  /// constants. Its memory may be that of another leaf's gradient, too: clone() what is to be changed.
  const Tensor& grad() const;
  void zero_grad();

  /// Adds d(this)/d(leaf) to the gradient of every leaf below. `this` must have one element. Frees what the
  /// graph saved as it goes; a second call on the same graph is an Error.
  void backward() const;

  const std::shared_ptr<Node>& node() const { return node_; }

 private:
  Tensor value_;
  std::shared_ptr<Node> node_;
};

/// d(y)/d(x) for each x, nothing else: computes only what lies between y and the inputs (no weight gradients
/// during an attack) and changes no leaf. y must have one element. An input that y does not depend on gets
/// zeros. The graph stays usable when `retain` is set, else it is freed on the way.
std::vector<Tensor> grad(const Variable& y, const std::vector<Variable>& inputs, bool retain = false);

/// Vector-Jacobian products of K cotangents in one pass. `cotangents` is [K, shape of y]; each result is
/// [K, shape of the input]: result[k] = sum_i cotangents[k,i] dy_i/dx. One-hot cotangents give the full
/// Jacobian. The cotangents may be on any device.
std::vector<Tensor> vjp(const Variable& y, const std::vector<Variable>& inputs, const Tensor& cotangents,
                        bool retain = false);

}  // namespace hashgrad
