// What a model takes to store, to the byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/model.h"

namespace hashgrad {

/// One parameter, or one buffer (batch norm's running statistics), which counts bytes alone.
struct LayerSize {
  std::string name;                // "3.weight"
  size_t layer = 0;                // its number in the network
  int64_t virtual_parameters = 0;  // of a dense layer of this shape
  int64_t real_parameters = 0;     // free numbers: bucket values, weights that are not pruned, centroids
  int64_t bytes = 0;               // of its tensors in the model's file
  std::optional<int64_t> huffman_bytes{};  // of a shared parameter: if its codes were Huffman's
};

struct SizeReport {
  std::vector<LayerSize> layers;  // parameters in order, then buffers
  int64_t virtual_parameters = 0, real_parameters = 0;
  int64_t bytes = 0;        // of all tensors in the model's file: what it takes besides its header
  int64_t dense_bytes = 0;  // the same of the dense network of this shape; both count buffers
  std::optional<int64_t> huffman_bytes{};  // the same with the codes of shared parameters in Huffman's code
};

/// Error when a parameter does not hold what model.coding says of it. Huffman's sizes are computed, no file
/// is written so: the bits of a Huffman code over the parameter's codes, one byte per entry of the codebook
/// for the length of its code word, the codebook and the gaps as they are.
SizeReport size_report(const Model& model);

}  // namespace hashgrad
