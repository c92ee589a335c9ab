// What attacks share that only ask a model for answers: many questions in few passes.
#pragma once

#include <algorithm>
#include <vector>

#include "attacks/attack.h"
#include "core/parallel.h"

namespace hashgrad {

/// Calls body(i) for i in [0, n), in parallel if that many images of `pixels` pixels are worth it.
template <class F>
void for_images(int64_t n, int64_t pixels, const F& body) {
  parallel_ranges(n, std::max<int64_t>(1, 8192 / std::max<int64_t>(pixels, 1)),
                  [&](int64_t begin, int64_t end) {
                    for (int64_t i = begin; i < end; ++i) body(i);
                  });
}

/// Asks for the logits of `count` images that exist only while they are asked about: write(p, pixels) fills
/// in image p (in parallel); read(first, images, logits) is given the answers piece by piece, in order, of
/// images first, first + 1, ... Both tensors are on the CPU. How the pieces are cut depends on the oracle's
/// batch.
template <class T, class Write, class Read>
void ask(const Oracle& oracle, int64_t count, const Shape& image, const Write& write, const Read& read) {
  for (int64_t first = 0; first < count; first += oracle.batch()) {
    const int64_t n = std::min(oracle.batch(), count - first);
    Tensor images = Tensor::empty(image.with(0, n), dtype_of<T>);
    T* pixels = images.data<T>();
    for_images(n, image.numel(), [&](int64_t p) { write(first + p, pixels + p * image.numel()); });
    read(first, images, oracle.logits(images).to(Device{}));
  }
}

}  // namespace hashgrad
