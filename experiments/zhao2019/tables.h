// Figures 2 to 6 of the paper as tables, curves and verdicts, and the table of stronger attacks.
#pragma once

#include "experiments/zhao2019/study.h"

namespace hashgrad::zhao2019 {

/// What was asked for, as people read it. Asks for every cell whatever the answers: called before the study
/// runs it declares them, called afterwards it shows them.
study::Page page_of(Experiment& experiment, const study::PaperFlags& flags);

}  // namespace hashgrad::zhao2019
