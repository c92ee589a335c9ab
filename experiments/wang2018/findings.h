// What the paper says, beside what was measured.
#pragma once

#include "experiments/wang2018/study.h"

namespace hashgrad::wang2018 {

/// One sentence for each statement of the paper that the cells asked for can judge.
std::vector<std::string> findings(Experiment& experiment, const study::PaperFlags& flags);

}  // namespace hashgrad::wang2018
