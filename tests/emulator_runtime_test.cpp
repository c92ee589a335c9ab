// Memory, streams, events, graphs and failures of every engine of this machine (cuda/runtime.h).
#include "cuda/engines.h"

#if HASHGRAD_WITH_CUDA || HASHGRAD_WITH_EMULATOR

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <doctest/doctest.h>
#include <memory>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "core/storage.h"
#include "tests/emulator/engine_types.h"
#include "tests/error_of.h"

#if HASHGRAD_WITH_EMULATOR
#include "cuda/emulator/options.h"
#include "cuda/emulator/runtime_api.h"
#endif

namespace hashgrad::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

TEST_CASE_TEMPLATE("engine: properties", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  CHECK(!Engine::properties().name.empty());
  CHECK(Engine::properties().major >= 7);
  CHECK(Engine::properties().multiprocessors >= 1);
  CHECK(Engine::properties().memory > 1 << 28);
  CHECK(Engine::properties().shared_per_block >= 48 << 10);
}

TEST_CASE_TEMPLATE("engine: copies", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const std::vector<int> x = {1, 2, 3, 4};
  Buffer<Engine, int> a(x), b(4);
  Engine::copy_within(b.data(), a.data(), 12);
  Engine::set_bytes(b.data() + 3, 1, 4);
  CHECK(b.get() == std::vector<int>{1, 2, 3, 0x01010101});
  Engine::copy_to_host(nullptr, nullptr, 0);

  std::vector<int> source = {5, 6, 7, 8};
  Engine::copy_to_device(a.data(), source.data(), 16);
  source.assign(4, 0);  // which it may be when the call returns
  CHECK(a.get() == std::vector<int>{5, 6, 7, 8});
}

TEST_CASE_TEMPLATE("engine: the account of memory, and reuse", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  Engine::drop_cache();
  Engine::reset_peak();
  const MemoryCount before = Engine::memory_count();
  CHECK(before.cached == 0);
  void* block = Engine::allocate(1 << 20);
  CHECK(reinterpret_cast<uintptr_t>(block) % 256 == 0);
  CHECK(Engine::memory_count().live == before.live + (1 << 20));
  Engine::release(block, 1 << 20);
  const MemoryCount after = Engine::memory_count();
  CHECK(after.live == before.live);
  CHECK(after.peak == before.live + (1 << 20));
  if (std::string(Engine::name) == "emu" && sanitized) return;  // there freed memory is given back at once
  CHECK(after.cached == 1 << 20);
  void* again = Engine::allocate((1 << 20) - 100);  // of the same size class
  CHECK(again == block);
  CHECK(Engine::memory_count().cached == 0);
  Engine::release(again, (1 << 20) - 100);
  Engine::drop_cache();
  CHECK(Engine::memory_count().cached == 0);
}

TEST_CASE_TEMPLATE("engine: the limit of memory", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  Engine::drop_cache();
  const int64_t live = Engine::memory_count().live;
  Engine::set_limit(live + (3 << 20));
  void* first = Engine::allocate(2 << 20);
  CHECK_ERROR(Engine::allocate(2 << 20),
              fmt::format("{} memory: 2097152 more bytes do not fit", Engine::name));
  CHECK_ERROR(Engine::allocate(2 << 20), "(" + std::to_string(live + (2 << 20)) +
                                             " are in use, the limit is " + std::to_string(live + (3 << 20)) +
                                             ")");
  Engine::release(first, 2 << 20);
  void* other_size = Engine::allocate(3 << 20);  // fits once the cached block is gone
  CHECK(Engine::memory_count().cached == 0);
  Engine::release(other_size, 3 << 20);
  Engine::set_limit(0);
  CHECK_ERROR(Engine::allocate(size_t{1} << 46), "more bytes do not fit");
  Engine::drop_cache();
}

TEST_CASE_TEMPLATE("engine: new memory holds NaNs", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const bool before = poison_new_memory(true);
  for (int time = 0; time < 2; ++time) {  // the second time the block is used again
    Buffer<Engine, float> fresh(100);
    const std::vector<float> values = fresh.get();
    CHECK(std::all_of(values.begin(), values.end(), [](float v) { return std::isnan(v); }));
    Engine::set_bytes(fresh.data(), 0, 400);
  }
  poison_new_memory(before);
}

TEST_CASE_TEMPLATE("engine: streams and events", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  Buffer<Engine, float> x(std::vector<float>(1000, 0.0f)), y(std::vector<float>(1000, 5.0f));
  Engine::synchronize();
  {
    typename Engine::Stream one, two;
    typename Engine::Event start, ready, end;
    {
      const typename Engine::StreamScope scope(one);
      start.record();
      for (int i = 0; i < 10; ++i) Engine::add_one(1000, x.data());
      ready.record();
    }
    two.wait(ready);
    {
      const typename Engine::StreamScope scope(two);
      Engine::copy_within(y.data(), x.data(), 4000);
      Engine::add_one(1000, y.data());
      end.record();
    }
    two.synchronize();
    CHECK(end.elapsed_ms(start) >= 0);
  }
  CHECK(x.get() == std::vector<float>(1000, 10.0f));
  CHECK(y.get() == std::vector<float>(1000, 11.0f));
}

TEST_CASE_TEMPLATE("engine: a block released on another stream is safe to use again", Engine,
                   HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const int64_t live = Engine::memory_count().live;
  {
    typename Engine::Stream stream;
    const size_t n = std::string(Engine::name) == "emu" ? 1 << 10 : 1 << 22;  // work enough to be still at it
    float* block = static_cast<float*>(Engine::allocate(n * sizeof(float)));
    Engine::set_bytes(block, 0, n * sizeof(float));
    Engine::synchronize();
    {
      const typename Engine::StreamScope scope(stream);
      for (int i = 0; i < 20; ++i) Engine::add_one(static_cast<int64_t>(n), block);
      Engine::release(block, n * sizeof(float));
    }
    const std::vector<float> threes(n, 3.0f);
    Buffer<Engine, float> next(threes);
    CHECK(next.get() == threes);
    const typename Engine::StreamScope scope(stream);
    Engine::release(Engine::allocate(n * sizeof(float)), n * sizeof(float));
  }
  CHECK(Engine::memory_count().live == live);
}

TEST_CASE_TEMPLATE("engine: graphs", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const int64_t live = Engine::memory_count().live;
  {
    Buffer<Engine, float> x(std::vector<float>(1000, 1.0f)), y(std::vector<float>(1000, 0.0f));
    typename Engine::Graph graph;
    CHECK_ERROR(graph.replay(), "never captured");
    graph.capture([&] {
      Buffer<Engine, float> between(1000);
      Engine::copy_within(between.data(), x.data(), 4000);
      Engine::add_one(1000, between.data());
      Engine::copy_within(y.data(), between.data(), 4000);
      Engine::add_one(1000, x.data());
    });
    CHECK(x.get()[0] == 1);  // recorded, not run
    CHECK(y.get()[0] == 0);
    Buffer<Engine, float> other(std::vector<float>(1000, -1.0f));  // not the memory of `between`
    for (int i = 0; i < 3; ++i) graph.replay();
    CHECK(x.get() == std::vector<float>(1000, 4.0f));
    CHECK(y.get() == std::vector<float>(1000, 4.0f));
    CHECK(other.get() == std::vector<float>(1000, -1.0f));

    CHECK_ERROR(graph.capture([&] { static_cast<void>(x.get()); }), "copy_to_host cannot be part of a graph");
    CHECK_ERROR(graph.capture([&] { Engine::synchronize(); }), "synchronize cannot be part of a graph");
    graph.capture([&] { Engine::add_one(1000, y.data()); });  // a capture that failed leaves no trace
    graph.replay();
    CHECK(y.get()[999] == 5);
  }
  CHECK(Engine::memory_count().live == live);
}

TEST_CASE_TEMPLATE("engine: a wait for the device, and the end of a graph, let others finish their recording",
                   Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  Buffer<Engine, float> x(std::vector<float>(10, 0.0f));
  auto old = std::make_unique<typename Engine::Graph>();
  old->capture([&] { Engine::add_one(10, x.data()); });
  typename Engine::Graph graph;
  std::string failure;
  std::atomic<bool> begun{false};
  std::jthread other;
  graph.capture([&] {
    other = std::jthread([&] {
      begun = true;
      failure = error_of([&] { Engine::synchronize(); });
      old.reset();
    });
    while (!begun) std::this_thread::yield();
    for (int i = 0; i < 300; ++i) {  // while the other thread, let in, would be done
      Engine::add_one(10, x.data());
      std::this_thread::yield();
    }
  });
  other.join();
  CHECK(failure == "(no error)");
  graph.replay();
  CHECK(x.get() == std::vector<float>(10, 300.0f));
}

TEST_CASE_TEMPLATE("engine: a block of one graph that another uses and releases lasts as long as both",
                   Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const int64_t live = Engine::memory_count().live;
  const std::vector<float> ones(1000, 1.0f);
  {
    Buffer<Engine, float> x(ones), y(std::vector<float>(1000, 0.0f));
    auto first = std::make_unique<typename Engine::Graph>();
    typename Engine::Graph second;
    first->capture([&] {
      void* block = Engine::allocate(4000);
      Engine::copy_within(block, x.data(), 4000);
      std::jthread([&] {
        second.capture([&] {
          Engine::copy_within(y.data(), block, 4000);
          Engine::release(block, 4000);
        });
      }).join();
      const Buffer<Engine, float> next(1000);  // not the memory of `block`
      Engine::set_bytes(next.data(), 0, 4000);
    });
    first->replay();
    second.replay();
    CHECK(y.get() == ones);
    first.reset();
    const Buffer<Engine, float> other(std::vector<float>(1000, -1.0f));  // nor this
    second.replay();
    CHECK(y.get() == ones);
  }
  CHECK(Engine::memory_count().live == live);
}

TEST_CASE_TEMPLATE("engine: a graph holds launches of one kernel with more and with less shared memory",
                   Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  constexpr int more = 15000, less = 13000;  // 4 bytes each: both have to be asked for
  const Buffer<Engine, int> x(std::vector<int>{0, 1, 1, less - 1});
  Buffer<Engine, unsigned> first(Buffer<Engine, unsigned>::zeros(more)),
      second(Buffer<Engine, unsigned>::zeros(less));
  typename Engine::Graph graph;
  graph.capture([&] {
    Engine::histogram(4, x.data(), more, first.data());
    Engine::histogram(4, x.data(), less, second.data());
  });
  graph.replay();
  for (const std::vector<unsigned>& counts : {first.get(), second.get()}) {
    CHECK(counts[0] == 1);
    CHECK(counts[1] == 2);
    CHECK(counts[less - 1] == 1);
  }
}

TEST_CASE_TEMPLATE("engine: launches that no device accepts", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  Buffer<Engine, float> x(std::vector<float>{1});
  CHECK_ERROR(Engine::launch_too_many_threads(x.data()),
              fmt::format("{}: the kernel launched at emulator/kernels.cu:", Engine::name));
  CHECK_ERROR(Engine::launch_too_many_threads(x.data()), " in launch_too_many_threads did not start: ");
  CHECK_ERROR(Engine::launch_too_many_threads(x.data()),
              "(grid 1,1,1, block 2048,1,1, 0 bytes of shared memory)");
  CHECK_ERROR(Engine::launch_too_much_shared(x.data()), "1048576 bytes of shared memory");
  Engine::launch_nothing(x.data());
  Engine::add_one(1, x.data());  // nothing of that disturbs the next launch
  CHECK(x.get()[0] == 2);
}

TEST_CASE_TEMPLATE("engine: threads of the host work side by side", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  std::vector<float> results(4);
  {
    std::vector<std::jthread> hosts;
    for (size_t h = 0; h < results.size(); ++h)
      hosts.emplace_back([h, &results] {
        typename Engine::Stream stream;
        const typename Engine::StreamScope scope(stream);
        Buffer<Engine, float> x(std::vector<float>(300, static_cast<float>(h)));
        for (int i = 0; i < 10; ++i) Engine::add_one(300, x.data());
        results[h] = x.get()[299];
      });
  }
  CHECK(results == std::vector<float>{10, 11, 12, 13});
}

#if HASHGRAD_WITH_EMULATOR

TEST_CASE("emulator: a failing kernel names launch, block, thread and lines, and the next one runs") {
  using Failure = Emulator::Failure;
  const auto message = [](Failure failure) { return error_of([&] { Emulator::fail_in_kernel(failure); }); };
  const auto contains = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  const std::string barrier = message(Failure::divergent_barrier);
  contains(barrier, "emu: the kernel launched at emulator/kernels.cu:");
  contains(barrier, " in fail_in_kernel, block (");
  contains(barrier, ") thread (");
  contains(barrier, "threads of one block are at different barriers, emulator/kernels.cu:");
  contains(message(Failure::lane_outside_mask), "takes part in an operation whose mask 0x0fffffff lacks it");
  contains(message(Failure::deadlock), "every thread waits: thread 0 at emulator/kernels.cu:");
  contains(message(Failure::divergent_lanes), "lanes of one warp are in different operations: lane 0 at");

  Buffer<Emulator, int> x(std::vector<int>(128, 1));
  Emulator::reverse_runs(128, x.data());
  CHECK(x.get() == std::vector<int>(128, 1));
}

TEST_CASE("emulator: a copy from the host that nobody waits for reads what is there later") {
  Buffer<Emulator, int> x(1);
  int source = 1;
  REQUIRE(emu::cudaMemcpyAsync(x.data(), &source, sizeof source, emu::cudaMemcpyHostToDevice, nullptr) ==
          emu::cudaSuccess);
  source = 2;
  CHECK(x.get() == std::vector<int>{2});
}

TEST_CASE("emulator: a small copy to the device waits for nothing, and its source may change") {
  for (const size_t bytes : {size_t{1}, emu::carried_bytes, emu::carried_bytes + 1}) {
    CAPTURE(bytes);
    std::vector<uint8_t> source(bytes, 7);
    Buffer<Emulator, uint8_t> x(bytes + 1);
    const int64_t before = emulator::waits();
    Emulator::copy_to_device(x.data(), source.data(), bytes);
    CHECK(emulator::waits() - before == (bytes > emu::carried_bytes));
    source.assign(bytes, 0);
    std::vector<uint8_t> expected(bytes, 7);
    expected.push_back(0xff);  // as allocated
    CHECK(x.get() == expected);
  }
}

TEST_CASE("emulator: a wait for the device ends what its own thread records") {
  emu::Graph graph;
  CHECK_ERROR(graph.capture([] { static_cast<void>(emu::cudaDeviceSynchronize()); }),
              "emu: Graph::capture: operation failed due to a previous error during capture");
  graph.capture([] {});
  graph.replay();
}

TEST_CASE("emulator: copies must lie in one block of the device") {
  Buffer<Emulator, int> x(std::vector<int>(4, 1));
  std::vector<int> host(1000);
  CHECK_ERROR(Emulator::copy_to_host(host.data(), x.data(), 4000), "emu: copy_to_host: invalid argument");
  CHECK_ERROR(Emulator::copy_to_device(host.data(), host.data(), 4000),
              "emu: copy_to_device: invalid argument");
  CHECK_ERROR(Emulator::copy_within(x.data(), host.data(), 4), "emu: copy_within: invalid argument");
  CHECK_ERROR(Emulator::set_bytes(host.data(), 0, 4), "emu: set_bytes: invalid argument");
}

/// The signal that ends a process which does f(); 0 if none does.
template <class F>
int signal_of(const F& f) {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);
    f();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

TEST_CASE("emulator: in strict mode the host cannot touch memory of the device") {
  const emulator::Options before = emulator::options();
  emulator::Options strict = before;
  strict.strict = true;
  Emulator::drop_cache();  // blocks from before are not strict
  emulator::set_options(strict);
  {
    Buffer<Emulator, int> x(std::vector<int>(256, 1));
    x.get();
    Emulator::reverse_runs(256, x.data());
    CHECK(x.get() == std::vector<int>(256, 1));
    if (!sanitized) CHECK(signal_of([&] { x.data()[0] = 2; }) == SIGSEGV);
    CHECK(x.get()[0] == 1);
  }
  Emulator::drop_cache();
  void* first = Emulator::allocate(5000);
  Emulator::release(first, 5000);
  Emulator::drop_cache();
  void* second = Emulator::allocate(5000);  // from the emulator's own list
  CHECK(second == first);
  Emulator::release(second, 5000);
  Emulator::drop_cache();
  emulator::set_options(before);
}

#endif

}  // namespace
}  // namespace hashgrad::testing

#endif
