// Cells and networks know their data by name only; the folder that they are in notes what was behind it.
#pragma once

#include <string>

#include "datasets/dataset.h"
#include "experiments/study/cells.h"

namespace hashgrad::study {

/// Compares the digest of `data`, loaded by these settings ("data", "split" and "n" are required), with the
/// one that FOLDER/data notes; notes it where there is none yet. Error: another one is noted, or the note is
/// damaged.
void check_noted_data(const std::string& folder, const Dataset& data, const Json& settings);

}  // namespace hashgrad::study
