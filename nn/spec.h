// The one-line description of a sequential network, such as
//     1x28x28 conv64k5p2 relu maxpool2 flatten fc512@1/8 relu fc10
// and what follows from it: the shape behind every layer, and the number of parameters. docs/models.md has
// the grammar.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/hash.h"
#include "core/shape.h"

namespace hashgrad {

/// One token of a spec after the first. A plain value: transformations of networks edit these.
struct LayerSpec {
  enum class Kind {
    conv,
    fc,
    bn,
    relu,
    max_pool,
    avg_pool,
    global_avg_pool,
    flatten,
    dropout,
    softmax,
    norm
  };

  Kind kind = Kind::relu;
  int64_t out = 0;                            ///< conv, fc: output channels or units
  int64_t kernel = 0;                         ///< conv, pools: side of the square window
  int64_t stride = 1;                         ///< conv, pools
  int64_t padding = 0;                        ///< conv, pools: zeros (pools: nothing) on each side
  bool bias = true;                           ///< conv, fc
  double rate = 0;                            ///< conv, fc: compression rate in (0, 1]; 0 means not hashed
  double probability = 0;                     ///< dropout: share of values set to zero, in (0, 1)
  std::vector<double> means{}, deviations{};  ///< norm: one for all channels, or one per channel

  bool has_weight() const { return kind == Kind::conv || kind == Kind::fc; }
  bool hashed() const { return has_weight() && rate > 0; }
  bool operator==(const LayerSpec&) const = default;
};

/// A sequential network: the shape [C,H,W] of one image, and the layers in order.
struct Spec {
  Shape input;
  std::vector<LayerSpec> layers;

  bool operator==(const Spec&) const = default;
};

/// Reads a spec. Every fault (syntax, sizes out of range, a layer that does not fit the shape in front of it)
/// is an Error that names the token, its number, and what is accepted.
Spec parse_spec(const std::string& text);

/// The canonical text: parse_spec(to_string(s)) == s.
std::string to_string(const Spec& spec);
std::string to_string(const LayerSpec& layer);

/// Shape of one sample behind `layer`, given the shape in front of it: [C,H,W] or [features]. An Error that
/// names the layer when they do not fit.
Shape output_shape(const LayerSpec& layer, const Shape& input);
/// Shapes in front of the first layer and behind every layer: layers.size() + 1 of them. Also checks what
/// concerns the whole network (norm first, softmax last, class scores at the end, total size).
std::vector<Shape> layer_shapes(const Spec& spec);

/// How the hashed layers of a model place their virtual weights (docs/hashing.md).
struct HashOptions {
  HashMode mode = HashMode::full;
  uint64_t seed = 0;  ///< of the whole model; every layer derives its own
  bool bias = false;  ///< hash the biases too, at the layer's rate

  bool operator==(const HashOptions&) const = default;
};

/// Weights of the dense layer that `layer` is or stands for (bias not counted): in x out (x kernel x kernel).
int64_t virtual_weights(const LayerSpec& layer, const Shape& input);
/// Stored parameters: weights or bucket values, bias, scale and shift.
int64_t parameter_count(const LayerSpec& layer, const Shape& input, const HashOptions& hash = {});
int64_t parameter_count(const Spec& spec, const HashOptions& hash = {});

}  // namespace hashgrad
