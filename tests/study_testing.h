// What tests of the papers' studies share.
#pragma once

#include "experiments/study/paper.h"
#include "tests/datasets_testing.h"

namespace hashgrad::testing {

/// Everything, on the CPU, in a folder of its own; batches of a size that divides nothing.
inline study::PaperFlags flags_in(const TempDir& folder) {
  study::PaperFlags flags;
  flags.output = folder / "study";
  flags.all = true;
  flags.common.quiet = true;
  flags.common.device = "cpu";
  flags.common.batch = 7;
  return flags;
}

}  // namespace hashgrad::testing
