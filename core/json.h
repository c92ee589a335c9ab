// Reading JSON that may have been written by anyone.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace hashgrad {

/// What `text` says. An Error, which opens with `what`: it is no JSON; objects and lists stand more than
/// eight deep in each other, and whoever walked through a million of them would run out of stack; an object
/// has a key twice, so that two readers could take it for different things.
nlohmann::json parse_json(std::string_view text, const std::string& what);

}  // namespace hashgrad
