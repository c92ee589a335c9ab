// Documents that tests write when HASHGRAD_WRITE_DOCS is set, and hold to what they say when it is not.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <iterator>
#include <string>

#include "core/file.h"

namespace hashgrad::testing {

/// `name` as it is in the source tree; empty when there is no such file.
inline std::string document(const std::string& name) {
  const std::string path = HASHGRAD_SOURCE_DIR "/" + name;
  return std::filesystem::exists(path) ? read_file(path) : "";
}

/// Fails when the document is not `text`, and names the first line that differs.
inline void check_document(const std::string& name, const std::string& text) {
  if (std::getenv("HASHGRAD_WRITE_DOCS") != nullptr) write_file(HASHGRAD_SOURCE_DIR "/" + name, text);
  const std::string found = document(name);
  if (found == text) return;
  const auto at = std::mismatch(found.begin(), found.end(), text.begin(), text.end()).second;
  const auto line = std::find(std::make_reverse_iterator(at), text.rend(), '\n').base();
  FAIL_CHECK(name << " is out of date; run the tests with HASHGRAD_WRITE_DOCS=1. It lacks: "
                  << std::string(line, std::find(at, text.end(), '\n')));
}

}  // namespace hashgrad::testing
