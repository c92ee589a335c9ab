#include "datasets/dataset.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/parallel.h"
#include "datasets/pixels.h"

namespace hashgrad {
namespace {

constexpr int64_t grain = int64_t{1} << 16;

void check_range(const Dataset& data, int64_t begin, int64_t end) {
  check(0 <= begin && begin <= end && end <= data.size(), "{}: samples [{}, {}) asked for, there are {}",
        data.name, begin, end, data.size());
}

/// Position of the first element that is not accepted, or n. In pieces, so that big sets are quick to check.
template <class T, class Accept>
int64_t first_rejected(const T* v, int64_t n, const Accept& accept) {
  std::vector<int64_t> found(static_cast<size_t>((n + grain - 1) / grain), n);
  parallel_ranges(n, grain, [&](int64_t begin, int64_t end) {
    const T* hit = std::find_if_not(v + begin, v + end, accept);
    if (hit != v + end) found[static_cast<size_t>(begin / grain)] = hit - v;
  });
  return std::accumulate(found.begin(), found.end(), n, [](int64_t a, int64_t b) { return std::min(a, b); });
}

void validate_pixels(const Tensor& images, const std::string& source) {
  if (images.dtype() == DType::uint8) return;
  for_float_type(images.dtype(), "images", [&]<class T>() {
    const T* pixels = images.data<T>();
    const int64_t at = first_rejected(pixels, images.numel(), [](T x) { return T{0} <= x && x <= T{1}; });
    if (at == images.numel()) return;
    const int64_t width = images.size(3), height = images.size(2), channels = images.size(1);
    fail("{}: pixel {} of image {} (channel {}, row {}, column {}) is {}, a value in [0, 1] is expected",
         source, at, at / (channels * height * width), at / (height * width) % channels, at / width % height,
         at % width, pixels[at]);
  });
}

void validate_labels(const Dataset& data, const std::string& source) {
  check(data.labels.dtype() == DType::int64, "{}: labels are {}, int64 is expected", source,
        name_of(data.labels.dtype()));
  check(data.labels.shape() == Shape{data.size()}, "{}: labels have shape {}, expected {} for images {}",
        source, data.labels.shape(), Shape{data.size()}, data.images.shape());
  check(data.labels.is_contiguous(), "{}: labels are a strided view, contiguous memory is expected", source);
  const int64_t* y = data.labels.data<int64_t>();
  const int64_t at =
      first_rejected(y, data.size(), [&](int64_t label) { return 0 <= label && label < data.classes; });
  if (at < data.size()) fail("{}: label {} is {}, expected 0 to {}", source, at, y[at], data.classes - 1);
}

}  // namespace

Tensor Dataset::images_float(int64_t begin, int64_t end, DType dtype) const {
  check_range(*this, begin, end);
  const Tensor part = images.slice(0, begin, end).contiguous();
  Tensor out = Tensor::empty(part.shape(), dtype);
  for_float_type(dtype, "images", [&]<class T>() {
    parallel_ranges(part.numel(), grain,
                    [&](int64_t b, int64_t e) { copy_pixels(part, b, e, out.data<T>() + b); });
  });
  return out;
}

Tensor Dataset::labels_of(int64_t begin, int64_t end) const {
  check(labelled(), "{}: has no labels", name);
  check_range(*this, begin, end);
  return labels.slice(0, begin, end);
}

Dataset Dataset::first(int64_t n) const {
  check_range(*this, 0, n);
  Dataset part = *this;
  part.images = images.slice(0, 0, n);
  if (labelled()) part.labels = labels.slice(0, 0, n);
  return part;
}

Dataset Dataset::select(const std::vector<int64_t>& indices) const {
  for (int64_t i : indices)
    check(0 <= i && i < size(), "{}: index {} asked for, there are {} samples", name, i, size());
  const int64_t n = static_cast<int64_t>(indices.size());
  Dataset part = *this;
  part.images = Tensor::empty(image_shape().with(0, n), images.dtype());
  const Tensor from_labels = labelled() ? labels.contiguous() : Tensor();
  if (labelled()) part.labels = Tensor::empty({n}, DType::int64);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t from = indices[static_cast<size_t>(i)];
    part.images.slice(0, i, i + 1).copy_from(images.slice(0, from, from + 1));
    if (labelled()) part.labels.data<int64_t>()[i] = from_labels.data<int64_t>()[from];
  }
  return part;
}

void validate(const Dataset& data, const std::string& source) {
  const Tensor& images = data.images;
  check(images.rank() == 4 && images.numel() > 0,
        "{}: images have shape {}, [N,C,H,W] without empty axes is expected", source, images.shape());
  check(images.dtype() != DType::int64, "{}: images are int64 or BOOL, float32, float64 or uint8 is expected",
        source);
  check(images.is_contiguous(), "{}: images are a strided view, contiguous memory is expected", source);
  validate_pixels(images, source);
  if (data.labelled()) validate_labels(data, source);
}

}  // namespace hashgrad
