// The one-line description of a network, such as
//     1x28x28 conv64k5p2 relu maxpool2 flatten fc512@1/8 relu fc10
// and what follows from it: the shape behind every layer, and the number of parameters. A network that
// branches is one line too: its tokens are run from left to right, and some of them name a value and come
// back to it:
//     3x32x32 conv16k3p1 =a relu conv16k3p1 +a relu gap flatten fc10
// docs/models.md has the grammar.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/hash.h"
#include "core/shape.h"

namespace hashgrad {

/// Of a window or a padding; one number stands for both.
struct Extent {
  int64_t height, width;

  constexpr Extent(int64_t side = 0)
      : height(side), width(side) {}  // NOLINT: a square is written as its side
  constexpr Extent(int64_t height_, int64_t width_) : height(height_), width(width_) {}
  bool square() const { return height == width; }
  bool operator==(const Extent&) const = default;
};

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
    norm,
    standardise,
    scale,
    label,    // =a: the value here is named a
    add,      // +a: the value named a is added
    go_back,  // <a: the value named a takes the place of this one
    concat    // cat(a,b): the channels of a, then those of b, take the place of this one
  };

  Kind kind = Kind::relu;
  int64_t out = 0;                            ///< conv, fc: output channels or units
  Extent kernel = 0;                          ///< conv, pools (square): the window
  int64_t stride = 1;                         ///< conv, pools
  Extent padding = 0;                         ///< conv, pools (square): zeros (max: nothing) on each side
  bool bias = true;                           ///< conv, fc
  double rate = 0;                            ///< conv, fc: compression rate in (0, 1]; 0 means not hashed
  double eps = 1e-5, momentum = 0.1;          ///< bn
  double probability = 0;                     ///< dropout: share of values set to zero, in (0, 1)
  double factor = 1;                          ///< scale
  std::vector<double> means{}, deviations{};  ///< norm: one for all channels, or one per channel
  std::vector<std::string> labels{};          ///< label, add, go_back: one; concat: at least two
  std::string name{};                         ///< conv, fc, bn: of its parameters; empty: the layer's number

  bool has_weight() const { return kind == Kind::conv || kind == Kind::fc; }
  bool has_parameters() const { return has_weight() || kind == Kind::bn; }
  bool hashed() const { return has_weight() && rate > 0; }
  bool branches() const { return kind >= Kind::label; }
  bool operator==(const LayerSpec&) const = default;
};

/// A network: the shape [C,H,W] of one image, and the layers in the order in which they run.
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
/// For messages: the canonical text, cut off behind 200 characters.
std::string short_text(const Spec& spec);

/// Shapes of one sample, [C,H,W] or [features], in front of the first layer and behind every layer:
/// layers.size() + 1 of them. Also checks what concerns the whole network (norm first, softmax last, labels,
/// names, class scores at the end, total size).
std::vector<Shape> layer_shapes(const Spec& spec);

/// The layers between which a named value must be kept.
struct LabelSpan {
  size_t defined, last_use;
};
/// Of every label. An Error that names the token unless each is defined once, before its uses, of which there
/// is one at least, and no value is dropped without a name.
std::map<std::string, LabelSpan> label_spans(const Spec& spec);

/// The full name of a parameter of layer i: "3.weight", or "layer1.0.conv1.weight" where the layer has a
/// name.
std::string parameter_name(const Spec& spec, size_t i, const std::string& part);

/// The layer whose sums are the class scores, or a multiple of them: the last one with weights, if nothing
/// but flatten, scale and softmax stands behind it.
std::optional<size_t> output_layer(const Spec& spec);

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
