#include "datasets/idx.h"

#include <limits>
#include <vector>

#include "core/error.h"
#include "datasets/byte_reader.h"

namespace hashgrad {
namespace {

constexpr uint32_t unsigned_bytes = 0x08;  // the third byte of the magic number; the fourth is the rank

uint64_t saturating_product(uint64_t a, uint64_t b) {
  constexpr uint64_t most = std::numeric_limits<uint64_t>::max();
  return b != 0 && a > most / b ? most : a * b;
}

}  // namespace

Tensor read_idx(const std::string& path, int rank) {
  ByteReader file(path);
  const uint32_t expected = unsigned_bytes << 8 | static_cast<uint32_t>(rank);
  const uint32_t magic = file.read_u32("the magic number");
  check(magic == expected,
        "{}: offset 0 holds 0x{:08x}, an IDX file of bytes with {} axes starts with 0x{:08x}", path, magic,
        rank, expected);

  std::vector<int64_t> sizes;
  uint64_t bytes = 1;
  for (int axis = 0; axis < rank; ++axis) {
    const uint32_t size = file.read_u32("the sizes");
    check(size > 0, "{}: axis {} (offset {}) has size 0, at least 1 is expected", path, axis,
          file.offset() - 4);
    bytes = saturating_product(bytes, size);
    sizes.push_back(size);
  }
  file.expect_room_for(bytes, "data");
  Tensor data = Tensor::empty(Shape(sizes), DType::uint8);
  file.read(data.data<uint8_t>(), static_cast<size_t>(bytes), "data");
  file.expect_end();
  return data;
}

Dataset read_idx_pair(const std::string& images, const std::string& labels, int64_t classes) {
  Dataset data;
  const Tensor pixels = read_idx(images, 3);
  data.images = pixels.reshape(pixels.shape().with(1, 1));
  data.labels = read_idx(labels, 1).to(DType::int64);
  data.classes = classes;
  check(data.labels.size(0) == data.size(), "{}: {} images, but {} holds {} labels", images, data.size(),
        labels, data.labels.size(0));
  validate(data, labels);
  return data;
}

}  // namespace hashgrad
