// The kernel tables. Every file of cpu/kernels/ is compiled once per instruction set (CMakeLists.txt), into
// namespace hashgrad::cpu::<isa>, and exports tables of function pointers; the program picks one instruction
// set when it starts. Kernels get plain pointers, allocate nothing, throw nothing and start no threads.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// avx512bf16: AVX-512 with products of pairs of bf16. amx: with tiles of them besides.
enum class Isa { plain, avx2, avx512, avx512bf16, amx };

/// The instruction set in use: the best one this machine has, or the one named by the environment variable
/// HASHGRAD_ISA (plain, avx2, avx512, avx512bf16, amx); Error when that name is unknown or the machine lacks
/// it.
Isa isa();
const char* isa_name(Isa isa);
/// Whether this machine can run that copy of the kernels.
bool isa_supported(Isa isa);
/// Changes the instruction set in use (for tests; not while kernels run). Error when not supported.
void set_isa(Isa isa);

/// Declares one table per instruction set and `name(Isa)` / `name()` that pick among them:
///   HASHGRAD_KERNEL_TABLE(Table, some_kernels)    in a header, in namespace hashgrad::cpu;
///   extern const Table some_kernels_table{...};   in cpu/kernels/some.cpp, in namespace HASHGRAD_ISA.
/// HASHGRAD_BF16_KERNEL_TABLE where avx512bf16 and amx have copies of their own; others are AVX-512's there.
#define HASHGRAD_KERNEL_TABLE(Type, name) HASHGRAD_DECLARE_TABLES(Type, name, avx512, avx512)
#define HASHGRAD_BF16_KERNEL_TABLE(Type, name) HASHGRAD_DECLARE_TABLES(Type, name, avx512bf16, amx)
#ifdef __x86_64__
#define HASHGRAD_DECLARE_TABLE(isa, Type, name) \
  namespace isa {                               \
  extern const Type name##_table;               \
  }
#define HASHGRAD_DECLARE_TABLES(Type, name, with_bf16, with_tiles) \
  HASHGRAD_DECLARE_TABLE(plain, Type, name)                        \
  HASHGRAD_DECLARE_TABLE(avx2, Type, name)                         \
  HASHGRAD_DECLARE_TABLE(avx512, Type, name)                       \
  HASHGRAD_DECLARE_TABLE(with_bf16, Type, name)                    \
  HASHGRAD_DECLARE_TABLE(with_tiles, Type, name)                   \
  inline const Type& name(Isa isa) {                               \
    return isa == Isa::amx          ? with_tiles::name##_table     \
           : isa == Isa::avx512bf16 ? with_bf16::name##_table      \
           : isa == Isa::avx512     ? avx512::name##_table         \
           : isa == Isa::avx2       ? avx2::name##_table           \
                                    : plain::name##_table;               \
  }                                                                \
  inline const Type& name() { return name(isa()); }
#else
#define HASHGRAD_DECLARE_TABLES(Type, name, with_bf16, with_tiles) \
  namespace plain {                                                \
  extern const Type name##_table;                                  \
  }                                                                \
  inline const Type& name(Isa) { return plain::name##_table; }     \
  inline const Type& name() { return plain::name##_table; }
#endif

/// A block of C = A B: the inside of every matrix product.
template <class T>
struct GemmBlock {
  int64_t rows, columns, depth;  // of this block of C; any size >= 1
  const T* a;                    // ceil(rows / mr) panels [depth, mr]
  const T* b;                    // ceil(columns / nr) panels [depth, nr], or see b_offsets
  T* c;                          // [rows, ldc]
  int64_t ldc;
  const T* row_bias = nullptr;     // [rows] or null
  const T* column_bias = nullptr;  // [columns] or null
  bool accumulate = false, relu = false;
  int64_t lda = 0;  // not 0: a is not packed but [rows, lda]
  int64_t ldb = 0;  // of b, in the kernels that read it where it lies
  /// Not null: a single panel of B that is not packed. The first vector of its row k lies at b +
  /// b_offsets[k], the second b_second further on; both can be read in full.
  const int64_t* b_offsets = nullptr;
  int64_t b_second = 0;
};

template <class T>
struct GemmKernels {
  int64_t mr, nr;
  /// b packed; a packed, or not.
  void (*block)(const GemmBlock<T>&);
  /// At most mr rows, neither operand packed: a [rows, lda]; b [columns, ldb] (_depth) or [depth, ldb]
  /// (_lanes).
  void (*few_rows_depth)(const GemmBlock<T>&);
  void (*few_rows_lanes)(const GemmBlock<T>&);
  /// pack_*: panels[(p * depth + k) * width + lane] = P[first + p*width + lane, k0 + k], width mr (a) or nr
  /// (b). _lanes: P[i, k] = src[i + k * stride]; _depth: P[i, k] = src[i * stride + k]; src points at the
  /// block's origin.
  void (*pack_a_lanes)(const T* src, int64_t stride, int64_t count, int64_t depth, T* panels);
  void (*pack_a_depth)(const T* src, int64_t stride, int64_t count, int64_t depth, T* panels);
  void (*pack_b_lanes)(const T* src, int64_t stride, int64_t count, int64_t depth, T* panels);
  void (*pack_b_depth)(const T* src, int64_t stride, int64_t count, int64_t depth, T* panels);
};

/// Where `lanes` neighbouring outputs of a convolution read a padded plane: lane l of a vector reads element
/// start[r] + l, where r is how many of the turns are <= l. Covers outputs of at most eight image rows.
struct PixelVector {
  static constexpr int most_runs = 8;
  int64_t start[most_runs];
  int64_t turn[most_runs - 1];
};

/// The unfolded image P[pixel, k] = image[pixel_offset[pixel] + tap_offset[k]] of a convolution, made while
/// packing.
template <class T>
struct Unfold {
  const T* image;                // padded, with 64 readable elements before and after
  const int64_t* pixel_offsets;  // of the block's pixels, filled up with readable offsets to a multiple of nr
  const PixelVector* pixels;     // a vector of `lanes` for every `spacing`-th of them, or null: lane by lane
  int runs;                      // how many of their starts they use at most
  int64_t pixel_count;
  const int64_t* tap_offsets;  // of the block's taps (channel, row, column), filled up likewise
  int64_t tap_count;
  T* panels;
};

/// Adds the columns of one channel, kernel_h * kernel_w planes [out_height, out_width] that lie column_step
/// apart, where they belong in dx [height, width]; in a dealt plane first, where neighbours stay neighbours.
template <class T>
struct Conv2dColumns {
  const T* columns;
  int64_t column_step, kernel_h, kernel_w, out_height, out_width;
  T* dealt;  // [dealt_rows, stride, phase]; overwritten
  int64_t dealt_rows, stride, phase, padding;
  T* dx;
  int64_t height, width;
};

template <class T>
struct Conv2dKernels {
  int64_t lanes, spacing;  // of the PixelVectors
  /// Panels of nr pixels by taps (operand B of the forward product). A lone panel of at most `lanes` pixels
  /// has its second vectors left as they are: no product reads them.
  void (*unfold_pixels)(const Unfold<T>&);
  /// Panels of nr taps by pixels (operand B of the weight gradient). A last vector that is past all taps is
  /// left as it is: no product reads it.
  void (*unfold_taps)(const Unfold<T>&);
  /// Rows [height, width] of a plane to rows [height, stride]; where `output` is not null only what a ReLU
  /// with these outputs lets through, zero elsewhere. What lies between the rows is not touched.
  void (*copy_plane)(int64_t height, int64_t width, const T* values, const T* output, T* to, int64_t stride);
  /// Rows of a plane [height, width], `apart` elements from each other, by even and odd columns: each half's
  /// rows lie `stride` elements from each other. Either half may be null.
  void (*deal_plane)(int64_t height, int64_t width, const T* values, int64_t apart, T* even, T* odd,
                     int64_t stride);
  void (*add_columns)(const Conv2dColumns<T>&);
  /// 2x2 max pooling of one plane, x [height, width] -> y, argmax [height / 2, width / 2]; argmax may be
  /// null.
  void (*pool_2x2)(int64_t height, int64_t width, const T* x, T* y, uint8_t* argmax);
  /// One row of the gradient of max(x, 0) and 2x2 pooling: dy, y, argmax [width] -> two rows of dx
  /// [2 * width].
  void (*unpool_2x2)(int64_t width, const T* dy, const T* y, const uint8_t* argmax, T* top, T* bottom);
};

/// A table per element type: gemm_kernels().of<float>().
template <template <class> class Table>
struct PerType {
  Table<float> for_float;
  Table<double> for_double;

  template <class T>
  const Table<T>& of() const {
    if constexpr (sizeof(T) == sizeof(float))
      return for_float;
    else
      return for_double;
  }
};

HASHGRAD_KERNEL_TABLE(PerType<GemmKernels>, gemm_kernels)
HASHGRAD_KERNEL_TABLE(PerType<Conv2dKernels>, conv2d_kernels)

}  // namespace hashgrad::cpu
