// What the binaries of the papers share besides cells: their flags, and the page that they write.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/image_folder.h"
#include "datasets/split.h"
#include "experiments/cli/options.h"
#include "experiments/report/plot.h"
#include "experiments/report/table.h"
#include "experiments/study/cells.h"

namespace hashgrad::study {

/// How much is spent. `full` is the paper's protocol; `smoke` runs on procedural digits in well under a
/// minute and says nothing about the paper.
enum class Scale { smoke, reduced, full };
const char* name_of(Scale scale);

/// Where a study works, and how.
struct StudyFlags {
  cli::CommonFlags common;
  std::string output, data_dir;
};

struct PaperFlags : StudyFlags {
  std::string scale = "smoke", shard = "1/1";
  std::vector<std::string> tables, figures;
  bool all = false, collect = false;

  Scale size() const;
  /// Whether this table ("2") or figure ("F3" of the paper: "3") was asked for.
  bool table(const std::string& name) const;
  bool figure(const std::string& name) const;
  StudyOptions study() const;
};

/// --output --scale --table --figure --all --shard --collect --data-dir, and the common flags. `tables` and
/// `figures` are the names of those that the binary has; without figures there is no such flag.
void add_paper_flags(CLI::App& app, PaperFlags& flags, const std::vector<std::string>& tables,
                     const std::vector<std::string>& figures);
/// Bad usage unless something was asked for.
void check_asked(const PaperFlags& flags);

/// Stands in the page, and beside it as NAME.png.
struct Picture {
  std::string name, caption;
  std::string png;  ///< its bytes
};

/// What one table or figure of a paper adds to the page.
struct Part {
  std::vector<report::Table> tables{};
  std::vector<report::Plot> plots{};
  std::vector<std::string> findings{};
  std::vector<Picture> pictures{};
};

/// One study as people read it.
struct Page {
  std::string title, source;          ///< source: which paper, in a sentence or two
  std::vector<std::string> findings;  ///< computed from the cells: what held and what did not
  std::vector<std::pair<std::string, std::string>> origin;  ///< "data", "first 1000 of mnist"; in this order
  std::vector<report::Table> tables;
  std::vector<report::Plot> plots;
  std::vector<Picture> pictures{};

  void add(const Part& part);
};

/// The first n images of a split of `data`, looked for where the flags say; those of a folder scaled. The
/// output folder notes their digest in OUTPUT/data, since cells and networks know their data by name only; an
/// Error when it noted another one before.
Dataset first(const std::string& data, Split split, int64_t n, const StudyFlags& flags,
              ImageSize resize = {});

/// Prints the tables and the sentences, and writes NAME.csv per table, results.json, results.md, the plots
/// (NAME.dat, .gp and, with gnuplot, .svg), the pictures and report.html into the folder. Command, seed and
/// how many cells were run are added to the origin.
void show(Page page, const StudyFlags& flags, const Study& study);
/// The same with the scale, and to a smoke run a warning.
void show(Page page, const PaperFlags& flags, const Study& study);
/// Runs the cells that `page` asks for, and shows it: made before, it declares them, made afterwards it has
/// their values.
void run_and_show(Study& study, const PaperFlags& flags, double flops_per_second,
                  const std::function<Page()>& page);

}  // namespace hashgrad::study
