// White-box attacks on the networks of one laboratory: the columns of B-T2, which are those of B-T6, and the
// adaptive ones that are shown beside them.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "experiments/liu2021/networks.h"
#include "experiments/liu2021/tables.h"

namespace hashgrad::liu2021 {

/// What was measured of one network, in percent; nothing where a cell was not run.
struct Measured {
  std::map<std::string, std::optional<double>> success;  ///< by column of published()
  std::optional<double> deepfool;                        ///< relative distance
  std::optional<double> zero;                            ///< share of float32 gradients that are 0
  std::optional<double> strongest;                       ///< adaptive attack within eps
  std::optional<double> cw;                              ///< adaptive C&W

  std::optional<double> average() const;
  /// The largest of FGSM, BIM, MIM.
  std::optional<double> gradient_sign() const;
};

/// The paper's columns, and the adaptive ones, in which rows are filled by measure().
struct WhiteBoxTables {
  report::Table published, adaptive;
};
/// `stem` of their names, `heading` of their titles.
WhiteBoxTables white_box_tables(const Protocol& p, const std::string& stem, const std::string& heading);

/// Asks for all cells of a network of the paper, and adds its rows.
Measured measure(Laboratory& lab, const PaperRow& row, WhiteBoxTables& tables);

// What follows for a network of the paper. `where`: "B-T2".

/// Of the average over the paper's attacks.
std::string average_finding(const std::string& where, const Protocol& p, const std::string& network,
                            const std::map<std::string, Measured>& found);
/// Of FGSM, BIM and MIM.
std::string inhibition_finding(const std::string& where, const Protocol& p, const std::string& network,
                               const std::map<std::string, Measured>& found);
/// Of C&W.
std::string cw_finding(const std::string& where, const Protocol& p, const std::string& network,
                       const std::map<std::string, Measured>& found);

}  // namespace hashgrad::liu2021
