#include "datasets/registry.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "datasets/cifar.h"
#include "datasets/idx.h"
#include "datasets/synthetic_digits.h"
#include "datasets/tensor_file.h"

namespace hashgrad {
namespace {

namespace fs = std::filesystem;

/// Folders that may hold the named sets, in the order in which they are tried.
std::vector<fs::path> search_path(const DataOptions& options) {
  std::vector<fs::path> places;
  if (!options.data_dir.empty()) places.emplace_back(options.data_dir);
  if (const char* env = std::getenv("HASHGRAD_DATA"); env && *env) places.emplace_back(env);
  if (const char* home = std::getenv("HOME"); home && *home)
    places.push_back(fs::path(home) / ".cache" / "hashgrad" / "data");
  return places;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;  // what cannot be looked at is not there
  return fs::exists(path, ignored);
}

/// The file with this name in `folder`, packed or not; empty when neither is there.
std::string idx_file(const fs::path& folder, const std::string& name) {
  for (const char* ending : {"", ".gz"})
    if (const fs::path path = folder / (name + ending); is_there(path)) return path.string();
  return {};
}

std::vector<std::string> find_mnist(const fs::path& folder, Split split) {
  const std::string prefix = split == Split::train ? "train" : "t10k";
  const std::string images = idx_file(folder, prefix + "-images-idx3-ubyte");
  const std::string labels = idx_file(folder, prefix + "-labels-idx1-ubyte");
  if (images.empty() || labels.empty()) return {};
  return {images, labels};
}

Dataset read_mnist(const std::vector<std::string>& files, const DataOptions&) {
  return read_idx_pair(files[0], files[1]);
}

/// The binary batches, or else the one folder of images.
std::vector<std::string> find_cifar10(const fs::path& folder, Split split) {
  std::vector<std::string> names{"test_batch.bin"};
  if (split == Split::train)
    names = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
             "data_batch_5.bin"};
  for (const fs::path& place : {folder, folder / "cifar-10-batches-bin"}) {
    if (!is_there(place / names[0])) continue;
    for (std::string& name : names) name = (place / name).string();
    return names;
  }
  const fs::path images = folder / name_of(split);
  if (!is_there(images)) return {};
  return {images.string()};
}

Dataset read_cifar10_any(const std::vector<std::string>& files, const DataOptions& options) {
  return files.size() == 1 && !files[0].ends_with(".bin") ? read_image_folder(files[0], options.resize)
                                                          : read_cifar10(files);
}

/// The part of an image folder that belongs to a split.
std::string split_folder(const std::string& dir, Split split) {
  const fs::path root(dir);
  if (split == Split::train) return (root / "train").string();
  return (root / (is_there(root / "test") ? "test" : "val")).string();
}

/// The same; the folder itself where it has no parts.
std::string part_or_whole(const std::string& dir, Split split) {
  const fs::path root(dir);
  const bool parted = is_there(root / "train") || is_there(root / "test") || is_there(root / "val");
  return parted ? split_folder(dir, split) : dir;
}

std::vector<std::string> find_split_folder(const fs::path& folder, Split split) {
  const std::string part = split_folder(folder.string(), split);
  if (!is_there(part)) return {};
  return {part};
}

Dataset read_split_folder(const std::vector<std::string>& files, const DataOptions& options) {
  return read_image_folder(files[0], options.resize);
}

struct NamedSet {
  const char* name;                                                       // also the folder's name
  std::vector<std::string> (*find)(const fs::path& folder, Split split);  // nothing when it is not there
  Dataset (*read)(const std::vector<std::string>& files, const DataOptions& options);
  const char* files;     // what to put there
  bool scripted = true;  // scripts/get-data downloads it
};

constexpr const char* idx_files = "its four files *-images-idx3-ubyte and *-labels-idx1-ubyte, plain or .gz,";
constexpr NamedSet named_sets[] = {
    {"mnist", find_mnist, read_mnist, idx_files},
    {"fashion-mnist", find_mnist, read_mnist, idx_files},
    {"cifar10", find_cifar10, read_cifar10_any,
     "data_batch_1.bin to data_batch_5.bin and test_batch.bin, or train/CLASS/*.png and test/CLASS/*.png,"},
    {"imagenet50", find_split_folder, read_split_folder,
     "train/CLASS/*.JPEG and val/CLASS/*.JPEG of 50 classes of ImageNet or of Tiny ImageNet", false},
};

const NamedSet* named_set(const std::string& name) {
  const auto set = std::find_if(std::begin(named_sets), std::end(named_sets),
                                [&](const NamedSet& s) { return name == s.name; });
  return set == std::end(named_sets) ? nullptr : set;
}

Dataset load_named(const NamedSet& set, Split split, const DataOptions& options) {
  std::string looked;
  for (const fs::path& place : search_path(options)) {
    const fs::path folder = place / set.name;
    if (const std::vector<std::string> files = set.find(folder, split); !files.empty()) {
      Dataset data = set.read(files, options);
      data.name = set.name;
      return data;
    }
    looked += (looked.empty() ? "" : ", ") + folder.string();
  }
  const std::string script =
      set.scripted ? fmt::format(" (scripts/get-data {} downloads them)", set.name) : "";
  fail("{}: the {} split was not found in {}; put {} there{}, or use synthetic-digits, which needs no file",
       set.name, name_of(split), looked.empty() ? "any folder (none is set)" : looked, set.files, script);
}

constexpr std::string_view image_folder = "imagefolder:";

Dataset load_whole(const std::string& name, Split split, const DataOptions& options) {
  check_dataset_name(name);
  if (const NamedSet* set = named_set(name)) return load_named(*set, split, options);
  if (name == "synthetic-digits") {
    const int64_t all = synthetic_digits_size(split);
    return synthetic_digits(split, options.first > 0 ? std::min(options.first, all) : all, options.seed);
  }
  if (!name.starts_with(image_folder)) return read_tensor_file(name);
  Dataset data = read_image_folder(part_or_whole(name.substr(image_folder.size()), split), options.resize);
  data.name = name;
  return data;
}

}  // namespace

void check_dataset_name(const std::string& name) {
  check(name != image_folder, "data: '{}' names no folder", name);
  check(named_set(name) || name == "synthetic-digits" || name.starts_with(image_folder) ||
            name.ends_with(".safetensors"),
        "data: '{}' is unknown (accepted: {})", name, accepted_datasets);
}

Dataset load_dataset(const std::string& name, Split split, const DataOptions& options) {
  check(options.first >= 0, "data: first {} samples of {} (0 or more is expected)", options.first, name);
  Dataset data = load_whole(name, split, options);
  return options.first > 0 ? data.first(options.first) : data;
}

bool has_test_split(const std::string& name) {
  if (!name.starts_with(image_folder)) return named_set(name) || name == "synthetic-digits";
  return is_there(split_folder(name.substr(image_folder.size()), Split::test));
}

bool dataset_available(const std::string& name, const DataOptions& options) {
  const NamedSet* set = named_set(name);
  if (!set) return name == "synthetic-digits";
  const std::vector<fs::path> places = search_path(options);
  const auto has = [&](Split split) {
    return std::any_of(places.begin(), places.end(),
                       [&](const fs::path& place) { return !set->find(place / name, split).empty(); });
  };
  return has(Split::train) && has(Split::test);
}

}  // namespace hashgrad
