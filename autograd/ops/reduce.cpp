#include "autograd/ops/reduce.h"

#include <vector>

#include "autograd/op_info.h"
#include "cuda/reduce.h"

namespace hashgrad {
namespace {

/// How the axes of `from` are kept or summed over to give `to`.
cpu::Groups groups_of(const Shape& from, const Shape& to) {
  cpu::Groups groups;
  const int added = from.rank() - to.rank();
  for (int i = 0; i < from.rank(); ++i) {
    const int64_t wanted = i < added ? 1 : to[i - added];
    check(wanted == 1 || wanted == from[i], "sum_to: {} does not sum to {}", from, to);
    if (from[i] == 1) continue;
    const bool summed = wanted == 1, joins = groups.count > 0 && groups.summed[groups.count - 1] == summed;
    const int at = joins ? groups.count - 1 : groups.count++;
    groups.size[at] = joins ? groups.size[at] * from[i] : from[i];
    groups.summed[at] = summed;
  }
  return groups;
}

/// Axes in order, with this one moved to the back; and the way home.
std::vector<int> axis_last(int rank, int axis) {
  std::vector<int> axes;
  for (int i = 0; i < rank; ++i)
    if (i != axis) axes.push_back(i);
  axes.push_back(axis);
  return axes;
}
std::vector<int> axis_back(int rank, int axis) {
  std::vector<int> axes;
  for (int i = 0; i < rank - 1; ++i) axes.push_back(i);
  axes.insert(axes.begin() + axis, rank - 1);
  return axes;
}

struct Extremes {
  Tensor maximum, argmax;  // shape of x without the axis
};

Extremes find_maximum(const Tensor& in, int axis_in, const char* name) {
  const int axis = static_cast<int>(in.shape().axis(axis_in));
  const int64_t columns = in.size(axis);
  check(columns >= 1, "{}: axis {} of shape {} has no elements", name, axis, in.shape());
  const Tensor x = in.permute(axis_last(in.rank(), axis)).contiguous();
  const Shape shape = in.shape().without(axis);
  Extremes e{Tensor::empty(shape, in.dtype(), in.device()), Tensor::empty(shape, DType::int64, in.device())};
  for_float_type(in.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(in.device(),
                max_rows(shape.numel(), columns, x.data<T>(), e.maximum.data<T>(), e.argmax.data<int64_t>()));
  });
  return e;
}

}  // namespace

Tensor sum_to(const Tensor& t, const Shape& shape, int64_t copies) {
  const Tensor x = t.contiguous();
  const bool rows = copies > 1;
  Shape one = t.shape();
  if (rows) one.set(0, t.size(0) / copies);
  if (one.numel() == shape.numel()) return x.reshape(stacked(shape, copies));
  Tensor y = Tensor::empty(stacked(shape, copies), t.dtype(), t.device());
  const cpu::Groups groups = groups_of(one, shape);
  for_float_type(t.dtype(), "sum", [&]<class T>() {
    HASHGRAD_ON(t.device(), sum_groups(groups, copies, x.data<T>(), y.data<T>()));
  });
  return y;
}

Tensor Sum::forward(Needs, const Tensor& x) {
  in_shape = x.shape();
  return sum_to(x, kept).reshape(result);
}

/// Every summed element gets its sum's gradient.
Gradients<1> Sum::backward(Needs, const Tensor& dy) const { return {dy.reshape(kept).expand(in_shape)}; }

Tensor Max::forward(Needs needs, const Tensor& x) {
  in_shape = x.shape();
  const Extremes e = find_maximum(x, axis, name);
  if (needs.any()) argmax = e.argmax;
  if (!keep) return e.maximum;
  Shape kept = in_shape;
  kept.set(axis, 1);
  return e.maximum.reshape(kept);
}

/// dx[argmax] = dy, 0 elsewhere.
Gradients<1> Max::backward(Needs, const Tensor& dy_in) const {
  const Tensor dy = dy_in.contiguous();
  const int place = static_cast<int>(in_shape.axis(axis));
  const Shape rows = in_shape.without(place);
  Tensor dx =
      Tensor::empty(rows.with(rows.rank(), in_shape[place]), dy.dtype(), dy.device());  // [..., columns]
  for_float_type(dy.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(dy.device(), place_in_rows(rows.numel(), in_shape[place], argmax.data<int64_t>(),
                                           dy.data<T>(), dx.data<T>()));
  });
  return {dx.permute(axis_back(in_shape.rank(), place))};
}

Tensor argmax(const Tensor& x, int axis) { return find_maximum(x, axis, "argmax").argmax; }

static const RegisterOp sum_row({.name = "sum",
                                 .formula = "sum of all elements",
                                 .call = [](auto& x) { return sum(x[0]); },
                                 .samples = {{{3, 17}}, {{}}, {{129}}, {{0, 3}}}});
static const RegisterOp sum_axis_row(
    {.name = "sum_axis",
     .formula = "sum along one axis",
     .call = [](auto& x) { return sum(x[0], 1) + sum(sum(x[0], 0, true)); },
     .samples = {{{3, 17}}, {{2, 3, 4}}, {{1, 33}}, {{2, 3, 2, 3}}, {{0, 3}}, {{3, 0}}}});
static const RegisterOp mean_row({.name = "mean",
                                  .formula = "sum / number of elements",
                                  .call = [](auto& x) { return mean(x[0]) + mean(x[0], -1); },
                                  .samples = {{{3, 17}}, {{129}}, {{1, 1}}}});
static const RegisterOp max_row({.name = "max",
                                 .formula = "largest along one axis; of equals the first gets the gradient",
                                 .call = [](auto& x) { return max(x[0], 1); },
                                 .samples = {{{3, 17}}, {{2, 3, 4}}, {{33, 1}}, {{0, 3}}}});
static const RegisterOp min_row({.name = "min",
                                 .formula = "smallest along one axis; of equals the first gets the gradient",
                                 .call = [](auto& x) { return min(x[0], -2, true); },
                                 .samples = {{{3, 17}}, {{2, 3, 4}}, {{1, 33}}, {{3, 0}}}});
static const RegisterOp argmax_row({.name = "argmax",
                                    .formula = "index of the largest along one axis; of equals the lowest",
                                    .call = [](auto& x) { return argmax(x[0].value(), 1); },
                                    .samples = {{{3, 17}}, {{2, 3, 4}}, {{0, 3}}},
                                    .no_gradient = "an index"});

}  // namespace hashgrad
