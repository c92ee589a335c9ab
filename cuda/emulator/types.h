// CUDA's vector types and dim3, for the emulator.
#pragma once

namespace hashgrad::emu {

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

// Alignments are CUDA's: vector loads of a float4 need 16 bytes.
#define HASHGRAD_EMULATED_VECTORS(T, name, align2, align4)      \
  struct alignas(align2) name##2 {                              \
    T x, y;                                                     \
  };                                                            \
  struct alignas(align4) name##4 {                              \
    T x, y, z, w;                                               \
  };                                                            \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; } \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

HASHGRAD_EMULATED_VECTORS(float, float, 8, 16)
HASHGRAD_EMULATED_VECTORS(double, double, 16, 16)
HASHGRAD_EMULATED_VECTORS(int, int, 8, 16)
HASHGRAD_EMULATED_VECTORS(unsigned, uint, 8, 16)
HASHGRAD_EMULATED_VECTORS(short, short, 4, 8)
HASHGRAD_EMULATED_VECTORS(unsigned short, ushort, 4, 8)
HASHGRAD_EMULATED_VECTORS(signed char, char, 2, 4)
HASHGRAD_EMULATED_VECTORS(unsigned char, uchar, 2, 4)
HASHGRAD_EMULATED_VECTORS(long long, longlong, 16, 16)
HASHGRAD_EMULATED_VECTORS(unsigned long long, ulonglong, 16, 16)
#undef HASHGRAD_EMULATED_VECTORS

}  // namespace hashgrad::emu
