#include "datasets/image_folder.h"

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

#define STBIR_NO_STDIO
#include <stb/stb_image_resize.h>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "datasets/image_decoder.h"

namespace hashgrad {
namespace {

namespace fs = std::filesystem;

struct Sample {
  std::string path;
  int64_t label = 0;
};

/// Names of the entries of a directory for which `wanted` holds, sorted by byte value; hidden ones left out.
template <class Wanted>
std::vector<std::string> sorted_entries(const std::string& dir, const Wanted& wanted) {
  std::vector<std::string> names;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(dir)) {
      const std::string name = entry.path().filename().string();
      if (name[0] != '.' && wanted(entry)) names.push_back(name);
    }
  } catch (const fs::filesystem_error& e) {
    fail("{}: {}, a folder of images is expected", dir, e.code().message());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool is_folder(const fs::directory_entry& entry) { return entry.is_directory(); }

bool is_image(const fs::directory_entry& entry) {
  std::string extension = entry.path().extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return !entry.is_directory() && (extension == ".png" || extension == ".jpg" || extension == ".jpeg");
}

/// One name of a folder, however `dir` ends.
fs::path whole_name(const std::string& dir) {
  return (fs::absolute(dir) / "").lexically_normal().parent_path();
}

/// The first word of each line of classes.txt, when there is one beside or above the class folders.
std::vector<std::string> listed_classes(const std::string& dir) {
  const fs::path whole = whole_name(dir);
  for (const fs::path& place : {whole, whole.parent_path()}) {
    const fs::path list = place / "classes.txt";
    std::error_code ignored;  // what cannot be looked at is not there
    if (!fs::exists(list, ignored)) continue;
    std::vector<std::string> names;
    std::istringstream lines(read_file(list.string(), int64_t{1} << 20));
    for (std::string line, name; std::getline(lines, line);)
      if (std::istringstream(line) >> name) names.push_back(name);
    check(!names.empty(), "{}: lists no class, one per line is expected", list.string());
    return names;
  }
  return {};
}

/// The class folders of the training images beside the split in `dir`; nothing where there are none.
std::vector<std::string> classes_of_training(const std::string& dir) {
  const fs::path split = whole_name(dir), train = split.parent_path() / "train";
  std::error_code ignored;
  const bool beside = split.filename() == "test" || split.filename() == "val";
  return beside && fs::is_directory(train, ignored) ? sorted_entries(train.string(), is_folder)
                                                    : std::vector<std::string>{};
}

/// Every split has the same folders, or a label would mean one class here and another there.
std::vector<std::string> find_classes(const std::string& dir) {
  const std::vector<std::string> folders = sorted_entries(dir, is_folder);
  check(!folders.empty(), "{}: has no folders, one per class is expected", dir);
  std::vector<std::string> listed = listed_classes(dir);
  const char* where = listed.empty() ? "train" : "classes.txt";
  if (listed.empty()) listed = classes_of_training(dir);
  if (listed.empty()) return folders;
  for (const std::string& name : folders)
    check(std::count(listed.begin(), listed.end(), name) == 1, "{}: folder '{}' is named {} times in {}", dir,
          name, std::count(listed.begin(), listed.end(), name), where);
  for (const std::string& name : listed)
    check(std::binary_search(folders.begin(), folders.end(), name), "{}: has no folder '{}' of {}", dir, name,
          where);
  return listed;
}

/// One image of each class, then the next of each: any prefix is as balanced as it can be.
std::vector<Sample> list_samples(const std::string& dir, const std::vector<std::string>& classes) {
  std::vector<std::vector<std::string>> by_class;
  size_t longest = 0;
  for (const std::string& name : classes) {
    const std::string folder = (fs::path(dir) / name).string();
    by_class.push_back(sorted_entries(folder, is_image));
    check(!by_class.back().empty(), "{}: holds no .png, .jpg or .jpeg file", folder);
    longest = std::max(longest, by_class.back().size());
  }
  std::vector<Sample> samples;
  for (size_t i = 0; i < longest; ++i)
    for (size_t c = 0; c < classes.size(); ++c)
      if (i < by_class[c].size())
        samples.push_back({(fs::path(dir) / classes[c] / by_class[c][i]).string(), static_cast<int64_t>(c)});
  return samples;
}

/// Planar uint8 images; stb_image_resize filters by area when it shrinks.
void scale(const std::vector<uint8_t>& from, const ImageHeader& header, int64_t channels, ImageSize size,
           uint8_t* out) {
  for (int64_t c = 0; c < channels; ++c) {
    const int ok =
        stbir_resize_uint8(from.data() + c * header.height * header.width, static_cast<int>(header.width),
                           static_cast<int>(header.height), 0, out + c * size.height * size.width,
                           static_cast<int>(size.width), static_cast<int>(size.height), 0, 1);
    check(ok != 0, "resize: {}x{} to {}x{} failed", header.height, header.width, size.height, size.width);
  }
}

void decode_scaled(const ImageFile& file, int64_t channels, ImageSize size, uint8_t* out) {
  const ImageHeader& header = file.header();
  if (header.height == size.height && header.width == size.width) return file.decode(channels, out);
  std::vector<uint8_t> decoded(static_cast<size_t>(channels * header.height * header.width));
  file.decode(channels, decoded.data());
  scale(decoded, header, channels, size, out);
}

std::vector<ImageHeader> read_headers(const std::vector<Sample>& samples) {
  std::vector<ImageHeader> headers(samples.size());
  parallel_for(static_cast<int64_t>(samples.size()), [&](int64_t i) {
    const size_t k = static_cast<size_t>(i);
    headers[k] = ImageFile(samples[k].path).header();
  });
  return headers;
}

}  // namespace

Dataset read_image_folder(const std::string& dir, ImageSize resize) {
  Dataset data;
  data.name = "imagefolder:" + dir;
  data.class_names = find_classes(dir);
  data.classes = static_cast<int64_t>(data.class_names.size());
  const std::vector<Sample> samples = list_samples(dir, data.class_names);
  const std::vector<ImageHeader> headers = read_headers(samples);

  ImageSize size = resize;
  if (size.height == 0 && size.width == 0) size = {headers[0].height, headers[0].width};
  check(size.height > 0 && size.width > 0, "resize: {}x{} is not an image size", size.height, size.width);
  int64_t channels = 1;
  for (size_t i = 0; i < samples.size(); ++i) {
    channels = std::max(channels, headers[i].channels);
    const bool same = headers[i].height == size.height && headers[i].width == size.width;
    check(same || resize.height > 0, "{}: {}x{} pixels, but {} has {}x{}; give a size to scale all images to",
          samples[i].path, headers[i].height, headers[i].width, samples[0].path, size.height, size.width);
  }

  const int64_t n = static_cast<int64_t>(samples.size()), pixels = channels * size.height * size.width;
  data.images = Tensor::empty({n, channels, size.height, size.width}, DType::uint8);
  data.labels = Tensor::empty({n}, DType::int64);
  uint8_t* images = data.images.data<uint8_t>();
  int64_t* labels = data.labels.data<int64_t>();
  parallel_for(n, [&](int64_t i) {
    const Sample& sample = samples[static_cast<size_t>(i)];
    labels[i] = sample.label;
    decode_scaled(ImageFile(sample.path), channels, size, images + i * pixels);
  });
  return data;
}

}  // namespace hashgrad
