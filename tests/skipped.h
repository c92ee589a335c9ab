// Test cases that ran on no more than some of the engines, for one line at the end.
#pragma once

#include <string>

namespace hashgrad::testing {

/// Remembers that a test case left out `engine`, which `obstacle` keeps from working here.
void count_skipped(const std::string& engine, const std::string& obstacle);

}  // namespace hashgrad::testing
