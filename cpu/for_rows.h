// Parallel loops over rows, or planes, or single numbers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/parallel.h"

namespace hashgrad::cpu {

/// body(i) for every i < rows, in tasks of about `elements` numbers where a row has `columns` >= 0 of them.
/// The body is inlined into the loop of a task; where rows are single numbers the compiler turns that into
/// vector code.
template <class Body>
void for_rows(int64_t rows, int64_t columns, int64_t elements, const Body& body) {
  parallel_ranges(rows, std::max<int64_t>(1, elements / std::max<int64_t>(1, columns)),
                  [&](int64_t begin, int64_t end) {
                    for (int64_t row = begin; row < end; ++row) body(row);
                  });
}

}  // namespace hashgrad::cpu
