// The ladders, and what times them. Each is defined once per engine, by bench/ladders/<name>.cu.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "bench/ladder.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(
namespace bench {

using namespace hashgrad::bench;

/// Y = softmax of the rows of A [rows, columns <= 1024].
Ladder softmax_ladder(int64_t rows, int64_t columns);
/// Y[m,n] = A[m,k] B[k,n].
Ladder sgemm_ladder(int64_t m, int64_t n, int64_t k);
/// Y[batch, rows] = A[batch, columns] V^T, V [rows, columns] hashed into `buckets` (to 4096) weights, which are B.
Ladder hash_gemm_ladder(int64_t batch, int64_t rows, int64_t columns, int64_t buckets);
/// Y = A * B: images A [batch, in, side, side], kernels B [out, in, kernel, kernel] (1, 3, 5 or 7), Y [batch, out, side, side].
Ladder conv2d_ladder(int64_t batch, int64_t in, int64_t side, int64_t out, int64_t kernel);
/// Y[b] = sum of sign(i,j) * A[i,j] over the (i,j) of bucket b (of up to 8192), A [rows, columns].
Ladder hash_scatter_ladder(int64_t rows, int64_t columns, int64_t buckets);

Rates measure_rates();
/// Records work() once and replays it: microseconds per replay divided by `works`, of each of `rounds`, after warming up.
std::vector<double> replay_times(int works, int rounds, const std::function<void()>& work);

}  // namespace bench
)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
