#include "cuda/emulator/grid.h"

#include <cstdint>
#include <numeric>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "cuda/emulator/block_runner.h"
#include "cuda/emulator/device_blocks.h"
#include "cuda/emulator/tsan.h"

namespace hashgrad::emulator {
namespace {

/// A permutation of the blocks of a grid, made for the random order without a table: i * step + first, all
/// modulo n, with step and n coprime.
class BlockOrder {
 public:
  BlockOrder(int64_t n, const Options& options) : n_(n), order_(options.order) {
    if (order_ != Order::random) return;
    Random random(options.seed, Stream::test);
    const auto below_n = [&] {
      return static_cast<int64_t>(random.uniform_double() * static_cast<double>(n));
    };
    first_ = below_n();
    do {
      step_ = below_n() + 1;
    } while (std::gcd(step_, n) != 1);
  }

  int64_t operator[](int64_t i) const {
    if (order_ == Order::ascending) return i;
    if (order_ == Order::descending) return n_ - 1 - i;
    __extension__ using Wide = __int128;
    return static_cast<int64_t>((static_cast<Wide>(i) * step_ + first_) % n_);
  }

 private:
  int64_t n_, first_ = 0, step_ = 1;
  Order order_;
};

/// The blocks one after another on this OS thread. ThreadSanitizer finds races between blocks without their
/// being at work at the same time, since the fibres of neighbouring blocks are unordered for it.
void run_serially(const Grid& grid, const BlockOrder& order) {
  BlockRunner& runner = BlockRunner::mine();
  struct End {
    BlockRunner& runner;
    ~End() { runner.end_grid(); }
  } end{runner};
  for (int64_t i = 0; i < grid.blocks(); ++i) runner.run(grid, order[i]);
}

}  // namespace

void check_shape(const LaunchShape& shape) {
  const emu::dim3 &grid = shape.grid, &block = shape.block;
  const auto refuse = [&](const char* why) {
    const Grid named{shape, {}, {}};
    fail("emu: {} did not start: {} (grid {},{},{}, block {},{},{}, {} bytes of shared memory)", named.name(),
         why, grid.x, grid.y, grid.z, block.x, block.y, block.z, shape.shared_bytes);
  };
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (BlockRunner::mine().busy()) refuse("a kernel cannot launch kernels");
  if (threads == 0 || threads > 1024 || block.z > 64) refuse("a block has 1 to 1024 threads, 64 along z");
  if (grid.x > 0x7fffffffu || grid.y > 0xffffu || grid.z > 0xffffu)
    refuse("a grid has 65535 blocks along y and z");
  if (shape.shared_bytes > SharedMemory::limit) refuse("too much shared memory");
}

void run_grid(const LaunchShape& shape, const std::function<void()>& thread) {
  const OpenMemory open;
  const Grid grid{shape, thread, options()};
  const BlockOrder order(grid.blocks(), grid.options);
  if (under_tsan)
    run_serially(grid, order);
  else
    parallel_for(grid.blocks(), [&](int64_t i) { BlockRunner::mine().run(grid, order[i]); });
}

}  // namespace hashgrad::emulator
