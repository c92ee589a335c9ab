#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#ifdef __linux__
#include <sched.h>
#else
#include <thread>
#endif

#include "core/error.h"
#include "core/thread_team.h"

namespace hashgrad {
namespace {

/// Cores that this process may use.
int cores() {
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
  return 1;
#else
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#endif
}

int thread_count = cores();
thread_local bool inside_loop = false;

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
  int64_t failed = count;  // the index whose error it is: whoever is below has begun, and is heard to its end
  std::mutex error_mutex;
  Team::instance().run(n - 1, [&] {
    inside_loop = true;
    int64_t i = 0;
    try {
      while ((i = next.fetch_add(1, std::memory_order_relaxed)) < count) body(i);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (i < failed) error = std::current_exception(), failed = i;
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
