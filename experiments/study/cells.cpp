#include "experiments/study/cells.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "core/file.h"
#include "experiments/cli/rates.h"
#include "experiments/progress.h"
#include "experiments/try_print.h"
#include "nn/model_file.h"

namespace hashgrad::study {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* settings_key = "study.settings";  // in the metadata of a network's file

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void require(const Json& settings, const std::string& label, std::initializer_list<const char*> names) {
  for (const char* name : names)
    check(settings.is_object() && settings.contains(name), "study: the settings of '{}' do not say '{}'",
          label, name);
}

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  check(!error, "{}: cannot be made a folder: {}", path, error.message());
}

/// The checkpoint, and those whose names go on behind it (rounds of a training); not what another process is
/// just writing.
void remove_checkpoints(const std::string& checkpoint) {
  std::vector<std::filesystem::path> old;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(checkpoint).parent_path())) {
    const std::string name = entry.path().string();
    if (name.starts_with(checkpoint) && name.find(".tmp-") == std::string::npos) old.push_back(name);
  }
  for (const std::filesystem::path& file : old) std::filesystem::remove(file);
}

/// What a cell's file says, once it is known to be about these settings.
Json read_cell(const std::string& path, const Json& settings) {
  const Json file = Json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  const bool whole = file.is_object() && file.contains("values") && file["values"].is_object() &&
                     file.contains("seconds") && file["seconds"].is_number();
  check(whole, "{}: is damaged; delete it, and the cell is measured again", path);
  check(file.value("settings", Json{}) == settings, "{}: holds a cell of other settings than its name says",
        path);
  return file;
}

}  // namespace

std::string key_of(const Json& settings) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (const char c : settings.dump()) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return fmt::format("{:016x}", hash);
}

Study::Study(StudyOptions options) : options_(std::move(options)) {
  make_folder(options_.folder + "/cells");
  make_folder(options_.folder + "/models");
}

void Study::declare(Network network) {
  require(network.settings, network.label, {"seed"});
  const auto known = networks_.find(network.label);
  check(known == networks_.end() || known->second.settings == network.settings,
        "study: '{}' already names another network", network.label);
  networks_.emplace(network.label, std::move(network));
}

void Study::declare(Cell cell) {
  require(cell.settings, cell.label, {"seed", "n", "success"});
  for (const std::string& label : cell.networks) settings_of(label);
  const auto same = [&](const Cell& other) { return other.settings == cell.settings; };
  if (std::none_of(cells_.begin(), cells_.end(), same)) cells_.push_back(std::move(cell));
}

const Json* Study::ask(Cell cell) {
  const Json settings = cell.settings;
  declare(std::move(cell));
  return find(settings);
}

void Study::run(double flops_per_second) {
  for (const Cell& cell : cells_) load(cell);
  const std::vector<const Cell*> todo = missing_here();
  double own = 0;
  for (const Cell* cell : todo) own += cell->flops;
  const double networks = flops_of_networks(todo), all = own + networks;
  if (!options_.quiet)
    try_print(stderr, "{} cells, {} measured before, {} to measure here: about {} ({} of it for networks)\n",
              declared(), measured(), todo.size(), format_seconds(all / flops_per_second),
              format_seconds(networks / flops_per_second));
  constexpr double steps = 10000;
  Progress progress("cells", static_cast<int64_t>(steps), options_.quiet, "", all / flops_per_second);
  double done = 0;
  for (const Cell* cell : todo) {
    progress.update(std::llround(steps * std::min(1.0, done / std::max(all, 1.0))), cell->label);
    done += cell->flops + flops_of_networks({cell});  // those without a file, which it makes
    compute(*cell);
  }
}

const Model& Study::network(const std::string& label) {
  if (const auto made = models_.find(label); made != models_.end()) return made->second;
  settings_of(label);
  const Network& network = networks_.at(label);
  const std::string path = network_path(network), settings = network.settings.dump();
  if (std::filesystem::exists(path)) {
    Model model = load_model(path);
    check(model.metadata[settings_key] == settings,
          "{}: holds a network of other settings than its name says", path);
    return models_.emplace(label, std::move(model)).first->second;
  }
  const std::string checkpoint = path.substr(0, path.rfind('.')) + ".checkpoint";
  Model model = network.make(checkpoint);
  model.metadata[settings_key] = settings;
  save_model(path, model);
  remove_checkpoints(checkpoint);
  return models_.emplace(label, std::move(model)).first->second;
}

const Json& Study::settings_of(const std::string& label) const {
  const auto network = networks_.find(label);
  check(network != networks_.end(), "study: no network is named '{}'", label);
  return network->second.settings;
}

const Json* Study::find(const Json& settings) const {
  const bool known =
      std::any_of(cells_.begin(), cells_.end(), [&](const Cell& cell) { return cell.settings == settings; });
  check(known, "study: no cell of these settings was declared: {}", settings.dump());
  const auto values = values_.find(key_of(settings));
  return values == values_.end() ? nullptr : &values->second;
}

std::string Study::cell_path(const Cell& cell) const {
  return options_.folder + "/cells/" + key_of(cell.settings) + ".json";
}

std::string Study::network_path(const Network& network) const {
  return options_.folder + "/models/" + key_of(network.settings) + ".safetensors";
}

bool Study::load(const Cell& cell) {
  const std::string path = cell_path(cell);
  if (!std::filesystem::exists(path)) return false;
  const Json file = read_cell(path, cell.settings);
  values_[key_of(cell.settings)] = file["values"];
  seconds_ += file["seconds"].get<double>();
  return true;
}

void Study::compute(const Cell& cell) {
  for (const std::string& label : cell.networks) network(label);  // training is not the cell's time
  const Clock::time_point start = Clock::now();
  const Json values = cell.measure();
  const Json file{{"label", cell.label},
                  {"settings", cell.settings},
                  {"values", values},
                  {"seconds", seconds_since(start)},
                  {"command", cli::command_line}};
  write_file(cell_path(cell), cli::json_text(file));
  load(cell);
}

std::vector<const Cell*> Study::missing_here() const {
  if (options_.collect) return {};
  const std::vector<int64_t> shard = shards();
  std::vector<const Cell*> missing;
  for (size_t i = 0; i < cells_.size(); ++i)
    if (shard[i] == options_.shard.number && find(cells_[i].settings) == nullptr)
      missing.push_back(&cells_[i]);
  return missing;
}

/// The network and those that it is made from; `made_too`: those with a file, too.
void Study::add_networks(const std::string& label, bool made_too, std::set<std::string>& labels) const {
  const Network& network = networks_.at(label);
  if (!made_too && std::filesystem::exists(network_path(network))) return;
  if (!labels.insert(label).second) return;
  for (const std::string& from : network.networks) add_networks(from, made_too, labels);
}

/// Of each cell. Files do not count: they differ from machine to machine.
std::vector<int64_t> Study::shards() const {
  std::map<std::string, size_t> numbers;
  std::vector<double> networks;
  for (const auto& [label, network] : networks_) {
    numbers[label] = networks.size();
    networks.push_back(network.flops);
  }
  std::vector<Work> works;
  for (const Cell& cell : cells_) {
    std::set<std::string> labels;
    for (const std::string& label : cell.networks) add_networks(label, true, labels);
    works.push_back({cell.flops, {}});
    for (const std::string& label : labels) works.back().networks.push_back(numbers.at(label));
  }
  return partition(works, networks, options_.shard.count);
}

double Study::flops_of_networks(const std::vector<const Cell*>& cells) const {
  std::set<std::string> labels;
  for (const Cell* cell : cells)
    for (const std::string& label : cell->networks) add_networks(label, false, labels);
  double flops = 0;
  for (const std::string& label : labels) flops += networks_.at(label).flops;
  return flops;
}

Json json_of(const Rate& rate) { return cli::json_of(rate); }

Rate rate_from(const Json& json) {
  return {json.at("hits").get<int64_t>(), json.at("n").get<int64_t>(), json.value("per_image", int64_t{1})};
}

TrainResult resume_training(Model& model, const Dataset& data, TrainOptions options,
                            const std::string& checkpoint, bool quiet) {
  options.checkpoint = checkpoint;
  if (std::filesystem::exists(checkpoint)) options.resume = checkpoint;
  const int64_t images = options.epochs * data.size();
  Progress progress("train", images, quiet);
  options.progress = training_progress(progress, images);
  return train(model, data, options);
}

}  // namespace hashgrad::study
