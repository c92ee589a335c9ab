#include "nn/checkpoint.h"

#include <set>

#include "nn/model_file.h"

namespace hashgrad {
namespace {

constexpr const char* counts_name = "train.counts";    // int64 [5]
constexpr const char* sums_name = "train.sums";        // float64 [4]
constexpr const char* log_name = "train.log";          // uint8 [length]
constexpr const char* carried_name = "train.carried";  // [batch,C,H,W], where a defence carries something

template <class T>
std::vector<T> values_of(const Archive& archive, const char* tensor, size_t count, const std::string& path) {
  const Tensor& t = archive.at(tensor, path);
  check(t.dtype() == dtype_of<T> && t.shape() == Shape{static_cast<int64_t>(count)},
        "{}: tensor '{}' is {} {}, {} [{}] is expected", path, tensor, name_of(t.dtype()), t.shape(),
        name_of(dtype_of<T>), count);
  return t.to_vector<T>();
}

/// The keys of both under which compressions record their settings.
std::set<std::string> compressions_of(const Archive& a, const Archive& b) {
  std::set<std::string> keys;
  for (const Archive* archive : {&a, &b})
    for (const auto& [key, value] : archive->metadata)
      if (key.starts_with("compress.")) keys.insert(key);
  return keys;
}

/// The same network, settings and compressions, or an Error that says what differs.
void check_same(const std::string& path, const Archive& then, const Archive& now,
                const TrainSettings& settings) {
  const auto value = [](const Archive& archive, const std::string& key) {
    const auto it = archive.metadata.find(key);
    return it == archive.metadata.end() ? std::string() : it->second;
  };
  const auto compare = [&](const std::string& name, const std::string& was, const std::string& is) {
    check(was == is, "{}: was made with {} '{}', now it is '{}'; resume with the same settings", path, name,
          was, is);
  };
  for (const char* key : {"spec", "hash_seed", "hash_mode", "hash_bias", "defences", "masks", "quantisers"})
    compare(key, value(then, key), value(now, key));
  for (const auto& [name, is] : settings) {
    check(then.metadata.contains("train." + name),
          "{}: an older version made it and did not record its {}; it cannot be continued, start anew", path,
          name);
    compare(name, value(then, "train." + name), as_recorded(is));
  }
  for (const std::string& key : compressions_of(then, now)) compare(key, value(then, key), value(now, key));
}

}  // namespace

void save_checkpoint(const std::string& path, const TrainParts& parts, const TrainState& state) {
  Archive archive = archive_of(parts.model);
  for (const auto& [name, tensor] : archive.tensors)
    if (is_floating(tensor.dtype()))
      check_finite(tensor,
                   fmt::format("train: '{}' after step {} ({} is kept as it was)", name, state.step, path));
  parts.optimizer.save(archive);
  parts.constraints.save(archive);
  if (parts.average) parts.average->save(archive);
  if (state.carried.defined()) archive.tensors[carried_name] = state.carried.to(Device{});
  archive.tensors[counts_name] =
      Tensor::of(std::vector<int64_t>{state.epoch, state.batch, state.step, state.seen, state.correct}, {5});
  archive.tensors[sums_name] =
      Tensor::of(std::vector<double>{state.loss_sum, state.loss, state.accuracy, state.seconds}, {4});
  archive.tensors[log_name] = Tensor::of(std::vector<uint8_t>(state.log.begin(), state.log.end()),
                                         {static_cast<int64_t>(state.log.size())});
  write_archive(path, archive);
}

TrainState load_checkpoint(const std::string& path, const TrainSettings& settings, const TrainParts& parts) {
  const Archive archive = read_archive(path);
  check(archive.tensors.contains(counts_name), "{}: is not a checkpoint of a training run", path);
  check_same(path, archive, archive_of(parts.model), settings);
  const std::map<std::string, Tensor> saved = model_from_archive(archive, path).state();
  for (auto& [name, tensor] : parts.model.state()) tensor.copy_from(saved.at(name));
  parts.optimizer.load(archive, path);
  parts.constraints.load(archive, path);
  if (parts.average) parts.average->load(archive, path);
  const std::vector<int64_t> counts = values_of<int64_t>(archive, counts_name, 5, path);
  const std::vector<double> sums = values_of<double>(archive, sums_name, 4, path);
  for (int64_t count : counts)
    check(count >= 0, "{}: tensor '{}' has the negative count {}", path, counts_name, count);
  TrainState state{.epoch = counts[0],
                   .batch = counts[1],
                   .step = counts[2],
                   .seen = counts[3],
                   .correct = counts[4],
                   .loss_sum = sums[0],
                   .loss = sums[1],
                   .accuracy = sums[2],
                   .seconds = sums[3]};
  if (archive.tensors.contains(carried_name)) state.carried = archive.at(carried_name, path).clone();
  const Tensor& log = archive.at(log_name, path);
  const std::vector<uint8_t> bytes =
      values_of<uint8_t>(archive, log_name, static_cast<size_t>(log.numel()), path);
  state.log.assign(bytes.begin(), bytes.end());
  return state;
}

}  // namespace hashgrad
