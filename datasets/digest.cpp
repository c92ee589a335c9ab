#include "datasets/digest.h"

#include "core/xxhash.h"

namespace hashgrad {

uint32_t digest_of(const Tensor& tensor, uint32_t seed) {
  const Tensor whole = tensor.contiguous();
  return for_any_type(whole.dtype(), [&]<class T>() {
    const size_t bytes = static_cast<size_t>(whole.numel()) * sizeof(T);
    return xxhash32({reinterpret_cast<const char*>(whole.data<T>()), bytes}, seed);
  });
}

std::string digest_of(const Dataset& data) {
  const uint32_t images = digest_of(data.images, 0);
  return fmt::format("{:08x}", data.labelled() ? digest_of(data.labels, images) : images);
}

}  // namespace hashgrad
