// What every paper's binary rests on: cells that are measured once, shared between machines, and never
// mistaken for others.
#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <numeric>

#include "core/archive.h"
#include "core/file.h"
#include "experiments/progress.h"
#include "experiments/study/cells.h"
#include "experiments/study/outcomes.h"
#include "experiments/study/paper.h"
#include "nn/model_file.h"
#include "tests/error_of.h"
#include "tests/temp_dir.h"

using namespace hashgrad;
using study::Cell;
using study::Json;
using study::Study;

namespace {

/// Four cells whose values count how often anything was measured.
struct Counted {
  explicit Counted(const testing::TempDir& folder, study::Shard shard = {}, bool collect = false)
      : study({folder.str(), shard, collect, /*quiet=*/true}) {}

  Json settings(int64_t i, int64_t n = 10) const {
    return {{"measure", i}, {"seed", 1}, {"n", n}, {"success", "always"}};
  }
  const Json* ask(int64_t i, int64_t n = 10, double flops = 1) {
    return study.ask({.label = fmt::format("cell {}", i),
                      .settings = settings(i, n),
                      .flops = flops,
                      .networks = {},
                      .measure = [this, i] {
                        ++measured;
                        return Json{{"success", study::json_of(Rate{i, 10})}};
                      }});
  }
  void run() {
    for (int64_t i = 0; i < 4; ++i) ask(i);
    study.run(1e9);
  }
  int64_t shown() {
    int64_t count = 0;
    for (int64_t i = 0; i < 4; ++i) count += ask(i) != nullptr;
    return count;
  }

  Study study;
  int measured = 0;
};

std::string only_file(const std::filesystem::path& folder) {
  return std::filesystem::directory_iterator(folder)->path().string();
}

}  // namespace

TEST_CASE("study: a cell is measured once, also over runs, and again when its settings change") {
  const testing::TempDir folder;
  {
    Counted first(folder);
    CHECK(first.ask(2) == nullptr);
    first.run();
    CHECK(first.measured == 4);
    REQUIRE(first.ask(2));
    CHECK(study::rate_from(first.ask(2)->at("success")).hits == 2);
    first.study.run(1e9);
    CHECK(first.measured == 4);
  }
  Counted second(folder);
  second.ask(2, 11);  // another number of images: another cell
  second.run();
  CHECK(second.measured == 1);
  CHECK(second.study.declared() == 5);
  CHECK(second.shown() == 4);
}

TEST_CASE("study: an interrupted run goes on where it stopped") {
  const testing::TempDir folder;
  Counted broken(folder);
  for (int64_t i = 0; i < 2; ++i) broken.ask(i);
  Cell bad{"bad", broken.settings(7), 1, {}, []() -> Json { fail("the machine went down"); }};
  broken.study.declare(bad);
  broken.ask(3);
  CHECK_ERROR(broken.study.run(1e9), "the machine went down");
  CHECK(broken.measured == 2);
  Counted again(folder);
  again.run();
  CHECK(again.measured == 2);
  CHECK(again.shown() == 4);
}

TEST_CASE("study: the time left follows what was announced until enough is measured") {
  CHECK(seconds_left(1, 0, 0, 800) == doctest::Approx(800));
  // A first piece of a thousandth takes 20 s instead of 0.8: by itself it would promise more than five hours.
  CHECK(seconds_left(0.999, 0.001, 20, 800) < 1000);
  CHECK(seconds_left(0.999, 0.001, 20, 800) > 800);
  // Everything takes three times as long: half done, the measured time has the last word.
  CHECK(seconds_left(0.5, 0.5, 1200, 800) == doctest::Approx(1200).epsilon(0.15));
  CHECK(seconds_left(0.01, 0.99, 2376, 800) == doctest::Approx(24).epsilon(0.1));
  CHECK(seconds_left(0.75, 0.25, 10, 0) == doctest::Approx(30));  // nothing was announced
}

TEST_CASE("study: shards share the cells out, and one without shard collects what they found") {
  const testing::TempDir folder;
  Counted one(folder, {1, 2});
  one.run();
  CHECK(one.shown() == one.measured);
  Counted nothing(folder, {1, 2}, /*collect=*/true);
  nothing.run();
  CHECK(nothing.measured == 0);
  CHECK(nothing.shown() == one.measured);  // the others were not run
  Counted two(folder, {2, 2});
  two.run();
  CHECK(one.measured + two.measured == 4);
  CHECK(one.measured == 2);
  Counted all(folder);
  all.run();
  CHECK(all.measured == 0);
  CHECK(all.shown() == 4);
}

TEST_CASE("study: a partition gives each cell to one shard, balances costs, and shares few networks") {
  const std::vector<double> flops{5, 1, 1, 4, 3, 3, 3};
  std::vector<study::Work> cells;
  for (const double f : flops) cells.push_back({f, {}});
  for (const int64_t shards : {1, 2, 3, 9}) {
    const std::vector<int64_t> shard = study::partition(cells, {}, shards);
    std::vector<double> load(static_cast<size_t>(shards));
    for (size_t i = 0; i < flops.size(); ++i) {
      REQUIRE((1 <= shard[i] && shard[i] <= shards));
      load[static_cast<size_t>(shard[i] - 1)] += flops[i];
    }
    CHECK(std::accumulate(load.begin(), load.end(), 0.0) == 20);
    if (shards == 2) CHECK(*std::max_element(load.begin(), load.end()) <= 11);
  }
  // Cells of two costly networks, in turns: each network is made on one machine. Where cells cost much more
  // than their network, both machines make it.
  const std::vector<double> networks{100, 100};
  std::vector<study::Work> two, one;
  for (size_t i = 0; i < 8; ++i) {
    two.push_back({1 + static_cast<double>(i), {i % 2}});
    one.push_back({500, {0}});
  }
  const std::vector<int64_t> apart = study::partition(two, networks, 2),
                             both = study::partition(one, networks, 2);
  for (size_t i = 0; i < 8; ++i) CHECK(apart[i] == apart[i % 2]);
  CHECK(apart[0] != apart[1]);
  CHECK(std::count(both.begin(), both.end(), 1) == 4);
  CHECK(study::parse_shard("2/3").number == 2);
  CHECK(study::parse_shard("2/3").count == 3);
  for (const char* bad : {"", "1", "0/2", "3/2", "1/2x", "1/", "/2", "a/b", "-1/2"})
    CHECK_ERROR(study::parse_shard(bad), "is not a shard such as 1/2");
}

TEST_CASE("study: a damaged file is named, and so is one that holds another cell") {
  const testing::TempDir folder;
  {
    Counted one(folder);
    one.ask(0);
    one.study.run(1e9);
  }
  const std::string path = only_file(folder / "cells"), whole = read_file(path);
  const auto message = [&] {
    Counted again(folder);
    again.ask(0);
    return testing::error_of([&] { again.study.run(1e9); });
  };
  for (const std::string& damaged : {whole.substr(0, whole.size() / 2), std::string(), std::string("{}"),
                                     std::string("{\"values\": 3, \"seconds\": 1}")}) {
    write_file(path, damaged);
    CHECK(message() == path + ": is damaged; delete it, and the cell is measured again");
  }
  Json other = Json::parse(whole);
  other["settings"]["seed"] = 2;
  write_file(path, other.dump());
  CHECK(message() == path + ": holds a cell of other settings than its name says");
  write_file(path, whole);
  CHECK(message() == "(no error)");
}

TEST_CASE("study: networks are made when they are needed, kept, and known by their settings") {
  const testing::TempDir folder;
  int made = 0;
  const auto declare = [&](Study& s, const std::string& label, uint64_t seed) {
    s.declare(study::Network{label, {{"seed", seed}}, 1, {}, [&made, seed](const std::string& checkpoint) {
                               CHECK(checkpoint.ends_with(".checkpoint"));
                               ++made;
                               return Model("1x2x2 flatten fc3", {.seed = seed});
                             }});
  };
  const study::StudyOptions options{folder.str(), {}, false, true};
  Study study(options);
  declare(study, "a", 1);
  declare(study, "b", 2);
  CHECK_ERROR(declare(study, "a", 3), "'a' already names another network");
  study.declare(Cell{"of a", {{"seed", 1}, {"n", 1}, {"success", "-"}}, 1, {"a"}, [&] {
                       return Json{{"parameters", study.network("a").parameter_count()}};
                     }});
  CHECK(made == 0);
  study.run(1e9);
  CHECK(made == 1);  // b was not needed
  Study later(options);
  declare(later, "a", 1);
  CHECK(identical(later.network("a").state().at("1.weight"), study.network("a").state().at("1.weight")));
  CHECK(made == 1);
  CHECK_ERROR(later.network("c"), "no network is named 'c'");
  const std::string path = only_file(folder / "models");
  save_model(path, Model("1x2x2 flatten fc3"));
  Study misled(options);
  declare(misled, "a", 1);
  CHECK_ERROR(misled.network("a"), path + ": holds a network of other settings than its name says");
}

TEST_CASE("study: settings must say seed, n and success, and what is asked for must have been declared") {
  const testing::TempDir folder;
  Counted s(folder);
  CHECK_ERROR(s.study.declare(Cell{"x", {{"seed", 1}, {"n", 2}}, 1, {}, {}}),
              "the settings of 'x' do not say 'success'");
  CHECK_ERROR(s.study.find(s.settings(0)), "no cell of these settings was declared");
  CHECK(study::key_of({{"a", 1}, {"b", 2}}) == study::key_of({{"b", 2}, {"a", 1}}));
  CHECK(study::key_of({{"a", 1}}) != study::key_of({{"a", 1.5}}));
  CHECK(study::shown(nullptr, "success") == "not run");
}

TEST_CASE("study: checkpoints of a network stay until it is saved, those of other networks beyond that") {
  const testing::TempDir folder;
  const study::StudyOptions options{folder.str(), {}, false, true};
  const auto files = [&] {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "models"))
      names.push_back(entry.path().extension());
    std::sort(names.begin(), names.end());
    return names;
  };
  const auto make = [&](bool spoil) {
    Study study(options);
    study.declare(study::Network{
        "a", {{"seed", 1}}, 1, {}, [&, spoil](const std::string& checkpoint) {
          Model model("1x2x2 flatten fc3");
          const Dataset data{"data", Tensor::zeros({2, 1, 2, 2}), Tensor::of<int64_t>({0, 1}, {2}), 3, {}};
          for (const char* round : {"", ".round0"})
            study::resume_training(model, data, {.epochs = 1}, checkpoint + round,
                                   /*quiet=*/true);
          const std::string path = checkpoint.substr(0, checkpoint.rfind('.'));
          if (spoil) std::filesystem::create_directory(path + ".safetensors");
          return model;
        }});
    study.network("a");
  };
  CHECK_ERROR(make(/*spoil=*/true), "is not a regular file");
  CHECK(files() == std::vector<std::string>{".checkpoint", ".round0", ".safetensors"});
  std::filesystem::remove(folder / ("models/" + study::key_of({{"seed", 1}}) + ".safetensors"));
  write_file(folder / "models/other.checkpoint", "of another network");
  make(/*spoil=*/false);
  CHECK(files() == std::vector<std::string>{".checkpoint", ".safetensors"});
  CHECK(std::filesystem::exists(folder / "models/other.checkpoint"));
}

TEST_CASE("study: a folder whose cells are of other images or labels is refused, split by split") {
  const testing::TempDir folder;
  study::StudyFlags flags;
  flags.output = folder / "out";
  const std::string data = folder / "data.safetensors";
  std::filesystem::create_directories(flags.output);
  const auto load = [&](double pixel, int64_t label, Split split) {
    write_archive(
        data,
        {{{"x", Tensor::full({3, 1, 2, 2}, pixel)}, {"y", Tensor::of<int64_t>({0, label, 1}, {3})}}, {}});
    return study::first(data, split, 2, flags).size();
  };
  CHECK(load(0.5, 1, Split::train) == 2);
  CHECK(load(0.5, 1, Split::train) == 2);
  CHECK(load(0.25, 0, Split::test) == 2);
  for (const auto& [pixel, label] : {std::pair{0.25, 1}, std::pair{0.5, 0}}) {
    const std::string message = testing::error_of([&] { load(pixel, label, Split::train); });
    CHECK(message.starts_with(flags.output + ": "));
    CHECK(message.find("other images or labels of " + data + ", train split, first 2, ") !=
          std::string::npos);
  }
  CHECK(load(0.5, 1, Split::train) == 2);
  flags.common.seed = 1;  // cells know their seed, and so may their data be drawn by it
  CHECK(load(0.25, 1, Split::train) == 2);
}

TEST_CASE("study: operations are counted by hand") {
  // 5x5 convolution: 2 * 28 * 28 * 3 * 25; dense: 2 * 3 * 14 * 14 * 10.
  CHECK(study::flops_per_image(parse_spec("1x28x28 conv3k5p2 relu maxpool2 flatten fc10")) == 117600 + 11760);
}

TEST_CASE("study: operations per second are those of the device of the flags") {
  const Spec spec = parse_spec("1x2x2 flatten fc3");
  cli::CommonFlags flags;
  flags.device = "cpu";
  CHECK(study::measured_flops_per_second(spec, flags) > 0);
  flags.device = "nowhere";
  CHECK_ERROR(study::measured_flops_per_second(spec, flags), "device: 'nowhere' is unknown");
}
