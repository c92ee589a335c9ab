// Reading the small languages of settings: "name", "name:value:value", "name:key=value,key=value".
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hashgrad {

/// The pieces of `text` between separators; one piece, perhaps empty, when there is none.
std::vector<std::string> split_at(std::string_view text, char separator);

/// The whole of `text` as a finite number within [least, most]; else an Error that opens with `what`.
double parse_number(const std::string& text, const std::string& what, double least, double most);

}  // namespace hashgrad
