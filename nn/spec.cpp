#include "nn/spec.h"

#include <cmath>
#include <fmt/ranges.h>

#include "cpu/hashed_matrix.h"
#include "nn/spec_errors.h"

namespace hashgrad {
namespace {

using Kind = LayerSpec::Kind;

constexpr int64_t most_virtual = int64_t{1} << 40;     // weights of one layer, stored or not
constexpr int64_t most_parameters = int64_t{1} << 28;  // stored, of the whole network

/// a * b, refused above most_virtual.
int64_t multiply(int64_t a, int64_t b) {
  int64_t product = 0;
  check(!__builtin_mul_overflow(a, b, &product) && product <= most_virtual,
        "more than {} weights in one layer", most_virtual);
  return product;
}

void check_size(const Shape& shape) {
  check(shape.numel() <= most_values, "{} values behind the layer, at most {} are supported", shape.numel(),
        most_values);
}

/// Number of windows along one side, in the direction of `side`.
int64_t window_count(const LayerSpec& layer, int64_t Extent::*side, int64_t size) {
  const int64_t padded = size + 2 * layer.padding.*side;
  check(layer.kernel.*side <= padded, "a window of {}x{} does not fit the image side of {} with padding {}",
        layer.kernel.height, layer.kernel.width, size, layer.padding.*side);
  return (padded - layer.kernel.*side) / layer.stride + 1;
}

void check_image(const Shape& input) {
  check(input.rank() == 3, "takes images [C,H,W], the layer before gives {}", input);
}

/// Shape behind a convolution or a pooling with this many output channels. What it pads may be made, and a
/// hashed window has a key for each of its values, so neither is larger than the values between layers.
Shape behind_windows(const LayerSpec& layer, int64_t channels, const Shape& input) {
  check_image(input);
  const Shape padded{input[0], input[1] + 2 * layer.padding.height, input[2] + 2 * layer.padding.width};
  check(padded.numel() <= most_values, "pads its input to {}, at most {} values are supported", padded,
        most_values);
  return {channels, window_count(layer, &Extent::height, input[1]),
          window_count(layer, &Extent::width, input[2])};
}

std::string rate_text(double rate) {
  const double inverse = std::round(1 / rate);
  return inverse > 1 && 1 / inverse == rate ? fmt::format("1/{}", inverse) : fmt::format("{}", rate);
}

std::string extent_text(const Extent& extent) {
  return extent.square() ? fmt::format("{}", extent.height)
                         : fmt::format("{}x{}", extent.height, extent.width);
}

/// Kernel, padding and stride, the last two only where they are not the usual ones.
std::string window_text(const LayerSpec& layer, int64_t usual_stride) {
  std::string text = extent_text(layer.kernel);
  if (layer.padding != 0) text += fmt::format("p{}", extent_text(layer.padding));
  if (layer.stride != usual_stride) text += fmt::format("s{}", layer.stride);
  return text;
}

std::string weight_text(const LayerSpec& layer) {
  const std::string rate = layer.hashed() ? fmt::format("@{}", rate_text(layer.rate)) : "";
  return fmt::format("{}{}", layer.bias ? "" : "nb", rate);
}

std::string bn_text(const LayerSpec& layer) {
  const LayerSpec usual{.kind = Kind::bn};
  std::vector<std::string> options;
  if (layer.eps != usual.eps) options.push_back(fmt::format("eps={}", layer.eps));
  if (layer.momentum != usual.momentum) options.push_back(fmt::format("momentum={}", layer.momentum));
  return options.empty() ? "bn" : fmt::format("bn({})", fmt::join(options, ","));
}

/// The token without the name of its parameters.
std::string layer_text(const LayerSpec& layer) {
  switch (layer.kind) {
    case Kind::conv:
      return fmt::format("conv{}k{}{}", layer.out, window_text(layer, 1), weight_text(layer));
    case Kind::fc:
      return fmt::format("fc{}{}", layer.out, weight_text(layer));
    case Kind::bn:
      return bn_text(layer);
    case Kind::relu:
      return "relu";
    case Kind::max_pool:
      return "maxpool" + window_text(layer, layer.kernel.height);
    case Kind::avg_pool:
      return "avgpool" + window_text(layer, layer.kernel.height);
    case Kind::global_avg_pool:
      return "gap";
    case Kind::flatten:
      return "flatten";
    case Kind::dropout:
      return fmt::format("dropout{}", layer.probability);
    case Kind::softmax:
      return "softmax";
    case Kind::standardise:
      return "standardise";
    case Kind::scale:
      return fmt::format("scale{}", layer.factor);
    case Kind::label:
      return "=" + layer.labels[0];
    case Kind::add:
      return "+" + layer.labels[0];
    case Kind::go_back:
      return "<" + layer.labels[0];
    case Kind::concat:
      return fmt::format("cat({})", fmt::join(layer.labels, ","));
    case Kind::norm:
      break;
  }
  return fmt::format("norm({};{})", fmt::join(layer.means, ","), fmt::join(layer.deviations, ","));
}

/// Shape behind a layer that takes the current value alone, of this shape.
Shape layer_shape(const LayerSpec& layer, const Shape& input) {
  switch (layer.kind) {
    case Kind::conv:
      return behind_windows(layer, layer.out, input);
    case Kind::max_pool:
    case Kind::avg_pool:
      check(2 * layer.padding.height <= layer.kernel.height,
            "padding {} is more than half of the window of {}", layer.padding.height, layer.kernel.height);
      return behind_windows(layer, input[0], input);
    case Kind::global_avg_pool:
      check_image(input);
      return {input[0], 1, 1};
    case Kind::fc:
      check(input.rank() == 1, "takes a vector, the layer before gives {}; put 'flatten' between", input);
      return {layer.out};
    case Kind::flatten:
      return {input.numel()};
    case Kind::softmax:
      check(input.rank() == 1, "takes a vector, the layer before gives {}", input);
      return input;
    case Kind::norm:
      check_image(input);
      check(layer.means.size() == 1 || static_cast<int64_t>(layer.means.size()) == input[0],
            "{} means for {} channels, one or one per channel is expected", layer.means.size(), input[0]);
      return input;
    default:
      return input;
  }
}

/// Shape behind a branch token, given that of the current value and those of the values that it names.
Shape branch_shape(const LayerSpec& layer, const Shape& current, const std::vector<Shape>& named) {
  if (layer.kind == Kind::label) return current;
  if (layer.kind == Kind::go_back) return named[0];
  if (layer.kind == Kind::add) {
    check(named[0] == current, "adds {} to {}, equal shapes are expected", named[0], current);
    return current;
  }
  Shape joined = named[0];
  for (size_t i = 1; i < named.size(); ++i) {
    check(named[i].without(0) == joined.without(0),
          "joins {} and {}, which differ in more than their channels", joined, named[i]);
    joined.set(0, joined[0] + named[i][0]);
  }
  return joined;
}

/// The name of layer i, which has parameters, or its number.
std::string layer_name(const Spec& spec, size_t i) {
  const std::string& name = spec.layers[i].name;
  return name.empty() ? std::to_string(i) : name;
}

/// That no two layers' parameters share a name, or could be taken for a training's own tensors.
void check_names(const Spec& spec) {
  std::map<std::string, size_t> seen;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    if (!spec.layers[i].has_parameters()) continue;
    const std::string name = layer_name(spec, i);
    const auto [at, is_new] = seen.emplace(name, i);
    check(is_new, "spec: layers {} and {} are both named '{}'", at->second, i, name);
    for (const char* taken : {"train.", "optimizer."})
      check(!(name + ".").starts_with(taken),
            "spec: layer {} is named '{}'; '{}' is what a checkpoint's own "
            "tensors begin with",
            i, name, taken);
  }
}

}  // namespace

std::string to_string(const LayerSpec& layer) {
  return layer.name.empty() ? layer_text(layer) : fmt::format("{}:{}", layer_text(layer), layer.name);
}

std::string to_string(const Spec& spec) {
  std::string text = fmt::format("{}x{}x{}", spec.input[0], spec.input[1], spec.input[2]);
  for (const LayerSpec& layer : spec.layers) text.append(" ").append(to_string(layer));
  return text;
}

std::string short_text(const Spec& spec) {
  constexpr size_t longest = 200;
  const std::string text = to_string(spec);
  return text.size() <= longest ? text : fmt::format("{:.{}}...", text, longest);
}

std::map<std::string, LabelSpan> label_spans(const Spec& spec) {
  std::map<std::string, LabelSpan> spans;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    locate(i + 2, to_string(layer), [&] {
      for (const std::string& label : layer.labels) {
        const auto at = spans.find(label);
        if (layer.kind == Kind::label) {
          check(at == spans.end(), "'{}' is the name of another value already", label);
          spans[label] = {i, i};
        } else {
          check(at != spans.end(), "no value before it has the name '{}'", label);
          at->second.last_use = i;
        }
      }
      const bool drops = layer.kind == Kind::go_back || layer.kind == Kind::concat;
      check(!drops || spec.layers[i - 1].kind == Kind::label,
            "the value before it would be lost; name it first, as in '=a {}'", to_string(layer));
    });
  }
  for (const auto& [label, span] : spans)
    locate(span.defined + 2, "=" + label,
           [&, &at = span] { check(at.last_use > at.defined, "names a value that is never used"); });
  return spans;
}

std::string parameter_name(const Spec& spec, size_t i, const std::string& part) {
  return layer_name(spec, i) + "." + part;
}

std::optional<size_t> output_layer(const Spec& spec) {
  for (size_t i = spec.layers.size(); i-- > 0;) {
    const Kind kind = spec.layers[i].kind;
    if (spec.layers[i].has_weight()) return i;
    if (kind != Kind::flatten && kind != Kind::scale && kind != Kind::softmax) return std::nullopt;
  }
  return std::nullopt;
}

std::vector<Shape> layer_shapes(const Spec& spec) {
  check(!spec.layers.empty(), "spec: '{}' has no layers; accepted: {}", to_string(spec), accepted_tokens);
  check_names(spec);
  const std::map<std::string, LabelSpan> spans = label_spans(spec);
  std::vector<Shape> shapes{spec.input};
  int64_t parameters = 0;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    shapes.push_back(locate(i + 2, to_string(layer), [&] {
      const bool of_input = layer.kind == Kind::norm || layer.kind == Kind::standardise;
      check(!of_input || i == 0, "normalises the input, so it must be the first layer");
      check(layer.kind != Kind::softmax || i + 1 == spec.layers.size(), "must be the last layer");
      std::vector<Shape> named;
      for (const std::string& label : layer.labels) named.push_back(shapes[spans.at(label).defined]);
      const Shape shape =
          layer.branches() ? branch_shape(layer, shapes.back(), named) : layer_shape(layer, shapes.back());
      check_size(shape);
      parameters += parameter_count(layer, shapes.back());
      check(parameters <= most_parameters, "brings the network to {} parameters, at most {} are supported",
            parameters, most_parameters);
      return shape;
    }));
  }
  check(shapes.back().rank() == 1,
        "spec: ends in {}, class scores [K] are expected; add 'flatten' and 'fc10'", shapes.back());
  return shapes;
}

int64_t virtual_weights(const LayerSpec& layer, const Shape& input) {
  if (!layer.has_weight()) return 0;
  const int64_t window = layer.kind == Kind::conv ? multiply(layer.kernel.height, layer.kernel.width) : 1;
  return multiply(multiply(input[0], layer.out), window);
}

int64_t parameter_count(const LayerSpec& layer, const Shape& input, const HashOptions& hash) {
  if (layer.kind == Kind::bn) return 2 * input[0];
  if (!layer.has_weight()) return 0;
  const int64_t dense = virtual_weights(layer, input), dense_bias = layer.bias ? layer.out : 0;
  if (!layer.hashed()) return dense + dense_bias;
  const int64_t bias = layer.bias && hash.bias ? cpu::bucket_count(layer.out, layer.rate) : dense_bias;
  return cpu::bucket_count(dense, layer.rate, hash.mode) + bias;
}

int64_t parameter_count(const Spec& spec, const HashOptions& hash) {
  const std::vector<Shape> shapes = layer_shapes(spec);
  int64_t count = 0;
  for (size_t i = 0; i < spec.layers.size(); ++i) count += parameter_count(spec.layers[i], shapes[i], hash);
  return count;
}

}  // namespace hashgrad
