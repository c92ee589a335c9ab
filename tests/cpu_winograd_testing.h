// What the tests of Winograd's convolution and of its weight gradient share.
#pragma once

#include <string>

#include "core/math_mode.h"
#include "tests/cpu_conv2d_testing.h"

namespace hashgrad::cpu_testing {

inline std::string named(const Conv2dShape& s) {
  return std::to_string(s.batch) + "x" + std::to_string(s.in_channels) + "x" + std::to_string(s.height) +
         "x" + std::to_string(s.width) + " p" + std::to_string(s.padding);
}

/// Calls body() in both arithmetics that go Winograd's way, with each instruction set that has it in them.
template <class Body>
void for_each_arithmetic(const Body& body) {
  for (const Math math : {Math::fp32, Math::bf16}) {
    const MathScope scope(math);
    CAPTURE(name_of(math));
    for_each_isa([&] {
      if (math == Math::fp32 || cpu::isa() == cpu::Isa::avx512bf16) body();
    });
  }
}

}  // namespace hashgrad::cpu_testing
