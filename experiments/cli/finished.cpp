#include "experiments/cli/finished.h"

#include <filesystem>

#include "core/archive.h"
#include "core/file.h"
#include "core/settings.h"
#include "core/xxhash.h"
#include "datasets/digest.h"

namespace hashgrad::cli {
namespace {

constexpr std::chrono::minutes between_saves{1};

std::string in_hex(uint32_t digest) { return fmt::format("{:08x}", digest); }

uint32_t digest_of_input(const AttackInput& input) {
  uint32_t digest = 0;
  for (const Tensor& t : {input.x, input.y, input.targets})
    if (t.defined()) digest = digest_of(t.to(Device{}), digest);
  return digest_of(Tensor::of(input.samples, {static_cast<int64_t>(input.samples.size())}), digest);
}

/// Throws unless `found`, read from `path`, is of a run with the settings `wanted`.
void check_same_run(const RunSettings& wanted, const RunSettings& found, const std::string& path) {
  for (const auto& [name, value] : wanted) {
    const auto other = found.find(name);
    check(other != found.end(), "{}: is no checkpoint of such a run, it says nothing of the {}", path, name);
    check(other->second == value, "{}: is of another run: its {} is {}, not {}", path, name, other->second,
          value);
  }
}

/// Rows [0, n) of a result from those of an archive.
void restore_rows(const AttackResult& result, int64_t n, const Archive& archive, const std::string& path) {
  for (const auto& [name, tensor] : tensors_of(result)) archive.restore(name, path, tensor.slice(0, 0, n));
}

}  // namespace

RunSettings run_of(const std::string& model, const AttackInput& input, const CommonFlags& common,
                   const Draws& draws) {
  return {{"model", digest_of_file(model)},
          {"input", in_hex(digest_of_input(input))},
          {"seed", std::to_string(common.seed)},
          {"draws", fmt::format("{} and {}", draws.count, draws.judge)},
          {"device", to_string(common.where())},
          {"dtype", common.dtype},
          {"math", common.math}};
}

std::string digest_of_file(const std::string& path) { return in_hex(xxhash32(read_file(path), 0)); }

FinishedRows::FinishedRows(const Tensor& x, std::string checkpoint, RunSettings run)
    : rows_(empty_result(x, x.size(0))), checkpoint_(std::move(checkpoint)), run_(std::move(run)) {}

void FinishedRows::resume(const std::string& path) {
  const Archive archive = read_archive(path);
  check_same_run(run_, archive.metadata, path);
  const int64_t n = archive.at("status", path).numel();
  check(n <= rows_.status.size(0), "{}: holds {} rows of {}", path, n, rows_.status.size(0));
  restore_rows(rows_, n, archive, path);
  count_ = n;
  const auto spent = archive.metadata.find("seconds");
  if (spent != archive.metadata.end())
    earlier_ = hashgrad::parse_number(spent->second, path + ": seconds", 0, 1e12);
}

void FinishedRows::add(const AttackResult& part) {
  const int64_t end = count_ + part.status.size(0);
  const std::map<std::string, Tensor> whole = tensors();
  for (const auto& [name, tensor] : tensors_of(part)) whole.at(name).slice(0, count_, end).copy_from(tensor);
  count_ = end;
  const bool due = !saved_ || Clock::now() - *saved_ >= between_saves;
  if (due && count_ < rows_.status.size(0)) save();
}

void FinishedRows::save() {
  Archive archive;
  for (const auto& [name, tensor] : tensors())
    archive.tensors[name] = tensor.slice(0, 0, count_).contiguous();
  archive.metadata = run_;
  archive.metadata["seconds"] = fmt::format("{}", seconds());
  write_archive(checkpoint_, archive);
  saved_ = Clock::now();
}

void FinishedRows::remove_checkpoint() const { std::remove(checkpoint_.c_str()); }

double FinishedRows::seconds() const {
  return earlier_ + std::chrono::duration<double>(Clock::now() - start_).count();
}

std::string FinishedAttacks::file_of(const std::string& attack) const {
  return fmt::format("{}/{}.safetensors", folder_, in_hex(xxhash32(attack, 0)));
}

std::optional<AttackResult> FinishedAttacks::recall(const std::string& attack, const Tensor& x) {
  const std::string path = file_of(attack);
  if (!std::filesystem::exists(path)) return std::nullopt;
  const Archive archive = read_archive(path);
  RunSettings wanted = run_;
  wanted["attack"] = attack;
  check_same_run(wanted, archive.metadata, path);
  const AttackResult result = empty_result(x, x.size(0));
  restore_rows(result, x.size(0), archive, path);
  known_.insert(attack);
  return result;
}

void FinishedAttacks::keep(const std::string& attack, const AttackResult& result) {
  std::filesystem::create_directories(folder_);
  Archive archive{tensors_of(result), run_};
  archive.metadata["attack"] = attack;
  write_archive(file_of(attack), archive);
  known_.insert(attack);
}

void FinishedAttacks::remove() const {
  for (const std::string& attack : known_) std::remove(file_of(attack).c_str());
  std::error_code not_empty;  // what else is there is the user's
  std::filesystem::remove(folder_, not_empty);
}

SubstituteRounds FinishedRounds::resume(const std::string& path, const Model& substitute) {
  const Archive archive = read_archive(path);
  check_same_run(run_, archive.metadata, path);
  for (const auto& [name, tensor] : substitute.state()) archive.restore(name, path, tensor);
  file_ = path;
  const auto count = archive.metadata.find("rounds");
  check(count != archive.metadata.end(), "{}: does not say how many rounds it is after", path);
  return {static_cast<int64_t>(hashgrad::parse_number(count->second, path + ": rounds", 1, 20)),
          archive.at("x", path), archive.at("y", path)};
}

void FinishedRounds::keep(const SubstituteRounds& rounds, const Model& substitute) {
  Archive archive{substitute.state(), run_};
  archive.tensors["x"] = rounds.images;
  archive.tensors["y"] = rounds.labels;
  archive.metadata["rounds"] = std::to_string(rounds.count);
  write_archive(checkpoint_, archive);
  file_ = checkpoint_;
}

void FinishedRounds::remove_checkpoint() const { std::remove(checkpoint_.c_str()); }

}  // namespace hashgrad::cli
