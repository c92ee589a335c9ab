// A set of labelled images in memory, and how its pixels become the floats that a network sees.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace hashgrad {

/// Images with their labels. Sources of 8-bit pixels stay 8-bit in memory and become floats batch by batch.
/// Copying a Dataset shares the tensors.
struct Dataset {
  std::string name;                      ///< as on the command line: "mnist", "imagefolder:DIR", ...
  Tensor images;                         ///< [N,C,H,W]; uint8 (255 means 1.0), float32 or float64 in [0,1]
  Tensor labels;                         ///< [N] int64 in [0, classes); undefined when unlabelled
  int64_t classes = 0;                   ///< number of classes; 0 when unlabelled
  std::vector<std::string> class_names;  ///< one per class, or empty when the source has none

  int64_t size() const { return images.defined() ? images.size(0) : 0; }
  bool labelled() const { return labels.defined(); }
  /// [C,H,W] of one image.
  Shape image_shape() const { return images.shape().without(0); }

  /// Images [begin, end) as float32 or float64, [end-begin,C,H,W]. An 8-bit pixel u becomes float(u) / 255 in
  /// float32; float64 widens that value, so that both precisions see the same picture.
  Tensor images_float(int64_t begin, int64_t end, DType dtype = DType::float32) const;
  /// Labels [begin, end), a view. An Error when unlabelled.
  Tensor labels_of(int64_t begin, int64_t end) const;

  /// The first n samples (a view); n beyond the size is an Error.
  Dataset first(int64_t n) const;
  /// The samples with these indices, in this order (copied); an index out of range is an Error naming it.
  Dataset select(const std::vector<int64_t>& indices) const;
};

/// Throws unless shapes and element types agree, every pixel is a number in [0,1] and every label is in
/// [0, classes). The message starts with `source` and names the first offending index.
void validate(const Dataset& data, const std::string& source);

}  // namespace hashgrad
