#include "autograd/ops/view.h"

#include "autograd/op_info.h"
#include "autograd/ops/reduce.h"

namespace hashgrad {

// reshape, flatten: the gradient takes the old shape again.

Tensor Reshape::forward(Needs, const Tensor& x) {
  in_shape = x.shape();
  return x.reshape(sizes);
}

Gradients<1> Reshape::backward(Needs, const Tensor& dy, int64_t copies) const {
  return {dy.reshape(stacked(in_shape, copies))};
}

// permute, transpose: y axis i = x axis axes[i], so dx axis axes[i] = dy axis i.

Tensor Permute::forward(Needs, const Tensor& x) const { return x.permute(axes); }

Gradients<1> Permute::backward(Needs, const Tensor& dy) const {
  std::vector<int> inverse(axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = axes[i] < 0 ? axes[i] + static_cast<int>(axes.size()) : axes[i];
    inverse[static_cast<size_t>(axis)] = static_cast<int>(i);
  }
  return {dy.permute(inverse)};
}

// slice: dx is zero but for dx[begin:end] = dy.

Tensor Slice::forward(Needs, const Tensor& x) {
  in_shape = x.shape();
  return x.slice(axis, begin, end);
}

Gradients<1> Slice::backward(Needs, const Tensor& dy) const {
  Tensor dx = Tensor::zeros(in_shape, dy.dtype(), dy.device());
  dx.slice(axis, begin, end).copy_from(dy);
  return {dx};
}

// concat: y[begins[i]:begins[i+1]] = x_i, and the same of the gradients.

Tensor Concat::forward(Needs, const std::vector<Tensor>& inputs) {
  check(!inputs.empty(), "concat: no inputs");
  const Tensor& x = inputs.front();
  begins = {0};
  for (const Tensor& t : inputs) {
    check(t.rank() == x.rank() && t.shape().without(axis) == x.shape().without(axis),
          "concat: shapes {} and {} differ in more than axis {}", x.shape(), t.shape(), axis);
    check(t.dtype() == x.dtype(), "concat: {} and {}, one element type expected", name_of(x.dtype()),
          name_of(t.dtype()));
    check_one_device(name, {&x, &t});
    begins.push_back(begins.back() + t.size(axis));
  }
  Shape shape = x.shape();
  shape.set(axis, begins.back());
  Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  for (size_t i = 0; i < inputs.size(); ++i) y.slice(axis, begins[i], begins[i + 1]).copy_from(inputs[i]);
  return y;
}

std::vector<Tensor> Concat::backward(Needs needs, const Tensor& dy) const {
  std::vector<Tensor> gradients(begins.size() - 1);
  for (size_t i = 0; i < gradients.size(); ++i)
    if (needs[i]) gradients[i] = dy.slice(axis, begins[i], begins[i + 1]);
  return gradients;
}

// pad: y is x inside and `value` outside; dx = the inside of dy.

namespace {

/// The part of a padded tensor that came from x.
Tensor inside(const Tensor& padded, const Padding& padding, const Shape& shape) {
  Tensor t = padded;
  for (int i = 0; i < shape.rank(); ++i) {
    const int64_t before = padding[static_cast<size_t>(i)].first;
    t = t.slice(i, before, before + shape[i]);
  }
  return t;
}

}  // namespace

Tensor Pad::forward(Needs, const Tensor& x) {
  check(static_cast<int>(padding.size()) == x.rank(), "pad: {} pairs given for shape {}", padding.size(),
        x.shape());
  in_shape = x.shape();
  std::vector<int64_t> sizes;
  for (const auto& [before, after] : padding) {
    constexpr int64_t limit = int64_t{1} << 40;
    check(before >= 0 && after >= 0 && before <= limit && after <= limit,
          "pad: {} before and {} after an axis, 0 to 2^40 expected", before, after);
    sizes.push_back(before + in_shape[static_cast<int>(sizes.size())] + after);
  }
  Tensor y = Tensor::full(Shape(sizes), value, x.dtype(), x.device());
  inside(y, padding, in_shape).copy_from(x);
  return y;
}

Gradients<1> Pad::backward(Needs, const Tensor& dy) const { return {inside(dy, padding, in_shape)}; }

// expand: an element that stands in many places collects their gradients.

Tensor Expand::forward(Needs, const Tensor& x) {
  in_shape = x.shape();
  return x.expand(shape);
}

Gradients<1> Expand::backward(Needs, const Tensor& dy, int64_t copies) const {
  return {sum_to(dy, in_shape, copies)};
}

static const RegisterOp reshape_row({.name = "reshape",
                                     .formula = "y = x under another shape, row-major order",
                                     .call =
                                         [](auto& x) {
                                           return reshape(x[0], {-1, 3});
                                         },
                                     .samples = {{{2, 6}}, {{3}}, {{17, 3, 2}}, {{0, 3}}}});
static const RegisterOp flatten_row({.name = "flatten",
                                     .formula = "[N,...] -> [N, product of the rest]",
                                     .call = [](auto& x) { return flatten(x[0]); },
                                     .samples = {{{2, 3, 4}}, {{17}}, {{1, 33}}, {{0, 3, 2}}}});
static const RegisterOp permute_row({.name = "permute",
                                     .formula = "y axis i = x axis axes[i]",
                                     .call =
                                         [](auto& x) {
                                           return permute(x[0], {2, 0, -2});
                                         },
                                     .samples = {{{2, 3, 5}}, {{1, 17, 3}}, {{3, 0, 2}}}});
static const RegisterOp transpose_row({.name = "transpose",
                                       .formula = "two axes swapped",
                                       .call = [](auto& x) { return transpose(x[0], 0, -1); },
                                       .samples = {{{3, 17}}, {{2, 3, 4}}, {{1, 33}}, {{0, 3}}}});
static const RegisterOp slice_row({.name = "slice",
                                   .formula = "y = x[begin:end] along one axis",
                                   .call = [](auto& x) { return slice(x[0], 1, 1, 3); },
                                   .samples = {{{2, 3}}, {{3, 17, 2}}, {{0, 3}}}});
static const RegisterOp concat_row({.name = "concat",
                                    .formula = "inputs joined along one axis",
                                    .call = [](auto& x) { return concat(x, 1); },
                                    .samples = {
                                        {{2, 3}, {2, 1}, {2, 0}}, {{3, 17, 2}, {3, 1, 2}}, {{1, 3}}}});
static const RegisterOp pad_row({.name = "pad",
                                 .formula = "x surrounded by a constant",
                                 .call =
                                     [](auto& x) {
                                       return pad(x[0], {{1, 0}, {2, 3}}, 0.5);
                                     },
                                 .samples = {{{2, 3}}, {{17, 1}}, {{0, 3}}}});
static const RegisterOp expand_row({.name = "expand",
                                    .formula = "axes of size 1 stretched, leading axes added",
                                    .call =
                                        [](auto& x) {
                                          return expand(x[0], {2, 3, 4, 5});
                                        },
                                    .samples = {{{5}}, {{4, 1}}, {{3, 1, 5}}, {{2, 1, 4, 1}}, {Shape{}}}});

}  // namespace hashgrad
