#include "autograd/ops/matmul.h"

#include <algorithm>

#include "autograd/op_info.h"
#include "cpu/gemm.h"
#include "cuda/gemm.h"

namespace hashgrad {
namespace {

/// A matrix (or a stack of them) as gemm wants it: row-major, or the transpose of something row-major.
struct Operand {
  Tensor t;
  bool transposed;
  int64_t step;   // from row to row, or from column to column if transposed
  int64_t batch;  // from matrix to matrix
};

Operand operand(const Tensor& t) {
  const int64_t rows = t.size(-2), columns = t.size(-1);
  const int64_t row_step = t.strides()[-2], column_step = t.strides()[-1];
  const auto batch = [](const Tensor& x) { return x.rank() == 3 ? x.strides()[0] : 0; };
  if (column_step == 1 && row_step >= std::max<int64_t>(1, columns)) return {t, false, row_step, batch(t)};
  if (row_step == 1 && column_step >= std::max<int64_t>(1, rows)) return {t, true, column_step, batch(t)};
  const Tensor own = t.contiguous();
  return {own, false, std::max<int64_t>(1, columns), batch(own)};
}

void check_shapes(const Tensor& a, const Tensor& b) {
  check(a.rank() == b.rank() && (a.rank() == 2 || a.rank() == 3) && a.size(-1) == b.size(-2) &&
            (a.rank() == 2 || a.size(0) == b.size(0)),
        "matmul: shapes {} and {}, [M,K] and [K,N] expected (or a stack of each)", a.shape(), b.shape());
  check(a.dtype() == b.dtype(), "matmul: {} and {}, one element type expected", name_of(a.dtype()),
        name_of(b.dtype()));
  check(a.device() == b.device(), "matmul: factors on {} and {}, one device expected", to_string(a.device()),
        to_string(b.device()));
}

}  // namespace

Tensor Matmul::forward(Needs needs, const Tensor& a_in, const Tensor& b_in) {
  check_shapes(a_in, b_in);
  if (needs[1]) a = a_in;
  if (needs[0]) b = b_in;
  const Operand p = operand(a_in), q = operand(b_in);
  const int64_t m = a_in.size(-2), k = a_in.size(-1), n = b_in.size(-1);
  Shape shape = a_in.shape();
  shape.set(-1, n);
  Tensor y = Tensor::empty(shape, a_in.dtype(), a_in.device());
  const int64_t matrices = shape.rank() == 3 ? shape[0] : 1;
  for_float_type(y.dtype(), name, [&]<class T>() {
    for (int64_t i = 0; i < matrices; ++i)
      HASHGRAD_ON(y.device(), gemm(p.transposed, q.transposed, m, n, k, p.t.data<T>() + i * p.batch, p.step,
                                   q.t.data<T>() + i * q.batch, q.step, y.data<T>() + i * m * n,
                                   std::max<int64_t>(1, n)));
  });
  return y;
}

/// da [M,K] = dy [M,N] b^T [N,K], db [K,N] = a^T [K,M] dy [M,N]
Gradients<2> Matmul::backward(Needs needs, const Tensor& dy) const {
  Gradients<2> g;
  if (needs[0]) g[0] = matmul(dy, b.transpose(-2, -1));
  if (needs[1]) g[1] = matmul(a.transpose(-2, -1), dy);
  return g;
}

static const RegisterOp row({.name = "matmul",
                             .formula = "a b, also for stacks of matrices",
                             .call = [](auto& x) { return matmul(x[0], x[1]); },
                             .samples = {{{3, 17}, {17, 2}},
                                         {{1, 1}, {1, 33}},
                                         {{2, 3, 4}, {2, 4, 5}},
                                         {{0, 3}, {3, 2}},
                                         {{3, 0}, {0, 2}},
                                         {{17, 33}, {33, 3}}},
                             .flops =
                                 [](auto& s) {
                                   return 2.0 * static_cast<double>(s[0].numel()) *
                                          static_cast<double>(s[1][-1]);
                                 }});

}  // namespace hashgrad
