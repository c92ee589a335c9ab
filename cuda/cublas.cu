#include <algorithm>
#include <limits>
#include <mutex>
#include <string>

#include "cuda/cublas.h"
#include "cuda/divisor.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"
#include "cuda/scratch.h"

#if !HASHGRAD_EMULATED
#include <atomic>
#include <dlfcn.h>
#endif

namespace hashgrad::HASHGRAD_GPU {

#if HASHGRAD_EMULATED

void set_blas(Blas blas) { check(blas == Blas::own, "the emulator has no cuBLAS"); }
Blas blas() { return Blas::own; }
template <class T>
bool cublas_gemm(bool, bool, int64_t, int64_t, int64_t, const T*, int64_t, const T*, int64_t, T*, int64_t,
                 const cpu::Epilogue<T>&) {
  return false;
}

#else
namespace {

constexpr int64_t enough_products = int64_t{1} << 24;  // below, there is nothing to gain
constexpr int no_transpose = 0, transpose = 1;         // cublasOperation_t
constexpr int pedantic_math = 2;  // cublasMath_t: every product and sum in the type itself
constexpr int64_t workspace_bytes = int64_t{32} << 20;  // as much as NVIDIA advises for any device

/// The functions of libcublas that are used, and their handle.
class Library {
 public:
  /// An Error when it cannot be loaded.
  static Library& get() {
    static Library library;
    return library;
  }

  /// Column-major: c [m,n] = op(a) [m,k] op(b) [k,n] + beta * c.
  void multiply(int op_a, int op_b, int m, int n, int k, const float* a, int lda, const float* b, int ldb,
                float beta, float* c, int ldc) {
    run(sgemm_, op_a, op_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
  }
  void multiply(int op_a, int op_b, int m, int n, int k, const double* a, int lda, const double* b, int ldb,
                double beta, double* c, int ldc) {
    run(dgemm_, op_a, op_b, m, n, k, a, lda, b, ldb, beta, c, ldc);
  }

 private:
  template <class T>
  using Gemm = int (*)(void* handle, int op_a, int op_b, int m, int n, int k, const T* alpha, const T* a,
                       int lda, const T* b, int ldb, const T* beta, T* c, int ldc);

  Library() {
    for (const char* name : {"libcublas.so.13", "libcublas.so.12"})
      if (!library_) library_ = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library_) fail("cuBLAS cannot be loaded: {}", std::string(dlerror()));
    int (*create)(void**) = nullptr;
    int (*set_math_mode)(void*, int) = nullptr;
    find("cublasCreate_v2", create);
    find("cublasSetStream_v2", set_stream_);
    find("cublasSetWorkspace_v2", set_workspace_);
    find("cublasSetMathMode", set_math_mode);
    find("cublasSgemm_v2", sgemm_);
    find("cublasDgemm_v2", dgemm_);
    verify("cublasCreate", create(&handle_));
    verify("cublasSetMathMode", set_math_mode(handle_, pedantic_math));
  }

  template <class Function>
  void find(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library_, name));
    if (!function) fail("cuBLAS has no {}", std::string(name));
  }
  static void verify(const char* what, int status) {
    check(status == 0, "cuBLAS: {} failed with status {}", what, status);
  }

  template <class T>
  void run(Gemm<T> gemm, int op_a, int op_b, int m, int n, int k, const T* a, int lda, const T* b, int ldb,
           T beta, T* c, int ldc) {
    const std::lock_guard lock(mutex_);  // the stream is a property of the handle
    const T one = 1;
    // A workspace of its own for each call: with the handle's, cuBLAS promises the same bits only as long as
    // no two streams are at work, and a recording would hold allocations of cuBLAS's.
    const Scratch<std::byte> workspace(workspace_bytes);
    verify("cublasSetStream", set_stream_(handle_, current_stream()));  // this also forgets the workspace
    verify("cublasSetWorkspace", set_workspace_(handle_, workspace.data(), workspace_bytes));
    verify("gemm", gemm(handle_, op_a, op_b, m, n, k, &one, a, lda, b, ldb, &beta, c, ldc));
  }

  void* library_ = nullptr;  // never closed: at exit the driver may be gone before us
  void* handle_ = nullptr;
  int (*set_stream_)(void*, void*) = nullptr;
  int (*set_workspace_)(void*, void*, size_t) = nullptr;
  Gemm<float> sgemm_ = nullptr;
  Gemm<double> dgemm_ = nullptr;
  std::mutex mutex_;
};

std::atomic<Blas> chosen{Blas::own};

/// One thread per element: biases and ReLU, which cuBLAS does not know.
template <class T>
__global__ void epilogue_kernel(int64_t elements, LongDivisor columns, T* c, int64_t ldc,
                                cpu::Epilogue<T> e) {
  for (int64_t i = grid_rank(); i < elements; i += grid_threads()) {
    const int64_t row = columns.quotient(i), j = columns.remainder(i, row);
    T x = c[row * ldc + j];
    if (e.row_bias) x += e.row_bias[row];
    if (e.column_bias) x += e.column_bias[j];
    c[row * ldc + j] = e.relu && x < 0 ? T{0} : x;
  }
}

}  // namespace

void set_blas(Blas blas) {
  if (blas == Blas::cublas) Library::get();
  chosen = blas;
}
Blas blas() { return chosen; }

template <class T>
bool cublas_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda,
                 const T* b, int64_t ldb, T* c, int64_t ldc, const cpu::Epilogue<T>& epilogue) {
  const bool fits = std::max({m, n, k, lda, ldb, ldc}) <= std::numeric_limits<int>::max();
  if (chosen != Blas::cublas || !fits || static_cast<double>(m) * n * k < enough_products) return false;
  // Row-major C = op(A) op(B) is column-major C^T = op(B)^T op(A)^T, and every matrix read that way is its
  // transpose.
  const auto size = [](int64_t value) { return static_cast<int>(value); };
  Library::get().multiply(trans_b ? transpose : no_transpose, trans_a ? transpose : no_transpose, size(n),
                          size(m), size(k), b, size(ldb), a, size(lda), epilogue.accumulate ? T{1} : T{0}, c,
                          size(ldc));
  if (epilogue.row_bias || epilogue.column_bias || epilogue.relu) {
    launch(epilogue_kernel<T>, grid_for(m * n), block_size, 0, m * n, LongDivisor(n), c, ldc, epilogue);
  }
  return true;
}

#endif

#define INSTANTIATE(T)                                                                                       \
  template bool cublas_gemm(bool, bool, int64_t, int64_t, int64_t, const T*, int64_t, const T*, int64_t, T*, \
                            int64_t, const cpu::Epilogue<T>&);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
