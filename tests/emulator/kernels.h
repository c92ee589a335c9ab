// Small kernels that use one feature of the device each, for tests/emulator_test.cpp. Pointers are the
// engine's.
#pragma once

#include <cstdint>

#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(namespace testing {

/// Each run of 128 numbers of x is turned round, through dynamic shared memory. n is a multiple of 128.
void reverse_runs(int n, int* x);
/// y[c][r] = x[r][c], n x n, through a static shared tile.
void transpose(int n, const float* x, float* y);

/// One warp; out [7][32] from in [32]: lane 5, xor 3, up 2, down 2, and the last three again within groups of
/// 8.
void shuffles(const int* in, int* out);
/// One warp; out [4][32] from in [32]: who is odd, whether any is 7, whether all are below 100, who has the
/// same.
void votes(const int* in, unsigned* out);
/// out [3]: how many of the n of x are odd, whether all are positive, whether any is 7; one block.
void block_votes(int n, const int* x, int* out);

/// One update of each kind per element by as many threads, many blocks. ints: sum, max, min, or, count by
/// CAS.
void atomics(int n, const int* x, int* ints, unsigned long long* big, float* single, double* twice);
/// Counts of x[i] in [0, bins), in shared memory first.
void histogram(int n, const int* x, int bins, unsigned* counts);

/// Sums of every 32 numbers, and of each block's 128.
void sums(int n, const float* x, float* of_warp, float* of_block);
/// Largest of each row, and its index (the first of equals).
void argmax(int rows, int columns, const float* x, float* value, int* index);
/// The sum of all, by the last block to finish; `partial` has a place for each 128, `ticket` is 0 and is left
/// so.
void sum_at_once(int n, const float* x, float* partial, unsigned* ticket, float* sum);

/// y[i] = x[i] + x[i + 1], x [n + 1] with n a multiple of 128: tiles that arrive while the one before is in
/// use.
void add_neighbours(int n, const float* x, float* y);
/// c[16][8] = a[16][16] b[16][8] of bf16 values, and a[16][8] b[8][8] in tf32.
void mma_bf16(const float* a, const float* b, float* c);
void mma_tf32(const float* a, const float* b, float* c);

/// out [11] from x: __popc, __clz, __ffs, __brev, __umulhi(x, 3x), the float with x's bits read back, ...
void bits(unsigned x, unsigned* out);
/// x[i] += 1.
void add_one(int64_t n, float* x);
/// `repeats` rounds of (barrier, add): to measure.
void many_barriers(int blocks, int threads, int repeats, int* out);

/// Launches with what a device refuses.
void launch_too_many_threads(float* x);
void launch_too_much_shared(float* x);
/// A grid of nothing.
void launch_nothing(float* x);

/// The biggest tile that needs asking for: x[i] through 64 KiB of dynamic shared memory.
void big_shared(int n, float* x);

/// Kernels that fail: threads at two barriers, a lane outside its mask, threads that wait for ever.
enum class Failure { divergent_barrier, lane_outside_mask, deadlock, divergent_lanes };
void fail_in_kernel(Failure failure);

})  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
