// What a paper's experiment is made of. A cell is one measurement (an attack on a network, say), known by its
// settings, computed once and kept as a file; a network is known and kept in the same way. Tables and figures
// only read cells. So an interrupted study goes on where it stopped, machines share one by computing
// different cells of it, and a table never shows a number that was not measured under the settings it states.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "attacks/statistics.h"
#include "experiments/study/cost.h"
#include "nn/model.h"
#include "nn/train.h"

namespace hashgrad::study {

/// Object keys are sorted, so equal settings have one text.
using Json = nlohmann::json;

/// 16 hexadecimal digits that stand for these settings in file names.
std::string key_of(const Json& settings);

/// One measurement.
struct Cell {
  std::string label;  ///< for people: "GI1(0.1), bim"
  /// Everything that the values depend on, the settings of the networks included; "seed", "n" (images) and
  /// "success" (what is counted, in words) are required.
  Json settings;
  double flops = 0;                   ///< estimate of its cost, without its networks
  std::vector<std::string> networks;  ///< labels of those that `measure` asks for
  std::function<Json()> measure;      ///< its values, an object
};

/// One network that cells are about.
struct Network {
  std::string label;
  Json settings;  ///< everything that its weights depend on; "seed" is required
  double flops = 0;
  std::vector<std::string> networks;  ///< labels of those that `make` asks for
  /// `checkpoint`: a file name of its own for resume_training(), or the beginning of several. These files are
  /// removed once the network is saved.
  std::function<Model(const std::string& checkpoint)> make;
};

struct StudyOptions {
  std::string folder;    ///< cells in folder/cells, networks in folder/models
  Shard shard{};         ///< compute the missing cells of this one
  bool collect = false;  ///< compute none: show what there is
  bool quiet = false;
};

class Study {
 public:
  explicit Study(StudyOptions options);

  /// A cell or network with the settings of one that was declared before is the same one. Errors: required
  /// settings that are missing, a label that already names another network.
  void declare(Network network);
  void declare(Cell cell);

  /// Declares a cell and returns its values; nullptr when it was not run. A table that asks for all its cells
  /// whatever the answers may so be written once: made before run() it says what to measure, afterwards it
  /// shows it.
  const Json* ask(Cell cell);

  /// Computes the missing cells of the shard, and the missing networks that they need: on each machine, if
  /// two shards need one. `flops_per_second` turns costs into the seconds that are announced first. Error:
  /// a file of a cell that is damaged, or holds other settings than its name says.
  void run(double flops_per_second);

  /// A declared network: read from its file, or else made and saved. Lives as long as the study.
  const Model& network(const std::string& label);
  /// The settings of a declared network, for those of a cell.
  const Json& settings_of(const std::string& label) const;

  /// The values of the cell with these settings; nullptr when it was not run. Error: it was not declared.
  const Json* find(const Json& settings) const;
  int64_t declared() const { return static_cast<int64_t>(cells_.size()); }
  int64_t measured() const { return static_cast<int64_t>(values_.size()); }
  /// Seconds spent on all cells that were run, whenever that was.
  double seconds() const { return seconds_; }
  const std::string& folder() const { return options_.folder; }

 private:
  std::string cell_path(const Cell& cell) const;
  std::string network_path(const Network& network) const;
  bool load(const Cell& cell);
  void compute(const Cell& cell);
  std::vector<int64_t> shards() const;
  std::vector<const Cell*> missing_here() const;
  void add_networks(const std::string& label, bool made_too, std::set<std::string>& labels) const;
  double flops_of_networks(const std::vector<const Cell*>& cells) const;

  StudyOptions options_;
  std::vector<Cell> cells_;
  std::map<std::string, Network> networks_;  // by label
  std::map<std::string, Model> models_;      // by label, those in use
  std::map<std::string, Json> values_;       // by key of the cell
  double seconds_ = 0;
};

/// As a cell keeps a share of images (cli/rates.h), and back.
Json json_of(const Rate& rate);
Rate rate_from(const Json& json);

/// train() with a checkpoint after every epoch, from which a later call goes on, or finds that nothing is
/// left to do. Draws a progress bar unless quiet.
TrainResult resume_training(Model& model, const Dataset& data, TrainOptions options,
                            const std::string& checkpoint, bool quiet);

}  // namespace hashgrad::study
