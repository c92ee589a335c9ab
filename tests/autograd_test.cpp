// The engine: what is recorded, what is computed, and what it costs.
#include <doctest/doctest.h>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/pointwise.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/view.h"
#include "autograd/variable.h"
#include "tests/error_of.h"

namespace hashgrad {
namespace {

Variable leaf(const std::vector<double>& values, const Shape& shape) {
  return Variable::leaf(Tensor::of(values, shape));
}

/// y = 2x, counting its backward calls and the graphs alive.
struct Counted {
  static constexpr const char* name = "counted";
  static inline int calls = 0;
  Tensor forward(Needs, const Tensor& x) { return x * 2; }
  Gradients<1> backward(Needs, const Tensor& dy, int64_t) const {
    ++calls;
    return {dy * 2};
  }
};
Variable counted(const Variable& x) { return apply(Counted{}, x); }

int calls_of(const std::function<void()>& f) {
  Counted::calls = 0;
  f();
  return Counted::calls;
}

TEST_CASE("backward adds up in the leaves over calls and over uses") {
  const Variable x = leaf({1, 2, 3}, {3});
  CHECK_FALSE(x.grad().defined());
  sum(x * x + x).backward();
  CHECK(x.grad().to_vector<double>() == std::vector<double>{3, 5, 7});
  sum(x * 10).backward();
  CHECK(x.grad().to_vector<double>() == std::vector<double>{13, 15, 17});
  Variable y = x;
  y.zero_grad();
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("gradients that alias one tensor are never changed by later sums") {
  const Variable a = leaf({1, 2}, {2}), b = leaf({3, 4}, {2});
  sum(a + b).backward();  // both leaves receive the same memory
  sum(a * 5).backward();
  CHECK(a.grad().to_vector<double>() == std::vector<double>{6, 6});
  CHECK(b.grad().to_vector<double>() == std::vector<double>{1, 1});
}

TEST_CASE("constants record nothing") {
  const Variable c = Tensor::of<double>({1, 2}, {2});
  CHECK_FALSE(exp(c * c + c).requires_grad());
  CHECK((c * leaf({1, 1}, {2})).requires_grad());
  const Variable x = leaf({1, 1}, {2});
  const Variable y = linear(reshape(x, {1, 2}), Variable(Tensor::of<double>({1, 2}, {1, 2})));
  CHECK_FALSE(y.node()->inputs[1]);
  CHECK_FALSE(y.node()->inputs[2]);
}

TEST_CASE("a leaf can be switched off and on") {
  Variable x = leaf({1, 2}, {2});
  x.set_requires_grad(false);
  CHECK_FALSE((x * x).requires_grad());
  x.set_requires_grad(true);
  CHECK((x * x).requires_grad());
  Variable y = x * x;
  CHECK_ERROR(y.set_requires_grad(false), "only a leaf");
  CHECK_ERROR(Variable::leaf(Tensor::of<int64_t>({1}, {1})), "int64 has no gradient");
}

TEST_CASE("grad computes nothing off the path and leaves the leaves alone") {
  const Variable x = leaf({1, 2}, {2}), weight = leaf({3, 4}, {2});
  const Variable off = counted(counted(weight));  // two calls if anyone wanted the weight's gradient
  const Variable y = sum(counted(x) * off);
  std::vector<Tensor> g;
  CHECK(calls_of([&] { g = grad(y, {x}, true); }) == 1);
  CHECK(g[0].to_vector<double>() == std::vector<double>{24, 32});
  CHECK_FALSE(x.grad().defined());
  CHECK_FALSE(weight.grad().defined());
  CHECK(calls_of([&] { grad(y, {weight}, true); }) == 2);
  CHECK(calls_of([&] { grad(y, {x, weight}); }) == 3);
}

TEST_CASE("grad stops at an inner value of the graph") {
  const Variable x = leaf({1, 2}, {2});
  const Variable inner = counted(x);
  std::vector<Tensor> g;
  CHECK(calls_of([&] { g = grad(sum(square(inner)), {inner}); }) == 0);
  CHECK(g[0].to_vector<double>() == std::vector<double>{4, 8});
}

TEST_CASE("an input that y does not depend on gets zeros, a constant is an error") {
  const Variable x = leaf({1, 2}, {2}), other = leaf({1, 2, 3}, {3});
  CHECK(grad(sum(x), {other})[0].to_vector<double>() == std::vector<double>{0, 0, 0});
  CHECK_ERROR(grad(sum(x), {Variable(Tensor::zeros({2}))}), "is a constant");
  CHECK_ERROR(grad(x, {x}), "starts from one number");
  CHECK_ERROR(x.backward(), "starts from one number");
  CHECK_ERROR(Variable(Tensor::scalar(1)).backward(), "nothing below");
}

TEST_CASE("a used graph cannot be used again unless it was retained") {
  const Variable x = leaf({1, 2}, {2});
  const Variable y = sum(square(x));
  grad(y, {x}, true);
  grad(y, {x});
  CHECK_ERROR(grad(y, {x}), "already used");
  CHECK_ERROR(y.backward(), "already used");
}

TEST_CASE("a backward pass frees what the graph saved") {
  const Variable x = Variable::leaf(Tensor::zeros({1 << 16}));
  const int64_t before = memory_count().live;
  const Variable y = sum(square(exp(x) + 1));
  CHECK(memory_count().live > before + (1 << 18));
  grad(y, {x});
  CHECK(memory_count().live < before + (1 << 10));
}

TEST_CASE("a chain of a million ops is built, differentiated and freed without recursion") {
  const Variable x = leaf({1}, {1});
  {
    Variable y = x;
    for (int i = 0; i < 1'000'000; ++i) y = reshape(y, {1});
    CHECK(grad(sum(y), {x})[0].item() == 1);
  }
  Variable y = x;
  for (int i = 0; i < 1'000'000; ++i) y = reshape(y, {1});  // freed without having been used
}

TEST_CASE("diamonds cost one backward call per op, however many paths there are") {
  const Variable x = leaf({1}, {1});
  Variable y = x;
  for (int i = 0; i < 40; ++i) {
    const Variable z = counted(y);
    y = (z + z) * 0.25;  // two paths per stage, 2^40 in all
  }
  std::vector<Tensor> g;
  CHECK(calls_of([&] { g = grad(sum(y), {x}); }) == 40);
  CHECK(g[0].item() == 1);
}

/// Forgets the gradient of its second input.
struct Forgetful {
  static constexpr const char* name = "forgetful";
  Tensor forward(Needs, const Tensor& x, const Tensor&) { return x * 1; }
  Gradients<2> backward(Needs, const Tensor& dy) const { return {dy, Tensor()}; }
};

TEST_CASE("an op that has no gradient where one is wanted is named, with the input") {
  const Variable x = leaf({1, 2}, {2}), other = leaf({3, 4}, {2});
  CHECK(grad(sum(apply(Forgetful{}, x, other)), {x})[0].to_vector<double>() == std::vector<double>{1, 1});
  CHECK_ERROR(grad(sum(apply(Forgetful{}, x, other)), {other}),
              "forgetful: has no gradient with respect to input 1");
}

TEST_CASE("older parts of the graph than the input asked for are not walked") {
  const Variable w = leaf({1}, {1});
  Variable old = w;
  for (int i = 0; i < 100; ++i) old = counted(old);
  const Variable x = leaf({2}, {1});
  CHECK(calls_of([&] { grad(sum(old * x), {x}); }) == 0);
}

TEST_CASE("the Jacobian in one pass equals its rows one by one") {
  const Variable x = leaf({0.5, -1, 2, 0.25, 1, -0.5}, {2, 3});
  const Variable w = leaf({1, 2, 3, -1, 0.5, 0.25, 2, -2, 1, 3, -3, 0.5}, {4, 3});
  const Variable b = leaf({0.1, 0.2, 0.3, -0.4}, {4});
  const Variable y = tanh(linear(x, w, b, Activation::relu)) * 3;  // [2,4]
  const int64_t n = y.numel();
  Tensor one_hot = Tensor::zeros({n, 2, 4}, DType::float64);
  for (int64_t i = 0; i < n; ++i) one_hot.data<double>()[i * n + i] = 1;
  const std::vector<Tensor> jacobian = vjp(y, {x, w, b}, one_hot, true);
  CHECK(jacobian[0].shape() == Shape{n, 2, 3});
  CHECK(jacobian[1].shape() == Shape{n, 4, 3});
  CHECK(jacobian[2].shape() == Shape{n, 4});
  for (int64_t i = 0; i < n; ++i) {
    const std::vector<Tensor> row = vjp(y, {x, w, b}, one_hot.slice(0, i, i + 1), true);
    for (size_t k = 0; k < 3; ++k) CHECK(identical(jacobian[k].slice(0, i, i + 1), row[k]));
  }
  CHECK_ERROR(vjp(y, {x}, Tensor::zeros({2, 4}, DType::float64)), "[K, shape of y] expected");
  CHECK_ERROR(vjp(y, {x}, Tensor::zeros({3, 4, 2}, DType::float64)), "[3,4,2] for y of shape [2,4]");
  CHECK_ERROR(vjp(y, {x}, Tensor::zeros({1, 2, 4})), "cotangents are float32");
  CHECK_ERROR(vjp(y, {x}, Tensor::zeros({0, 2, 4}, DType::float64)), "no cotangents");
}

TEST_CASE("scalars are differentiated, stacked and not") {
  const Variable x = Variable::leaf(Tensor::scalar(3, DType::float64));
  CHECK(grad(square(x), {x})[0].shape() == Shape{});
  CHECK(grad(square(x), {x})[0].item() == 6);
  const Tensor stack = vjp(square(x), {x}, Tensor::of<double>({1, 10}, {2}))[0];
  CHECK(stack.to_vector<double>() == std::vector<double>{6, 60});
}

}  // namespace
}  // namespace hashgrad
