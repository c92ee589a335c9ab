// The tensor-core instructions of cuda/mma.h: each collects the registers of the warp, multiplies, and deals
// out.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "cuda/emulator/hooks.h"

namespace hashgrad::emulator {

struct MmaLane {
  float* c;
  const unsigned* a;
  const unsigned* b;
};

/// Element `i` (two per register) of bf16 registers.
inline float bf16_element(const unsigned* registers, int i) {
  const unsigned pair = registers[i / 2];
  return std::bit_cast<float>(i % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
}
inline float tf32_element(const unsigned* registers, int i) {
  return std::bit_cast<float>(registers[i] & 0xffffe000u);
}

/// c[16][8] += a[16][depth] b[depth][8], summed in ascending order, and c to and from the lanes.
template <int depth>
void multiply(void** lanes, const float (&a)[16][depth], const float (&b)[depth][8]) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      float& c = static_cast<MmaLane*>(lanes[lane])->c[i];
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      for (int k = 0; k < depth; ++k) c += a[row][k] * b[k][column];
    }
}

inline void need_whole_warp(uint32_t lanes, const char* what) {
  if (lanes != 0xffffffffu) fail_kernel(std::string(what) + " needs all 32 lanes of the warp", here());
}

inline void mma_bf16_16x8x16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                             Site site = here(__builtin_FILE(), __builtin_LINE())) {
  MmaLane lane{c, a, b};
  warp_operation(
      0xffffffffu, &lane,
      [](void** lanes, uint32_t present) {
        need_whole_warp(present, "mma_bf16_16x8x16");
        float all_a[16][16], all_b[16][8];
        for (int l = 0; l < 32; ++l) {
          const MmaLane& of = *static_cast<MmaLane*>(lanes[l]);
          const int g = l / 4, t = l % 4;
          for (int i = 0; i < 8; ++i)
            all_a[g + i / 2 % 2 * 8][2 * t + i % 2 + i / 4 * 8] = bf16_element(of.a, i);
          for (int i = 0; i < 4; ++i) all_b[2 * t + i % 2 + i / 2 * 8][g] = bf16_element(of.b, i);
        }
        multiply(lanes, all_a, all_b);
      },
      site);
}

inline void mma_tf32_16x8x8(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                            Site site = here(__builtin_FILE(), __builtin_LINE())) {
  MmaLane lane{c, a, b};
  warp_operation(
      0xffffffffu, &lane,
      [](void** lanes, uint32_t present) {
        need_whole_warp(present, "mma_tf32_16x8x8");
        float all_a[16][8], all_b[8][8];
        for (int l = 0; l < 32; ++l) {
          const MmaLane& of = *static_cast<MmaLane*>(lanes[l]);
          const int g = l / 4, t = l % 4;
          for (int i = 0; i < 4; ++i) all_a[g + i % 2 * 8][t + i / 2 * 4] = tf32_element(of.a, i);
          for (int i = 0; i < 2; ++i) all_b[t + i * 4][g] = tf32_element(of.b, i);
        }
        multiply(lanes, all_a, all_b);
      },
      site);
}

struct LdmatrixLane {
  unsigned* r;
  const void* row;
};

template <bool transposed>
void load_matrices(void** lanes, uint32_t present) {
  need_whole_warp(present, "ldmatrix_x4");
  for (int matrix = 0; matrix < 4; ++matrix) {
    uint16_t element[8][8];
    for (int row = 0; row < 8; ++row) {
      const void* from = static_cast<LdmatrixLane*>(lanes[matrix * 8 + row])->row;
      if (reinterpret_cast<uintptr_t>(from) % 16 != 0)
        fail_kernel("a row of ldmatrix_x4 is not aligned to 16", here());
      std::memcpy(element[row], from, sizeof(element[row]));
    }
    for (int l = 0; l < 32; ++l) {
      const int g = l / 4, t = l % 4;
      const unsigned low = transposed ? element[2 * t][g] : element[g][2 * t];
      const unsigned high = transposed ? element[2 * t + 1][g] : element[g][2 * t + 1];
      static_cast<LdmatrixLane*>(lanes[l])->r[matrix] = low | high << 16;
    }
  }
}

inline void ldmatrix_x4(unsigned (&r)[4], const void* shared_row,
                        Site site = here(__builtin_FILE(), __builtin_LINE())) {
  LdmatrixLane lane{r, shared_row};
  warp_operation(0xffffffffu, &lane, &load_matrices<false>, site);
}
inline void ldmatrix_x4_transposed(unsigned (&r)[4], const void* shared_row,
                                   Site site = here(__builtin_FILE(), __builtin_LINE())) {
  LdmatrixLane lane{r, shared_row};
  warp_operation(0xffffffffu, &lane, &load_matrices<true>, site);
}

}  // namespace hashgrad::emulator
