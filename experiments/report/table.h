// A table of results in the forms that people and programs read.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "attacks/statistics.h"

namespace hashgrad::report {

/// Cells are text; what reads as a number is written as one in JSON.
struct Table {
  std::string name;   ///< stem of its files: "f4_hfgsm"
  std::string title;  ///< one line above it
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  std::string note;  ///< what the numbers are: success definition, n, interval; may be empty

  /// Adds a row; its length must be that of `columns`.
  void add(std::vector<std::string> row);

  /// Whether a column is read, not compared: the first, and those with more words than numbers. It is set to
  /// the left, the others to the right.
  bool is_text(size_t column) const;
};

std::string to_text(const Table& table);      ///< aligned, for a terminal
std::string to_csv(const Table& table);       ///< RFC 4180, with a header line
std::string to_markdown(const Table& table);  ///< for a file that people read as it is
nlohmann::ordered_json to_json(const Table& table);

/// 0.98765 as "98.77"; NaN as "-".
std::string percent(double share);
/// With its 95 % Wilson interval: "98.77 [98.5, 99.0]".
std::string percent(const Rate& rate);

}  // namespace hashgrad::report
