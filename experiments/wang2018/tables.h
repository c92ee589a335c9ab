// The paper's table, the stronger attacks and the strength of the augmentation, as tables, curves and
// verdicts.
#pragma once

#include "experiments/wang2018/study.h"

namespace hashgrad::wang2018 {

/// What was asked for, as people read it. Asks for every cell whatever the answers: called before the study
/// runs it declares them, called afterwards it shows them.
study::Page page_of(Experiment& experiment, const study::PaperFlags& flags);

}  // namespace hashgrad::wang2018
