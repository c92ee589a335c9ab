// Small matrix products by a whole warp on tensor cores, and what they take. Compute capability 8.0 and up: a
// kernel that calls these compiles for older devices too, but stops there (check properties().major on the
// host).
//
// Registers of lane l, with g = l / 4 and t = l % 4 (a pair of bf16: the lower column, or row of B, in the
// low half):
//
//   bf16, A 16x16   a[0] (g, 2t..2t+1)   a[1] (g+8, 2t..)   a[2] (g, 2t+8..)   a[3] (g+8, 2t+8..)
//         B 16x8    b[0] (2t..2t+1, g)   b[1] (2t+8.., g)
//   tf32, A 16x8    a[0] (g, t)          a[1] (g+8, t)      a[2] (g, t+4)      a[3] (g+8, t+4)
//         B 8x8     b[0] (t, g)          b[1] (t+4, g)
//   both, C 16x8    c[0..1] (g, 2t..2t+1)                   c[2..3] (g+8, 2t..2t+1)
#pragma once

#include <cstdint>

#include "cuda/gpu.h"
#if HASHGRAD_EMULATED
#include "cuda/emulator/mma.h"
#endif

namespace hashgrad::HASHGRAD_GPU {

/// The bits of the nearest bf16 (ties to even) of a float; every NaN becomes 0x7fff.
__device__ __forceinline__ unsigned bf16_bits(float value) {
  const unsigned bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

/// Two bf16 in one register.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
#if !HASHGRAD_EMULATED && __CUDA_ARCH__ >= 800
  unsigned packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#else
  return bf16_bits(low) | bf16_bits(high) << 16;
#endif
}

/// The nearest number of 10 fraction bits (ties away from 0), as the bits of a float. What is not rounded,
/// the product cuts off. (cvt.rna.tf32 is no shorter: it becomes the same comparison and addition, and leaves
/// the bits below for the product to cut off.)
__device__ __forceinline__ unsigned tf32_bits(float value) {
  const unsigned bits = __float_as_uint(value);
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & 0xffffe000u;
}

#if HASHGRAD_EMULATED
using emulator::ldmatrix_x4, emulator::ldmatrix_x4_transposed;
using emulator::mma_bf16_16x8x16, emulator::mma_tf32_16x8x8;
#else

/// c += A B.
__device__ __forceinline__ void mma_bf16_16x8x16(float (&c)[4], const unsigned (&a)[4],
                                                 const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

__device__ __forceinline__ void mma_tf32_16x8x8(float (&c)[4], const unsigned (&a)[4],
                                                const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

/// Loads four 8x8 matrices of 16-bit elements from shared memory: lane l names row l % 8 of matrix l / 8 (16
/// bytes, so aligned), and gets elements 2t and 2t+1 of row g of each; transposed: of column g.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* shared_row) {
  const unsigned row = static_cast<unsigned>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_transposed(unsigned (&r)[4], const void* shared_row) {
  const unsigned row = static_cast<unsigned>(__cvta_generic_to_shared(shared_row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row)
               : "memory");
}
#endif

}  // namespace hashgrad::HASHGRAD_GPU
