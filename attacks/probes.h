// What attacks share that only ask a model for answers: many questions in few passes.
#pragma once

#include <algorithm>
#include <vector>

#include "attacks/attack.h"
#include "core/math_mode.h"
#include "core/parallel.h"
#include "nn/pixel_queries.h"

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
    read(first, images, oracle.exact_logits(images).to(Device{}));
  }
}

/// Asks for the logits of images that are those of `images` [N,C,H,W], on the CPU, but for one number each,
/// in the order of the images; read(first, logits) is given the answers of queries first, first + 1, ..., on
/// the CPU. Of an ordinary model there only windows of the maps are computed, with the same bits; the maps of
/// no more images than the oracle's batch exist at a time.
template <class T, class Read>
void ask_about_numbers(const Oracle& oracle, const Tensor& images,
                       const std::vector<PixelQueries::Query>& queries, const Read& read) {
  const MathScope exact(Math::fp32);  // as Oracle::exact_logits
  const Model& model = oracle.model();
  if (model.device() != Device{} || !model.transforms().empty() || randomised(model)) {
    const int64_t numbers = images.numel() / std::max<int64_t>(images.size(0), 1);
    const auto write = [&](int64_t p, T* image) {
      const PixelQueries::Query& q = queries[static_cast<size_t>(p)];
      std::copy_n(images.data<T>() + q.image * numbers, numbers, image);
      image[q.number] = static_cast<T>(q.value);
    };
    return ask<T>(oracle, std::ssize(queries), images.shape().without(0), write,
                  [&](int64_t first, const Tensor&, const Tensor& logits) { read(first, logits); });
  }
  auto query = queries.begin();
  for (int64_t begin = 0; begin < images.size(0); begin += oracle.batch()) {
    const int64_t end = std::min(begin + oracle.batch(), images.size(0));
    const PixelQueries about(model, images.slice(0, begin, end));
    while (query != queries.end() && query->image < end) {
      const int64_t first = query - queries.begin();
      std::vector<PixelQueries::Query> piece;
      for (; std::ssize(piece) < oracle.batch() && query != queries.end() && query->image < end; ++query)
        piece.push_back({query->image - begin, query->number, query->value});
      read(first, about.logits(piece));
    }
  }
}

}  // namespace hashgrad
