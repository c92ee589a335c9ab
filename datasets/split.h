// The two halves of a dataset.
#pragma once

#include <string>

namespace hashgrad {

enum class Split { train, test };

constexpr const char* name_of(Split split) { return split == Split::train ? "train" : "test"; }
/// Accepts "train" and "test"; an Error otherwise.
Split parse_split(const std::string& text);

}  // namespace hashgrad
