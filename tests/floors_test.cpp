// The floors of the source tree: an include never points upward.
#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const std::map<std::string, int> floors = {{"core", 0},     {"cpu", 1},   {"datasets", 1},    {"cuda", 2},
                                           {"autograd", 3}, {"nn", 4},    {"compression", 5}, {"attacks", 5},
                                           {"defenses", 6}, {"bench", 7}, {"experiments", 8}, {"tests", 9}};

/// What is wrong with this line of a file in `folder`; empty if nothing.
std::string fault_of(const std::string& folder, const std::string& line) {
  std::string compact = line;  // without blanks: #include"folder/file.h"
  std::erase_if(compact, [](char c) { return c == ' ' || c == '\t'; });
  const std::string start = "#include\"";
  if (!compact.starts_with(start)) return "";
  const std::string target = compact.substr(start.size(), compact.find('"', start.size()) - start.size());
  const auto to = floors.find(target.substr(0, target.find('/')));
  if (target.find('/') == std::string::npos || to == floors.end()) return "is not written from the root";
  const int from = floors.at(folder);
  if (to->second > from) return "points upward";
  if (to->second == from && to->first != folder) return "points sideways";
  return "";
}

TEST_CASE("the rule itself tells good from bad") {
  CHECK(fault_of("nn", "#include \"autograd/node.h\"").empty());
  CHECK(fault_of("nn", "#include \"nn/module.h\"").empty());
  CHECK(fault_of("nn", "#include <vector>").empty());
  CHECK(fault_of("cuda", "#include \"cpu/gemm.h\"").empty());
  CHECK(fault_of("cpu", "#include \"cuda/runtime.h\"") == "points upward");
  CHECK(fault_of("autograd", "#include \"nn/module.h\"") == "points upward");
  CHECK(fault_of("attacks", "#  include \"compression/prune.h\"") == "points sideways");
  CHECK(fault_of("nn", "#include \"module.h\"") == "is not written from the root");
  CHECK(fault_of("nn", "#include \"../core/tensor.h\"") == "is not written from the root");
}

TEST_CASE("no include points up a floor") {
  const fs::path root = HASHGRAD_SOURCE_DIR;
  size_t files = 0;
  for (const auto& [folder, level] : floors) {
    if (!fs::exists(root / folder)) continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      const fs::path kind = entry.path().extension();
      if (kind != ".h" && kind != ".cpp" && kind != ".cu") continue;
      ++files;
      std::ifstream in(entry.path());
      for (std::string line; std::getline(in, line);) {
        const std::string fault = fault_of(folder, line);
        if (!fault.empty()) FAIL_CHECK(entry.path().string() << ": " << line << " " << fault);
      }
    }
  }
  CHECK(files > 50);
}

}  // namespace
