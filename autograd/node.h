// The tape. Every recorded op is a Node; a node's number is its place in creation order, which is a
// topological order, so going backward is "newest first": no sort, no recursion.
#pragma once

#include <array>
#include <bitset>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <vector>

#include "autograd/variable.h"

namespace hashgrad {

/// Which inputs of an op want a gradient. forward() saves, and backward() computes, for these alone.
using Needs = std::bitset<64>;
/// One gradient per input, undefined where none was needed.
template <size_t N>
using Gradients = std::array<Tensor, N>;

class Node {
 public:
  Node(const char* name, std::vector<std::shared_ptr<Node>> inputs);
  /// Frees a chain of any length without recursion.
  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  /// Gradients of the inputs, given dy of `copies` cotangents stacked along axis 0.
  virtual std::vector<Tensor> backward(Needs needs, Tensor dy, int64_t copies) = 0;
  /// Frees what was saved; backward() after that is an Error.
  virtual void release() {}
  virtual bool is_leaf() const { return false; }

  const char* name;
  const uint64_t number;                      // creation order
  std::vector<std::shared_ptr<Node>> inputs;  // null where an input is a constant
};

/// Where gradients end: holds the sum that backward() calls leave.
class Leaf final : public Node {
 public:
  Leaf() : Node("leaf", {}) {}
  std::vector<Tensor> backward(Needs, Tensor, int64_t) override { return {}; }
  bool is_leaf() const override { return true; }
  Tensor grad;
};

/// The shape of `copies` stacked gradients of a tensor of this shape: that many times the rows, and a scalar
/// becomes a row of copies.
Shape stacked(const Shape& shape, int64_t copies);

/// dy of shape [copies * n, ...] is cut into `copies` pieces along axis 0, `backward` is called on each, and
/// the results are stacked again: how an op that handles one cotangent serves many.
std::vector<Tensor> backward_each(const Tensor& dy, int64_t copies, const Shape& shape,
                                  const std::function<std::vector<Tensor>(const Tensor&)>& backward);

/// The node of one recorded op. Op is a struct that holds its attributes and, after forward(), what
/// backward() needs:
///
///   struct Square {
///     static constexpr const char* name = "square";
///     Tensor x;                                                            // saved
///     Tensor forward(Needs needs, const Tensor& in);
///     Gradients<1> backward(Needs needs, const Tensor& dy) const;          // dy has the shape of the result
///   };
///
/// An op on rows (axis 0 is the batch) may instead take `backward(Needs, const Tensor& dy, int64_t copies)`:
/// dy then has `copies` times as many rows as the result, cotangent by cotangent, and so must the gradients.
/// The whole Jacobian of a network then runs as one backward pass of large kernels. It may also take dy by
/// value, and leave a gradient where dy was unless dy.is_shared().
template <class Op>
class OpNode final : public Node {
 public:
  OpNode(Op&& op, const Shape& shape, std::vector<std::shared_ptr<Node>> inputs_)
      : Node(Op::name, std::move(inputs_)), op_(std::move(op)), shape_(shape) {}

  std::vector<Tensor> backward(Needs needs, Tensor dy, int64_t copies) override {
    check(op_.has_value(),
          "{}: its graph was already used by a backward pass (grad and vjp keep it with `retain`)", name);
    const auto as_vector = [](auto&& g) { return std::vector<Tensor>(g.begin(), g.end()); };
    if constexpr (requires { op_->backward(needs, dy, copies); }) {
      return as_vector(op_->backward(needs, std::move(dy), copies));
    } else {
      return backward_each(dy, copies, shape_,
                           [&](const Tensor& one) { return as_vector(op_->backward(needs, one)); });
    }
  }
  void release() override { op_.reset(); }

 private:
  std::optional<Op> op_;
  Shape shape_;  // of the result
};

/// The inputs of one op must be on one device: an Error that names the op and both where they are not.
/// Undefined tensors, such as a bias that is left out, are nowhere.
void check_one_device(const char* op, std::initializer_list<const Tensor*> inputs);

/// On Tensors an op computes ...
template <class Op, class... More>
Tensor apply(Op op, const Tensor& x, const More&... more) requires(std::is_same_v<More, Tensor>&&...) {
  check_one_device(Op::name, {&x, &more...});
  return op.forward(Needs{}, x, more...);
}

/// ... on Variables it computes, and is recorded if any input wants a gradient.
template <class Op, class... More>
Variable apply(Op op, const Variable& x, const More&... more) requires(std::is_same_v<More, Variable>&&...) {
  check_one_device(Op::name, {&x.value(), &more.value()...});
  Needs needs;
  size_t i = 0;
  for (bool wanted : {x.requires_grad(), more.requires_grad()...}) needs[i++] = wanted;
  Tensor y = op.forward(needs, x.value(), more.value()...);
  if (needs.none()) return y;
  const Shape shape = y.shape();
  return {std::move(y),
          std::make_shared<OpNode<Op>>(std::move(op), shape,
                                       std::vector<std::shared_ptr<Node>>{x.node(), more.node()...})};
}

/// Ops on a list of inputs (at most 64): `forward(Needs, const std::vector<Tensor>&)`, and backward() returns
/// a vector.
template <class Op>
Tensor apply_list(Op op, const std::vector<Tensor>& inputs) {
  return op.forward(Needs{}, inputs);
}
template <class Op>
Variable apply_list(Op op, const std::vector<Variable>& inputs) {
  check(inputs.size() <= Needs{}.size(), "{}: {} inputs, at most {} are supported", Op::name, inputs.size(),
        Needs{}.size());
  Needs needs;
  std::vector<Tensor> values;
  std::vector<std::shared_ptr<Node>> nodes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    needs[i] = inputs[i].requires_grad();
    values.push_back(inputs[i].value());
    nodes.push_back(inputs[i].node());
  }
  Tensor y = op.forward(needs, values);
  if (needs.none()) return y;
  const Shape shape = y.shape();
  return {std::move(y), std::make_shared<OpNode<Op>>(std::move(op), shape, std::move(nodes))};
}

/// Tensor or Variable: what ops are templates over.
template <class X>
concept TensorLike = std::is_same_v<X, Tensor> || std::is_same_v<X, Variable>;

}  // namespace hashgrad
