#include "datasets/tensor_file.h"

#include <algorithm>
#include <charconv>

#include "core/archive.h"
#include "core/error.h"

namespace hashgrad {
namespace {

constexpr int64_t most_classes = 1'000'000;

int64_t parse_classes(const std::string& text, const std::string& path) {
  int64_t classes = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, classes);
  check(error == std::errc{} && stop == end && 0 < classes && classes <= most_classes,
        "{}: metadata 'classes' is '{}', a number from 1 to {} is expected", path, text, most_classes);
  return classes;
}

/// As many as the labels need; labels that cannot be right are left to validate().
int64_t count_classes(const Tensor& labels) {
  if (labels.dtype() != DType::int64 || labels.numel() == 0) return 1;
  const int64_t* y = labels.data<int64_t>();
  return std::clamp<int64_t>(*std::max_element(y, y + labels.numel()), 0, most_classes - 1) + 1;
}

}  // namespace

Dataset read_tensor_file(const std::string& path) {
  const Archive archive = read_archive(path);
  Dataset data;
  data.name = path;
  data.images = archive.at("x", path);
  if (const auto y = archive.tensors.find("y"); y != archive.tensors.end()) {
    data.labels = y->second;
    const auto classes = archive.metadata.find("classes");
    data.classes =
        classes == archive.metadata.end() ? count_classes(data.labels) : parse_classes(classes->second, path);
  }
  validate(data, path);
  return data;
}

}  // namespace hashgrad
