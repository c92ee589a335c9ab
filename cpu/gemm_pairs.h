// The matrix product of cpu/gemm.h for operands of bf16 parts (core/math_mode.h, cpu/pair_kernels.h).
#pragma once

#include <cstdint>
#include <functional>

#include "core/math_mode.h"
#include "cpu/gemm.h"
#include "cpu/pair_kernels.h"

namespace hashgrad::cpu {

/// The block() of the pair kernels may be called on this thread as long as this lives. (To set up tiles takes
/// as long as four products of them.)
class PairTiles {
 public:
  PairTiles() { pair_kernels().tiles(true); }
  ~PairTiles() { pair_kernels().tiles(false); }
  PairTiles(const PairTiles&) = delete;
  PairTiles& operator=(const PairTiles&) = delete;
};

/// How many bf16 numbers stand for a float: 1, 2 or 3; 0 for Math::fp32.
int parts_of(Math math);
/// The same for products of T by the calling thread: 0 for double. Asked once per product: the threads that
/// share its work have made no choice.
template <class T>
int parts_wanted() {
  return sizeof(T) == sizeof(float) ? parts_of(math_mode()) : 0;
}

/// Whether Winograd's way, and sums in registers for the input gradient of a first layer, beat the direct way
/// in products of that many parts: in fp32, and in bf16 where AVX-512 has products of pairs, which are but
/// twice as fast as floats'; AMX's cost next to nothing, and split ones were not measured without it.
inline bool fewer_products_pay(int parts) { return parts == 0 || (parts == 1 && isa() == Isa::avx512bf16); }

enum class Operand { a, b };

/// Fills packed pairs of a block (PackBlock with width pair_panel, k0 a multiple of pair_depth), as Packer
/// does.
using PairPacker = std::function<void(const PackBlock& block, int parts, Operand operand, uint32_t* panels)>;

/// A matrix in memory, P[index, k] = data[index * index_stride + k * depth_stride], one of the strides
/// being 1.
PairPacker pair_dense(const float* data, int64_t index_stride, int64_t depth_stride);
/// Whatever `pack` makes.
PairPacker pair_packed(Packer<float> pack);

/// C[M,N] = A[M,K] B[K,N] with operands of `parts` parts, then the epilogue. Sums are float32, over k in an
/// order that depends on K alone, by chains of pairs; denormals may be flushed, an operand that is not finite
/// gives NaN.
void gemm_pairs(int parts, int64_t m, int64_t n, int64_t k, const PairPacker& a, const PairPacker& b,
                float* c, int64_t ldc, const Epilogue<float>& epilogue);

/// One block of a product that goes on, c (+)= a b: of packed floats, or, where `pairs`, of one part in
/// pairs, whose words lie in memory meant for floats. Then ldc and lda do not count: c is as PairBlock::sums.
/// Without PairTiles, as such products are not AMX's (fewer_products_pay()).
void multiply_block(bool pairs, const GemmBlock<float>& block);

/// Depth of the blocks that k terms are cut into, a multiple of pair_depth.
int64_t pair_block_depth(int64_t k, int parts);

}  // namespace hashgrad::cpu
