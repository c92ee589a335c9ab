#include "experiments/report/table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace hashgrad::report {
namespace {

/// What reads as an integer or as a number becomes one.
nlohmann::ordered_json json_of(const std::string& cell) {
  int64_t integer = 0;
  const auto [rest, error] = std::from_chars(cell.data(), cell.data() + cell.size(), integer);
  if (error == std::errc{} && rest == cell.data() + cell.size()) return integer;
  char* end = nullptr;
  const double number = std::strtod(cell.c_str(), &end);
  if (!cell.empty() && *end == '\0' && std::isfinite(number)) return number;
  return cell;
}

/// Starts as numbers do, bounds ("< 10", "~68") and the dash of a missing one.
bool looks_numeric(const std::string& cell) { return cell.find_first_of("0123456789-<~") == 0; }

std::vector<size_t> widths(const Table& table) {
  std::vector<size_t> width;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    size_t w = table.columns[c].size();
    for (const auto& row : table.rows) w = std::max(w, row[c].size());
    width.push_back(w);
  }
  return width;
}

std::string csv_cell(const std::string& cell) {
  if (cell.find_first_of(",\"\n\r") == std::string::npos) return cell;
  std::string quoted = "\"";
  for (char c : cell) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

}  // namespace

void Table::add(std::vector<std::string> row) {
  check(row.size() == columns.size(), "table {}: a row of {} cells, expected {}", name, row.size(),
        columns.size());
  rows.push_back(std::move(row));
}

bool Table::is_text(size_t column) const {
  if (column == 0) return true;
  const auto words = std::count_if(rows.begin(), rows.end(), [&](const auto& row) {
    return !row[column].empty() && !looks_numeric(row[column]);
  });
  const auto numbers =
      std::count_if(rows.begin(), rows.end(), [&](const auto& row) { return looks_numeric(row[column]); });
  return words > numbers;
}

std::string to_text(const Table& table) {
  const std::vector<size_t> width = widths(table);
  std::string text = table.title + "\n";
  const auto line = [&](const std::vector<std::string>& cells) {
    for (size_t c = 0; c < cells.size(); ++c)
      text += table.is_text(c) ? fmt::format("  {:<{}}", cells[c], width[c])
                               : fmt::format("  {:>{}}", cells[c], width[c]);
    text.erase(text.find_last_not_of(' ') + 1);
    text += "\n";
  };
  line(table.columns);
  for (const auto& row : table.rows) line(row);
  if (!table.note.empty()) text += "  " + table.note + "\n";
  return text;
}

std::string to_csv(const Table& table) {
  std::string text;
  const auto line = [&](const std::vector<std::string>& cells) {
    for (size_t c = 0; c < cells.size(); ++c) text += (c ? "," : "") + csv_cell(cells[c]);
    text += "\n";
  };
  line(table.columns);
  for (const auto& row : table.rows) line(row);
  return text;
}

std::string to_markdown(const Table& table) {
  std::string text = fmt::format("### {}\n\n|", table.title);
  for (const auto& column : table.columns) text += " " + column + " |";
  text += "\n|";
  for (size_t c = 0; c < table.columns.size(); ++c) text += table.is_text(c) ? " --- |" : " ---: |";
  text += "\n";
  for (const auto& row : table.rows) {
    text += "|";
    for (const auto& cell : row) text += " " + cell + " |";
    text += "\n";
  }
  if (!table.note.empty()) text += "\n" + table.note + "\n";
  return text;
}

nlohmann::ordered_json to_json(const Table& table) {
  auto rows = nlohmann::ordered_json::array();
  for (const auto& row : table.rows) {
    nlohmann::ordered_json object;
    for (size_t c = 0; c < row.size(); ++c) object[table.columns[c]] = json_of(row[c]);
    rows.push_back(std::move(object));
  }
  return {{"title", table.title}, {"note", table.note}, {"rows", std::move(rows)}};
}

std::string percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.2f}", 100 * share); }

std::string percent(const Rate& rate) {
  const auto [low, high] = rate.interval();
  return fmt::format("{:.2f} [{:.1f}, {:.1f}]", 100 * rate.value(), 100 * low, 100 * high);
}

}  // namespace hashgrad::report
