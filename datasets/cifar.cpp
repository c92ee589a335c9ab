#include "datasets/cifar.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"

namespace hashgrad {
namespace {

constexpr int64_t pixels = 3 * 32 * 32;
constexpr int64_t record = 1 + pixels;

int64_t records_in(const std::string& path) {
  const int64_t size = file_size(path);
  check(size > 0 && size % record == 0,
        "{}: {} bytes, expected a multiple of {} (a label and 3x32x32 pixels)", path, size, record);
  return size / record;
}

}  // namespace

Dataset read_cifar10(const std::vector<std::string>& files) {
  int64_t n = 0;
  for (const std::string& path : files) n += records_in(path);
  check(n > 0, "cifar10: no files were named");

  Dataset data;
  data.name = "cifar10";
  data.class_names = {"airplane", "automobile", "bird",  "cat",  "deer",
                      "dog",      "frog",       "horse", "ship", "truck"};
  data.classes = static_cast<int64_t>(data.class_names.size());
  data.images = Tensor::empty({n, 3, 32, 32}, DType::uint8);
  data.labels = Tensor::empty({n}, DType::int64);

  uint8_t* image = data.images.data<uint8_t>();
  int64_t* label = data.labels.data<int64_t>();
  for (const std::string& path : files) {
    const std::string content = read_file(path, n * record);
    for (int64_t at = 0; at < static_cast<int64_t>(content.size()); at += record, image += pixels, ++label) {
      const char* from = content.data() + at;
      *label = static_cast<uint8_t>(*from);
      check(*label < data.classes, "{}: label {} at offset {}, expected 0 to {}", path, *label, at,
            data.classes - 1);
      std::copy_n(from + 1, pixels, image);
    }
  }
  return data;
}

}  // namespace hashgrad
