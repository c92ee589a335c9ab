// Parallel loops whose split never depends on the number of threads, so results never do either.
#pragma once

#include <cstdint>
#include <functional>

namespace hashgrad {

/// Number of threads that parallel loops use; at least 1. Set once at start-up (`--threads`), default: all
/// cores.
int threads();
void set_threads(int n);

/// Calls `body(i)` for every i in [0, count), on up to `threads()` threads, each index exactly once, in no
/// particular order. Bodies must write to disjoint memory; sums across indices are made by the caller
/// afterwards, in index order. Of the exceptions that bodies throw, that of the lowest index is rethrown
/// here, on any number of threads; bodies of higher ones may not have run. Nested calls run serially.
void parallel_for(int64_t count, const std::function<void(int64_t)>& body);

/// parallel_for, or body(0), body(1), ... on this thread where `serial`: for work too small to wake others
/// for.
void parallel_for_unless(bool serial, int64_t count, const std::function<void(int64_t)>& body);

/// Splits [0, n) into pieces of `grain` (the last may be shorter) and calls `body(begin, end)` for each.
/// The pieces depend on n and grain alone.
void parallel_ranges(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

}  // namespace hashgrad
