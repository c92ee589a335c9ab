// The engine: newest node first, and only where a gradient is wanted.
#include <algorithm>
#include <atomic>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "autograd/node.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/view.h"

namespace hashgrad {
namespace {

uint64_t next_number() {
  static std::atomic<uint64_t> counter{0};
  return counter++;
}

/// Nodes that lead from y to a target. Nodes older than the oldest target cannot, and are not even visited.
std::unordered_set<const Node*> nodes_on_path(Node* y, const std::unordered_set<const Node*>& targets) {
  uint64_t oldest = UINT64_MAX;
  for (const Node* t : targets) oldest = std::min(oldest, t->number);
  std::vector<const Node*> reachable{y};
  std::unordered_set<const Node*> seen{y};
  for (size_t i = 0; i < reachable.size(); ++i)
    for (const auto& input : reachable[i]->inputs)
      if (input && input->number >= oldest && seen.insert(input.get()).second)
        reachable.push_back(input.get());
  std::sort(reachable.begin(), reachable.end(), [](auto* a, auto* b) { return a->number < b->number; });
  std::unordered_set<const Node*> on_path = targets;
  for (const Node* node : reachable)
    if (std::any_of(node->inputs.begin(), node->inputs.end(),
                    [&](auto& i) { return on_path.contains(i.get()); }))
      on_path.insert(node);
  return on_path;
}

/// Walks back from y. `wanted(node)` says whether a gradient should flow into a node; `arrived(node,
/// gradient)` is told each node's complete gradient.
template <class Wanted, class Arrived>
void walk(const Variable& y, const Tensor& dy, int64_t copies, bool retain, const Wanted& wanted,
          const Arrived& arrived) {
  const auto older = [](const Node* a, const Node* b) { return a->number < b->number; };
  std::priority_queue<Node*, std::vector<Node*>, decltype(older)> queue(older);
  std::unordered_map<Node*, Tensor> pending{{y.node().get(), dy}};
  queue.push(y.node().get());
  while (!queue.empty()) {
    Node* node = queue.top();
    queue.pop();
    Tensor gradient = std::move(pending.extract(node).mapped());
    arrived(node, gradient);
    Needs needs;
    for (size_t i = 0; i < node->inputs.size(); ++i)
      needs[i] = node->inputs[i] && wanted(node->inputs[i].get());
    if (needs.none()) continue;
    std::vector<Tensor> gradients = node->backward(needs, std::move(gradient), copies);
    if (!retain) node->release();
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      if (!needs[i]) continue;
      Node* input = node->inputs[i].get();
      check(gradients[i].defined(), "{}: has no gradient with respect to input {}", node->name, i);
      auto [it, first] = pending.try_emplace(input, gradients[i]);
      if (first)
        queue.push(input);
      else
        it->second = add(it->second, gradients[i]);
    }
  }
}

std::vector<Tensor> gradients_of(const Variable& y, const std::vector<Variable>& inputs, const Tensor& dy,
                                 int64_t copies, bool retain) {
  std::unordered_set<const Node*> targets;
  for (const Variable& x : inputs) {
    check(x.requires_grad(), "grad: an input of shape {} is a constant (make it with Variable::leaf)",
          x.shape());
    targets.insert(x.node().get());
  }
  std::unordered_map<const Node*, Tensor> found;
  if (y.requires_grad()) {
    const auto on_path = nodes_on_path(y.node().get(), targets);
    if (on_path.contains(y.node().get()))
      walk(
          y, dy, copies, retain, [&](const Node* node) { return on_path.contains(node); },
          [&](const Node* node, const Tensor& gradient) {
            if (targets.contains(node)) found[node] = gradient;
          });
  }
  std::vector<Tensor> result;
  for (const Variable& x : inputs) {
    const auto it = found.find(x.node().get());
    result.push_back(it != found.end() ? it->second
                                       : Tensor::zeros(stacked(x.shape(), copies), x.dtype(), x.device()));
  }
  return result;
}

}  // namespace

Node::Node(const char* name_, std::vector<std::shared_ptr<Node>> inputs_)
    : name(name_), number(next_number()), inputs(std::move(inputs_)) {}

Node::~Node() {
  std::vector<std::shared_ptr<Node>> doomed = std::move(inputs);
  while (!doomed.empty()) {
    const std::shared_ptr<Node> node = std::move(doomed.back());
    doomed.pop_back();
    if (node && node.use_count() == 1)
      for (auto& input : std::exchange(node->inputs, {})) doomed.push_back(std::move(input));
  }
}

void check_one_device(const char* op, std::initializer_list<const Tensor*> inputs) {
  const Tensor* first = nullptr;
  for (const Tensor* t : inputs) {
    if (!t->defined()) continue;
    if (!first) first = t;
    check(t->device() == first->device(), "{}: one input is on {}, another on {}; move one with Tensor::to",
          op, to_string(first->device()), to_string(t->device()));
  }
}

Shape stacked(const Shape& shape, int64_t copies) {
  if (copies == 1) return shape;
  if (shape.rank() == 0) return {copies};
  Shape s = shape;
  s.set(0, s[0] * copies);
  return s;
}

std::vector<Tensor> backward_each(const Tensor& dy, int64_t copies, const Shape& shape,
                                  const std::function<std::vector<Tensor>(const Tensor&)>& backward) {
  if (copies == 1) return backward(dy.reshape(shape));
  const int64_t rows = dy.size(0) / copies;
  std::vector<std::vector<Tensor>> parts;  // [input][copy]
  for (int64_t k = 0; k < copies; ++k) {
    const std::vector<Tensor> one = backward(dy.slice(0, k * rows, (k + 1) * rows).reshape(shape));
    parts.resize(one.size());
    for (size_t i = 0; i < one.size(); ++i)
      if (one[i].defined()) parts[i].push_back(one[i].rank() == 0 ? one[i].reshape({1}) : one[i]);
  }
  std::vector<Tensor> result;
  for (const auto& p : parts) result.push_back(p.empty() ? Tensor() : concat(p, 0));
  return result;
}

Variable Variable::leaf(Tensor value) {
  check(is_floating(value.dtype()), "variable: {} has no gradient, float32 or float64 expected",
        name_of(value.dtype()));
  return {std::move(value), std::make_shared<Leaf>()};
}

void Variable::set_requires_grad(bool wanted) {
  check(!node_ || node_->is_leaf(), "variable: only a leaf can start or stop wanting a gradient");
  node_ = wanted ? std::make_shared<Leaf>() : nullptr;
}

const Tensor& Variable::grad() const {
  static const Tensor none;
  return node_ && node_->is_leaf() ? static_cast<const Leaf&>(*node_).grad : none;
}

void Variable::zero_grad() {
  if (node_ && node_->is_leaf()) static_cast<Leaf&>(*node_).grad = Tensor();
}

void Variable::backward() const {
  check(numel() == 1, "backward: starts from one number, this has shape {} (did you mean sum or mean of it?)",
        shape());
  check(requires_grad(), "backward: nothing below this value wants a gradient");
  walk(
      *this, Tensor::full(shape(), 1, dtype(), device()), 1, false, [](const Node*) { return true; },
      [](Node* node, const Tensor& gradient) {
        if (!node->is_leaf()) return;
        Tensor& sum = static_cast<Leaf&>(*node).grad;
        sum = sum.defined() ? add(sum, gradient) : gradient;
      });
}

std::vector<Tensor> grad(const Variable& y, const std::vector<Variable>& inputs, bool retain) {
  check(y.numel() == 1, "grad: starts from one number, y has shape {} (did you mean sum of it, or vjp?)",
        y.shape());
  return gradients_of(y, inputs, Tensor::full(y.shape(), 1, y.dtype(), y.device()), 1, retain);
}

std::vector<Tensor> vjp(const Variable& y, const std::vector<Variable>& inputs, const Tensor& cotangents,
                        bool retain) {
  check(cotangents.rank() == y.rank() + 1 && cotangents.shape().without(0) == y.shape(),
        "vjp: cotangents of shape {} for y of shape {}, [K, shape of y] expected", cotangents.shape(),
        y.shape());
  check(cotangents.dtype() == y.dtype(), "vjp: cotangents are {}, y is {}", name_of(cotangents.dtype()),
        name_of(y.dtype()));
  const int64_t copies = cotangents.size(0);
  check(copies >= 1, "vjp: no cotangents");
  std::vector<Tensor> result =
      gradients_of(y, inputs, cotangents.to(y.device()).reshape(stacked(y.shape(), copies)), copies, retain);
  for (size_t i = 0; i < result.size(); ++i) result[i] = result[i].reshape(inputs[i].shape().with(0, copies));
  return result;
}

}  // namespace hashgrad
