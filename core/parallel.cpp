#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <omp.h>
#include <thread>
#include <vector>

#include "core/error.h"

namespace hashgrad {
namespace {

int thread_count = std::max(1, omp_get_num_procs());
thread_local bool inside_loop = false;

/// Runs `worker()` on n threads. ThreadSanitizer cannot see the barriers of GCC's OpenMP run time and would
/// report races that are none, so that build uses plain threads; the loop bodies under test are the same.
template <class F>
void on_threads(int n, const F& worker) {
#ifdef __SANITIZE_THREAD__
  std::vector<std::jthread> pool;
  for (int t = 1; t < n; ++t) pool.emplace_back(worker);
  worker();
#else
#pragma omp parallel num_threads(n)
  worker();
#endif
}

}  // namespace

int threads() { return thread_count; }

void set_threads(int n) {
  check(n >= 1 && n <= 4096, "threads: {} is not a thread count (accepted: 1 to 4096)", n);
  thread_count = n;
}

void parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  const int n = static_cast<int>(std::min<int64_t>(thread_count, count));
  if (n <= 1 || inside_loop) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;
  on_threads(n, [&] {
    inside_loop = true;
    try {
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(i);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!error) error = std::current_exception();
      next = count;
    }
    inside_loop = false;
  });
  if (error) std::rethrow_exception(error);
}

void parallel_for_unless(bool serial, int64_t count, const std::function<void(int64_t)>& body) {
  if (!serial) return parallel_for(count, body);
  for (int64_t i = 0; i < count; ++i) body(i);
}

void parallel_ranges(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  const int64_t pieces = (n + grain - 1) / grain;
  parallel_for(pieces, [&](int64_t i) { body(i * grain, std::min(n, (i + 1) * grain)); });
}

}  // namespace hashgrad
