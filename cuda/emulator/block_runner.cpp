#include "cuda/emulator/block_runner.h"

#include <bit>
#include <cstdlib>
#include <utility>

#include "core/error.h"
#include "cuda/emulator/tsan.h"

namespace hashgrad::emu {

HASHGRAD_EMULATED_TLS uint3 threadIdx;
HASHGRAD_EMULATED_TLS uint3 blockIdx;
HASHGRAD_EMULATED_TLS uint3 blockDim;
HASHGRAD_EMULATED_TLS uint3 gridDim;

}  // namespace hashgrad::emu

namespace hashgrad::emulator {

HASHGRAD_EMULATED_TLS uint64_t shared_epoch;
HASHGRAD_EMULATED_TLS unsigned current_lane;
HASHGRAD_EMULATED_TLS unsigned char* dynamic_shared;

namespace {

// Points that the host and the threads of all blocks pass.
char grid_start, grid_end;

bool same(Site a, Site b) { return a.line == b.line && a.file == b.file; }

emu::uint3 coordinates(int64_t i, const emu::dim3& size) {
  return {static_cast<unsigned>(i % size.x), static_cast<unsigned>(i / size.x % size.y),
          static_cast<unsigned>(i / size.x / size.y)};
}

}  // namespace

std::string Grid::name() const {
  return fmt::format("the kernel launched at {} in {}", to_string(shape.site), shape.function);
}

BlockRunner& BlockRunner::mine() {
  static HASHGRAD_EMULATED_TLS BlockRunner* of_thread;
  if (!of_thread) {
    thread_local std::unique_ptr<BlockRunner> owner(new BlockRunner);
    of_thread = owner.get();
  }
  return *of_thread;
}

BlockRunner::BlockRunner() : fibres_(&BlockRunner::fibre_body), points_(std::make_unique<Points>()) {
  main_.adopt_thread();
}

void BlockRunner::run(const Grid& grid, int64_t block) {
  prepare(grid, block);
  publish(&grid_start);
  running_ = fibre_for(ready_.take());
  main_.switch_to(running_->context);
  running_ = nullptr;
  if (!error_) return;
  see_everything();
  fibres_.abandon();  // the threads that waited are still standing on them
  std::rethrow_exception(std::exchange(error_, nullptr));
}

// After a failure: threads that did not end have at least published where they wait.
void BlockRunner::see_everything() {
  see(&grid_end);
  for (char& point : points_->barrier) see(&point);
  for (char& point : points_->arrive) see(&point);
}

void BlockRunner::end_grid() {
  see(&grid_end);
  shared_.end_grid();
  points_of_ended_blocks_.clear();
}

void BlockRunner::prepare(const Grid& grid, int64_t block) {
  grid_ = &grid;
  const emu::dim3& size = grid.shape.block;
  size_ = static_cast<int>(size.x * size.y * size.z);
  emu::blockDim = {size.x, size.y, size.z};
  emu::gridDim = {grid.shape.grid.x, grid.shape.grid.y, grid.shape.grid.z};
  emu::blockIdx = coordinates(block, grid.shape.grid);
  prepare_threads(size);
  ready_.fill(size_, grid.options, block);
  exited_ = waiting_ = 0;
  opened_ = 0;
  fibres_.begin_block(size_, block);
  copies_.begin_block(size_);
  ++shared_epoch;
  shared_.begin_block(grid.shape.shared_bytes);
  dynamic_shared = shared_.dynamic();
  if (under_tsan) {
    points_of_ended_blocks_.push_back(std::exchange(points_, std::make_unique<Points>()));
  }
}

void BlockRunner::prepare_threads(const emu::dim3& block) {
  threads_.assign(static_cast<size_t>(size_), Thread{});
  warps_.assign(static_cast<size_t>(size_ + 31) / 32, Warp{});
  for (int i = 0; i < size_; ++i) {
    thread(i).index = coordinates(i, block);
    thread(i).lane = static_cast<unsigned>(i % 32);
    warp_of(i).members |= 1u << (i % 32);
  }
}

// An exception must not leave the fibre: it is kept for run() to throw again.
template <class F>
void BlockRunner::guarded(const F& f) {
  try {
    f();
  } catch (...) {
    error_ = std::current_exception();
    publish(&grid_end);
  }
}

// The life of a fibre: one thread after another. It is left, and later gone on with, where it switches.
void BlockRunner::fibre_body() {
  Context::started();
  BlockRunner& runner = mine();
  Fibre* self = runner.running_;
  for (;;) {
    runner.guarded([&] { runner.run_thread(self->next_thread, self); });
    if (runner.error_) self->context.switch_to(runner.main_, true);
    const int next = runner.ready_.take();
    if (next < 0) {
      if (runner.exited_ < runner.size_) runner.guarded([&] { runner.fail_thread(runner.deadlock()); });
      runner.fibres_.give_back(self);
      self->context.switch_to(runner.main_);
    } else if (!under_tsan && runner.thread(next).state == State::fresh) {
      self->next_thread = next;
    } else {
      Fibre* to = runner.fibre_for(next);
      runner.fibres_.give_back(self);
      runner.running_ = to;
      self->context.switch_to(to->context);
    }
  }
}

void BlockRunner::run_thread(int i, Fibre* fibre) {
  resume(i);
  thread(i).fibre = fibre;
  thread(i).state = State::ready;
  see(&grid_start);
  grid_->thread();
  after_exit(i);
}

// Who waits for thread i alone need wait no longer: threads that have ended count as arrived everywhere.
void BlockRunner::after_exit(int i) {
  Warp& warp = warp_of(i);
  publish(&grid_end);
  thread(i).state = State::done;
  warp.exited |= 1u << thread(i).lane;
  ++exited_;
  if (waiting_ > 0 && waiting_ + exited_ == size_) open_barrier();
  const int base = i / 32 * 32;
  for (uint32_t left = warp.arrived; left != 0;) {
    const uint32_t mask = thread(base + std::countr_zero(left)).mask;
    const uint32_t needed = mask & warp.members & ~warp.exited;
    left &= ~mask;
    if (needed != 0 && (warp.arrived & needed) == needed) complete(warp, base, mask, needed);
  }
}

// The running thread has to wait, or has just been put back among those that are ready.
void BlockRunner::suspend() {
  const int self = current_, next = ready_.take();
  if (next == self) return;
  if (next < 0) fail_thread(deadlock());
  Fibre* from = running_;
  running_ = fibre_for(next);
  from->context.switch_to(running_->context);
  running_ = from;
  resume(self);
}

Fibre* BlockRunner::fibre_for(int i) {
  return thread(i).state == State::fresh ? fibres_.take(i) : thread(i).fibre;
}

void BlockRunner::resume(int i) {
  current_ = i;
  emu::threadIdx = thread(i).index;
  current_lane = thread(i).lane;
}

void BlockRunner::make_ready(int i) {
  thread(i).state = State::ready;
  ready_.insert(i);
}

void BlockRunner::give_way() {
  publish(&points_->arrive[current_]);
  make_ready(current_);
  suspend();
}

int BlockRunner::barrier(Vote vote, bool value, Site site) {
  if (waiting_ == 0) {
    barrier_site_ = site;
    votes_ = vote == Vote::all ? 1 : 0;
  } else if (!same(barrier_site_, site)) {
    fail_thread(fmt::format("threads of one block are at different barriers, {} and {}",
                            to_string(barrier_site_), to_string(site)));
  }
  votes_ = vote == Vote::count ? votes_ + value : vote == Vote::all ? votes_ & value : votes_ | value;
  // Two points by turns: a thread may be at the next barrier before another has left this one.
  void* point = &points_->barrier[opened_ & 1];
  publish(point);
  thread(current_).state = State::at_barrier;
  thread(current_).site = site;
  if (++waiting_ + exited_ == size_) open_barrier();
  suspend();
  see(point);
  return result_;
}

void BlockRunner::open_barrier() {
  result_ = votes_;
  ++opened_;
  waiting_ = 0;
  ready_.restart();
  for (int i = 0; i < size_; ++i)
    if (thread(i).state == State::at_barrier) make_ready(i);
}

void BlockRunner::warp_operation(uint32_t mask, void* payload, WarpFunction function, Site site) {
  Thread& self = thread(current_);
  Warp& warp = warp_of(current_);
  self.site = site;
  if ((mask >> self.lane & 1) == 0)
    fail_thread(fmt::format("{}: lane {} takes part in an operation whose mask {:#010x} lacks it",
                            to_string(site), self.lane, mask));
  const int thread_number = current_;
  publish(&points_->arrive[thread_number]);
  self.mask = mask;
  self.payload = payload;
  self.function = function;
  warp.arrived |= 1u << self.lane;
  const uint32_t needed = mask & warp.members & ~warp.exited;
  if ((warp.arrived & needed) == needed) {
    complete(warp, thread_number / 32 * 32, mask, needed);
  } else {
    self.state = State::in_warp;
    suspend();
  }
  see(&points_->leave[thread_number]);
}

// All `lanes` have arrived: does the operation, on the running thread, and lets the others go on. A point of
// its own for every lane: with one for the warp, unrelated operations of its other lanes would look ordered
// too.
void BlockRunner::complete(Warp& warp, int base, uint32_t mask, uint32_t lanes) {
  void* payloads[32] = {};
  const Thread& first = thread(base + std::countr_zero(lanes));
  for (uint32_t left = lanes; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left);
    const Thread& other = thread(base + lane);
    if (other.mask != mask || other.function != first.function || !same(other.site, first.site))
      fail_thread(fmt::format("lanes of one warp are in different operations: lane {} at {}, lane {} at {}",
                              first.lane, to_string(first.site), lane, to_string(other.site)));
    payloads[lane] = other.payload;
    see(&points_->arrive[base + lane]);
  }
  first.function(payloads, lanes);
  warp.arrived &= ~lanes;
  for (uint32_t left = lanes; left != 0; left &= left - 1) {
    const int i = base + std::countr_zero(left);
    publish(&points_->leave[i]);
    if (i != current_) make_ready(i);
  }
}

void* BlockRunner::shared_variable(SharedSlot& slot, size_t bytes, size_t align) {
  if (!shared_.variable(slot, bytes, align))
    fail_thread(fmt::format("the shared variables do not fit: {} bytes more, of {} static and {} in all",
                            bytes, SharedMemory::static_limit, SharedMemory::limit));
  return slot.at;
}

void BlockRunner::queue_copy(const PendingCopy& copy, Site site) {
  if (!copies_.add(current_, copy))
    fail_thread(fmt::format("{}: more than {} copies are under way in one thread", to_string(site),
                            CopyQueues::capacity));
}

std::string BlockRunner::deadlock() const {
  std::string message = "every thread waits:";
  int shown = 0;
  for (int i = 0; i < size_ && shown < 3; ++i) {
    if (thread(i).state != State::in_warp && thread(i).state != State::at_barrier) continue;
    message += fmt::format("{} thread {} at {}", shown++ == 0 ? "" : ",", i, to_string(thread(i).site));
  }
  return message;
}

void BlockRunner::fail_thread(const std::string& what) const {
  const emu::uint3 &b = emu::blockIdx, &t = thread(current_).index;
  fail("emu: {}, block ({},{},{}) thread ({},{},{}): {}", grid_->name(), b.x, b.y, b.z, t.x, t.y, t.z, what);
}

void warp_operation(uint32_t mask, void* payload, WarpFunction function, Site site) {
  BlockRunner::mine().warp_operation(mask, payload, function, site);
}
int block_barrier(Vote vote, bool value, Site site) { return BlockRunner::mine().barrier(vote, value, site); }
void give_way() { BlockRunner::mine().give_way(); }
void fail_kernel(const std::string& what, Site site) {
  BlockRunner::mine().fail_thread(fmt::format("{}: {}", to_string(site), what));
}
void* new_shared_variable(SharedSlot& slot, size_t bytes, size_t align) {
  return BlockRunner::mine().shared_variable(slot, bytes, align);
}
void queue_copy(const PendingCopy& copy, Site site) { BlockRunner::mine().queue_copy(copy, site); }
void commit_copies() { BlockRunner::mine().commit_copies(); }
const PendingCopy* next_due_copy(int groups) { return BlockRunner::mine().next_due_copy(groups); }

}  // namespace hashgrad::emulator
