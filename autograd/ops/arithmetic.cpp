#include "autograd/ops/arithmetic.h"

#include <vector>

#include "autograd/op_info.h"
#include "autograd/ops/pointwise.h"
#include "autograd/ops/reduce.h"
#include "cuda/pointwise.h"

namespace hashgrad {
namespace {

using cpu::Binary;

/// The axes of `shape` that both operands walk through. Axes of size 1 are left out, and neighbours are
/// joined where both sides step through them as through one.
cpu::Axes joined_axes(const Shape& shape, const Shape& a_strides, const Shape& b_strides) {
  cpu::Axes axes;
  for (int i = 0; i < shape.rank(); ++i) {
    const int64_t size = shape[i], a = a_strides[i], b = b_strides[i];
    if (size == 1) continue;
    const int last = axes.count - 1;
    const bool joins = last >= 0 && axes.a[last] == a * size && axes.b[last] == b * size;
    const int at = joins ? last : axes.count++;
    axes.size[at] = joins ? axes.size[at] * size : size;
    axes.a[at] = a;
    axes.b[at] = b;
  }
  return axes;
}

Tensor elementwise(Binary op, const char* name, const Tensor& a_in, const Tensor& b_in) {
  check(a_in.dtype() == b_in.dtype(), "{}: {} and {}, one element type expected", name, name_of(a_in.dtype()),
        name_of(b_in.dtype()));
  const Shape shape = broadcast(a_in.shape(), b_in.shape(), name);
  const Tensor a = a_in.contiguous(), b = b_in.contiguous();
  Tensor y = Tensor::empty(shape, a.dtype(), a.device());
  const cpu::Axes axes = joined_axes(shape, a.expand(shape).strides(), b.expand(shape).strides());
  for_float_type(y.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(y.device(), binary(op, axes, a.data<T>(), b.data<T>(), y.data<T>()));
  });
  return y;
}

constexpr bool saves_inputs(Binary op) { return op != Binary::add && op != Binary::sub; }

}  // namespace

template <Binary op>
Tensor Elementwise<op>::forward(Needs needs, const Tensor& a_in, const Tensor& b_in) {
  a_shape = a_in.shape();
  b_shape = b_in.shape();
  if (saves_inputs(op) && needs.any()) {
    if (op != Binary::mul || needs[1]) a = a_in;
    if (op != Binary::mul || needs[0]) b = b_in;
  }
  return elementwise(op, name, a_in, b_in);
}

/// add: da = dy, db = dy         sub: da = dy, db = -dy        mul: da = dy * b, db = dy * a
/// div: da = dy / b, db = -dy * a / b^2                        max, min: dy goes to the one that was taken
/// Each is then summed over the axes along which its operand was repeated.
template <Binary op>
Gradients<2> Elementwise<op>::backward(Needs needs, const Tensor& dy, int64_t copies) const {
  const Shape shape = broadcast(a_shape, b_shape, name);
  const Tensor d = copies == 1 ? dy.reshape(shape) : dy.reshape(shape.with(0, copies));  // operands broadcast
  const auto give = [&](const Tensor& t, const Shape& to) {
    return sum_to(t.reshape(stacked(shape, copies)), to, copies);
  };
  const auto chosen = [&](Binary comparison, const Tensor& x, const Tensor& y) {
    return elementwise(Binary::keep, name, d, elementwise(comparison, name, x, y));
  };
  Gradients<2> g;
  if constexpr (op == Binary::add || op == Binary::sub) {
    if (needs[0]) g[0] = give(d, a_shape);
    if (needs[1]) g[1] = give(op == Binary::add ? d : neg(d), b_shape);
  } else if constexpr (op == Binary::mul) {
    if (needs[0]) g[0] = give(mul(d, b), a_shape);
    if (needs[1]) g[1] = give(mul(d, a), b_shape);
  } else if constexpr (op == Binary::div) {
    const Tensor da = div(d, b);
    if (needs[0]) g[0] = give(da, a_shape);
    if (needs[1]) g[1] = give(neg(mul(da, div(a, b))), b_shape);
  } else if constexpr (op == Binary::max) {
    if (needs[0]) g[0] = give(chosen(Binary::greater_equal, a, b), a_shape);
    if (needs[1]) g[1] = give(chosen(Binary::greater, b, a), b_shape);
  } else {
    if (needs[0]) g[0] = give(chosen(Binary::greater_equal, b, a), a_shape);
    if (needs[1]) g[1] = give(chosen(Binary::greater, a, b), b_shape);
  }
  return g;
}

template struct Elementwise<Binary::add>;
template struct Elementwise<Binary::sub>;
template struct Elementwise<Binary::mul>;
template struct Elementwise<Binary::div>;
template struct Elementwise<Binary::max>;
template struct Elementwise<Binary::min>;

namespace {

const std::vector<std::vector<Shape>> pairs = {
    {{3, 17}, {3, 17}}, {{33}, {1}},      {{}, {3}},
    {{2, 3}, {3}},      {{2, 3}, {2, 1}}, {{2, 1, 5}, {3, 1}},
    {{0, 3}, {3}},      {{1}, {0, 1}},    {{2, 3, 2, 2}, {1, 3, 1, 1}},
    {{129}, {129}},
};

const RegisterOp rows[] = {
    RegisterOp(
        {.name = "add", .formula = "a + b", .call = [](auto& x) { return x[0] + x[1]; }, .samples = pairs}),
    RegisterOp(
        {.name = "sub", .formula = "a - b", .call = [](auto& x) { return x[0] - x[1]; }, .samples = pairs}),
    RegisterOp(
        {.name = "mul", .formula = "a * b", .call = [](auto& x) { return x[0] * x[1]; }, .samples = pairs}),
    RegisterOp({.name = "div",
                .formula = "a / b",
                .call = [](auto& x) { return x[0] / x[1]; },
                .samples = pairs,
                .domain = OpInfo::Domain::positive}),
    RegisterOp({.name = "maximum",
                .formula = "max(a, b); of equals a gets the gradient",
                .call = [](auto& x) { return maximum(x[0], x[1]); },
                .samples = pairs}),
    RegisterOp({.name = "minimum",
                .formula = "min(a, b); of equals a gets the gradient",
                .call = [](auto& x) { return minimum(x[0], x[1]); },
                .samples = pairs}),
    RegisterOp({.name = "add_number",
                .formula = "(x + 2) * 3 - 1 / x: numbers are constants",
                .call = [](auto& x) { return (x[0] + 2) * 3 - 1 / x[0]; },
                .samples = {{{3, 17}}, {{}}, {{0}}},
                .domain = OpInfo::Domain::positive}),
};

}  // namespace
}  // namespace hashgrad
