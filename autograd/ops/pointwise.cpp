#include "autograd/ops/pointwise.h"

#include "autograd/op_info.h"
#include "cuda/pointwise.h"

namespace hashgrad {
namespace {

using cpu::Unary;

Tensor pointwise(Unary op, const char* name, const Tensor& in) {
  const Tensor x = in.contiguous();
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  for_float_type(x.dtype(), name,
                 [&]<class T>() { HASHGRAD_ON(x.device(), unary(op, x.numel(), x.data<T>(), y.data<T>())); });
  return y;
}

/// True where f'(x) can be had from y = f(x), so that x need not be kept. The signs of x and y agree for the
/// ReLUs.
constexpr bool from_result(Unary op) {
  return op == Unary::neg || op == Unary::exp || op == Unary::sqrt || op == Unary::reciprocal ||
         op == Unary::tanh || op == Unary::sigmoid || op == Unary::relu || op == Unary::leaky_relu;
}

}  // namespace

template <Unary op>
Tensor Pointwise<op>::forward(Needs needs, const Tensor& in) {
  const Tensor out = pointwise(op, name, in);
  if (needs.any()) {
    y = out;
    x = from_result(op) ? out : in.contiguous();
  }
  return out;
}

/// dx = f'(x) * dy, for each stacked dy.
template <Unary op>
Gradients<1> Pointwise<op>::backward(Needs, const Tensor& dy_in, int64_t copies) const {
  const Tensor dy = dy_in.contiguous();
  Tensor dx = Tensor::empty(stacked(x.shape(), copies), x.dtype(), x.device());
  for_float_type(x.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(x.device(),
                unary_backward(op, x.numel(), x.data<T>(), y.data<T>(), dy.data<T>(), dx.data<T>(), copies));
  });
  return {dx};
}

#define INSTANTIATE(name) template struct Pointwise<Unary::name>;
HASHGRAD_UNARY(INSTANTIATE)
#undef INSTANTIATE

Tensor Clamp::forward(Needs needs, const Tensor& in) {
  check(low <= high, "clamp: [{}, {}] is empty", low, high);
  const Tensor t = in.contiguous();
  Tensor y = Tensor::empty(t.shape(), t.dtype(), t.device());
  for_float_type(t.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(t.device(),
                clamp(t.numel(), static_cast<T>(low), static_cast<T>(high), t.data<T>(), y.data<T>()));
  });
  if (needs.any()) x = t;
  return y;
}

/// dx = dy where low <= x <= high, else 0.
Gradients<1> Clamp::backward(Needs, const Tensor& dy_in, int64_t copies) const {
  const Tensor dy = dy_in.contiguous();
  Tensor dx = Tensor::empty(stacked(x.shape(), copies), x.dtype(), x.device());
  for_float_type(x.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(x.device(), clamp_backward(x.numel(), static_cast<T>(low), static_cast<T>(high), x.data<T>(),
                                           dy.data<T>(), dx.data<T>(), copies));
  });
  return {dx};
}

Tensor sign(const Tensor& x) { return pointwise(Unary::sign, "sign", x); }
Tensor floor(const Tensor& x) { return pointwise(Unary::floor, "floor", x); }
Tensor ceil(const Tensor& x) { return pointwise(Unary::ceil, "ceil", x); }
Tensor round(const Tensor& x) { return pointwise(Unary::round, "round", x); }

namespace {

using Function = Variable (*)(const Variable&);

RegisterOp row(const char* name, const char* formula, Function f,
               OpInfo::Domain domain = OpInfo::Domain::real) {
  return RegisterOp({.name = name,
                     .formula = formula,
                     .call = [f](auto& x) { return f(x[0]); },
                     .samples = {{{3, 17}}, {{}}, {{1}}, {{33}}, {{129}}, {{2, 0, 3}}},
                     .domain = domain});
}

RegisterOp step_row(const char* name, const char* formula, Tensor (*f)(const Tensor&)) {
  return RegisterOp({.name = name,
                     .formula = formula,
                     .call = [f](auto& x) { return f(x[0].value()); },
                     .samples = {{{3, 17}}, {{}}, {{33}}, {{0}}},
                     .no_gradient = "constant almost everywhere"});
}

const RegisterOp rows[] = {
    row("neg", "-x", neg),
    row("abs", "|x|, derivative 0 at 0", abs),
    row("exp", "e^x", exp),
    row("log", "ln x", log, OpInfo::Domain::positive),
    row("sqrt", "sqrt x", sqrt, OpInfo::Domain::positive),
    row("square", "x^2", square),
    row("reciprocal", "1 / x", reciprocal, OpInfo::Domain::positive),
    row("sin", "sin x", sin),
    row("cos", "cos x", cos),
    row("tanh", "tanh x", tanh),
    row("sigmoid", "1 / (1 + e^-x)", sigmoid),
    row("relu", "max(x, 0), derivative 0 at 0", relu),
    row("leaky_relu", "x if x > 0, else 0.01 x", leaky_relu),
    row("gelu", "x (1 + erf(x / sqrt 2)) / 2", gelu),
    row("softplus", "ln(1 + e^x)", softplus),
    row("clamp", "min(max(x, low), high)", [](const Variable& x) { return clamp(x, -0.8, 0.7); }),
    step_row("sign", "-1, 0 or 1", sign),
    step_row("floor", "largest integer <= x", floor),
    step_row("ceil", "smallest integer >= x", ceil),
    step_row("round", "nearest integer, halves to even", round),
};

}  // namespace
}  // namespace hashgrad
