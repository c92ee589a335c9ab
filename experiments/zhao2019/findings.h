// What the paper says, beside what was measured.
#pragma once

#include "experiments/zhao2019/study.h"

namespace hashgrad::zhao2019 {

/// One sentence for each statement of the paper that the cells asked for can judge.
std::vector<std::string> findings(Experiment& experiment, const study::PaperFlags& flags);

}  // namespace hashgrad::zhao2019
