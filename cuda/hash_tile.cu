// Products of large batches: the tiled product of cuda/product.h with a hashed operand, in plain float or
// double.
//
// Each weight is generated once per tile of up to 128 samples, on its way into shared memory: about 8
// instructions and one lookup through the first-level cache, beside 128 multiply-adds. A thread generates
// weights of one column of V at a time (a depth of the product), so that the column's key is computed once
// for 4 to 16 of them.
#include "cuda/hash_kernels.h"
#include "cuda/matrix.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

/// P[index, k] = V[index, k], or V[k, index] when transposed.
template <class T, HashMode mode>
struct HashedOperand {
  using Element = T;
  using Row = Unit;
  using Depth = Unit;
  static constexpr int vector = 1;
  static constexpr bool copies = false;
  // Most modes do best with one depth per thread; the table of mode xxhash is read along its rows.
  static constexpr Along along = mode == HashMode::xxhash ? Along::either : Along::depth;

  VirtualMatrix v;
  const T* w;
  bool transposed;
  int64_t first = 0;

  __device__ bool along_depth() const { return !transposed; }
  __device__ void move_to(int64_t index) { first = index; }
  __device__ Row row(int index) const {
    return transposed ? column_unit<mode>(v, first + index) : row_unit<mode>(v, first + index);
  }
  __device__ Depth depth(int k) const { return transposed ? row_unit<mode>(v, k) : column_unit<mode>(v, k); }
  __device__ Pack<T, 1> at(const Row& row, const Depth& depth) const {
    const uint32_t slot = transposed ? slot_of<mode>(v, depth, row) : slot_of<mode>(v, row, depth);
    return {{with_sign(__ldg(w + (slot >> 1)), slot)}};
  }
};

constexpr unsigned forms =
    bit(Form::big) | bit(Form::mid) | bit(Form::low) | bit(Form::flat) | bit(Form::tall);

}  // namespace

template <class T>
void tile_product(const HashedProduct<T>& p) {
  const int64_t outer = p.outer(), depth = p.depth();
  constexpr int64_t longest = int64_t{1} << 24;  // 128 rows of a tile are addressed with 32 bits
  check(depth <= longest, "hash: a product over {} is too long for one kernel", depth);
  const Matrix<T, 1> x{p.x, depth, 1};
  with_mode(p.v.mode, [&]<HashMode mode>() {
    multiply<forms>(p.batch, outer, static_cast<int>(depth), static_cast<int>(hashed_part(depth)), x,
                    HashedOperand<T, mode>{p.v, p.w, p.transposed}, p.c, outer, p.epilogue);
  });
}

template void tile_product(const HashedProduct<float>&);
template void tile_product(const HashedProduct<double>&);

}  // namespace hashgrad::HASHGRAD_GPU
