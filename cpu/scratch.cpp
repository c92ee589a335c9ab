#include "cpu/scratch.h"

#include <algorithm>
#include <new>
#include <vector>

namespace hashgrad::cpu {
namespace {

constexpr std::align_val_t alignment{64};

struct Block {
  void* memory;
  size_t bytes;
};

/// The blocks of one thread that are not on lease, smallest first.
struct Pool {
  std::vector<Block> free;
  ~Pool() {
    for (const Block& block : free) operator delete(block.memory, alignment);
  }
};
thread_local Pool pool;

Block lease(size_t bytes) {
  for (auto it = pool.free.begin(); it != pool.free.end(); ++it) {
    if (it->bytes < bytes) continue;
    const Block block = *it;
    pool.free.erase(it);
    return block;
  }
  if (!pool.free.empty()) {  // too small for today's work: give it back rather than hoard
    operator delete(pool.free.back().memory, alignment);
    pool.free.pop_back();
  }
  return {operator new(bytes, alignment), bytes};
}

void give_back(Block block) {
  const auto larger = [](const Block& a, const Block& b) { return a.bytes < b.bytes; };
  pool.free.insert(std::upper_bound(pool.free.begin(), pool.free.end(), block, larger), block);
}

}  // namespace

template <class T>
Scratch<T>::Scratch(int64_t count) {
  const Block block = lease(static_cast<size_t>(std::max<int64_t>(count, 1)) * sizeof(T));
  block_ = block.memory;
  bytes_ = block.bytes;
}

template <class T>
Scratch<T>::~Scratch() {
  give_back({block_, bytes_});
}

template class Scratch<float>;
template class Scratch<double>;
template class Scratch<int64_t>;
template class Scratch<uint32_t>;
template class Scratch<int32_t>;
template class Scratch<uint16_t>;
template class Scratch<uint8_t>;

}  // namespace hashgrad::cpu
