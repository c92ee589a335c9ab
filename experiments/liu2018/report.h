// The study as files: tables, numbers, drawings, pictures and one page that holds them all.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "experiments/liu2018/tables.h"

namespace hashgrad::liu2018 {

/// What the numbers come from; printed in every file.
struct Origin {
  std::string command;
  std::string data;      ///< "mnist, test split"
  std::string training;  ///< one sentence; empty when the models came as files
  uint64_t seed = 0;
  std::vector<std::string> models;  ///< files, in the order of the results
};

/// Writes NAME.csv per table, results.json, results.md, the plots (NAME.dat, .gp and, with gnuplot, .svg),
/// NAME.png per gallery, and report.html. Returns one line that says where the report is, and what could not
/// be drawn.
std::string write_report(const std::string& folder, const Results& results,
                         const std::vector<Gallery>& galleries, const StudyOptions& options,
                         const Origin& origin);

}  // namespace hashgrad::liu2018
