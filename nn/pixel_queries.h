// A network's answers to images that differ from another one in a single number.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/model.h"

namespace hashgrad {

/// Asks about images of which each is one of a few with one number changed, as coordinate-wise attacks do.
/// A changed pixel reaches a window of every map that convolutions make; the rest is what it was. So up to
/// the first layer that is no plain convolution of stride 1, pooling of 2x2 or function of each number alone,
/// windows are computed instead of maps, with the same bits.
class PixelQueries {
 public:
  struct Query {
    int64_t image;   // which of the images
    int64_t number;  // channel, row, column of it, numbered on
    double value;    // what stands there instead
  };

  /// images [N,C,H,W], on the CPU as the model, which must outlive this; its weights must not change. Keeps
  /// all maps of the images that windows are cut from. An Error for models with input transforms, and for
  /// those whose pass is an Error.
  PixelQueries(const Model& model, const Tensor& images);

  /// Logits [Q,K], those of Model::logits for these images. An Error for a query outside of the images.
  Tensor logits(const std::vector<Query>& queries) const;

 private:
  /// Of a convolution; undefined for other layers.
  struct Weights {
    Tensor weight, bias;
  };

  const Model& model_;
  std::vector<Weights> weights_;  // of each layer that works on windows
  std::vector<Tensor> maps_;      // in front of each of these layers, and behind the last
};

}  // namespace hashgrad
