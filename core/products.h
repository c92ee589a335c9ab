// In what precision matrix products and convolutions multiply: mixed-precision training asks for less.
#pragma once

#include <bit>
#include <cstdint>

namespace hashgrad {

enum class Products {
  full,  ///< of the operands as they are
  bf16   ///< of float operands rounded to bf16 (8 significant bits of 24), added in float32
};

/// What the calling thread asked for; full unless a ProductsScope lives. The gemm and conv2d functions of
/// every engine read it when they are called. Operands of double, and matrices that are hashed on the way
/// (hash_gemm), are never rounded.
Products products();

/// The calling thread's choice for as long as this lives.
class ProductsScope {
 public:
  explicit ProductsScope(Products wanted);
  ~ProductsScope();
  ProductsScope(const ProductsScope&) = delete;
  ProductsScope& operator=(const ProductsScope&) = delete;

 private:
  Products before_;
};

/// The nearest bf16 as a float, ties to even; a NaN stays one.
inline float rounded_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return std::bit_cast<float>(0x7fff0000u);
  return std::bit_cast<float>((bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u);
}

}  // namespace hashgrad
