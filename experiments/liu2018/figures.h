// Figures 3 to 10 of the paper as tables, curves and verdicts, the paper's numbers beside ours. Each function
// asks the experiment for all its cells, whatever the answers are: called before the study runs it declares
// them, called afterwards it shows them.
#pragma once

#include "experiments/liu2018/study.h"
#include "experiments/study/outcomes.h"

namespace hashgrad::liu2018 {

// On MNIST.
study::Part clean_accuracy(Experiment& mnist);       ///< A-F3
study::Part hfgsm(Experiment& mnist);                ///< A-F4
study::Part hjsma(Experiment& mnist);                ///< A-F5
study::Part weights(Experiment& mnist);              ///< A-F6
study::Part gradients(Experiment& mnist);            ///< A-F7
study::Part inhibited_gradients(Experiment& mnist);  ///< A-F9
study::Part inhibition(Experiment& mnist);           ///< A-F10a
// On CIFAR-10.
study::Part inhibited_accuracy(Experiment& cifar);    ///< A-F8
study::Part inhibition_in_colour(Experiment& cifar);  ///< A-F10b

/// Title and source; the rest is for those who know what was asked for.
study::Page empty_page();

// What the figures share.
/// A change is said to be found when it is at least half as large as the paper's.
bool half_of(double effect, double paper);
/// "98.77", or "not run".
std::string short_percent(const std::optional<Rate>& rate);
/// For tables without brackets: how wide the intervals are at most.
std::string width_note(int64_t n);
/// "last:2" as "last2", for names of files.
std::string stem_of(const std::string& layers);

}  // namespace hashgrad::liu2018
