#include "nn/spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "cpu/hash_gemm.h"

namespace hashgrad {
namespace {

using Kind = LayerSpec::Kind;

constexpr int64_t most_size = int64_t{1} << 20;        // channels, units, pixels of a side, kernel, stride
constexpr int64_t most_values = int64_t{1} << 28;      // of one sample behind any layer
constexpr int64_t most_virtual = int64_t{1} << 40;     // weights of one layer, stored or not
constexpr int64_t most_parameters = int64_t{1} << 28;  // stored, of the whole network
constexpr size_t most_layers = 1000;

constexpr const char* accepted_tokens =
    "conv64k5p2[s2][nb][@1/8], fc512[nb][@1/8], bn, relu, maxpool2[s2][p1], avgpool2[s2][p1], gap, flatten, "
    "dropout0.5, softmax, norm(mean;deviation)";

/// Reads one token from the left.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  bool take(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  /// A whole number in [least, most_size].
  int64_t size(const char* what, int64_t least) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    check(error != std::errc::invalid_argument, "{}: a number is expected, not '{}'", what, rest_);
    check(error == std::errc{} && value >= least && value <= most_size, "{} must be {} to {}", what, least,
          most_size);
    advance_to(end);
    return value;
  }

  double real(const char* what) {
    double value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    check(error == std::errc{} && std::isfinite(value), "{}: a number is expected, not '{}'", what, rest_);
    advance_to(end);
    return value;
  }

  void end() const { check(rest_.empty(), "'{}' is left over; accepted: {}", rest_, accepted_tokens); }
  bool at_end() const { return rest_.empty(); }

 private:
  void advance_to(const char* end) { rest_.remove_prefix(static_cast<size_t>(end - rest_.data())); }
  std::string_view rest_;
};

double parse_rate(Scanner& in) {
  double rate = in.real("compression rate");
  if (in.take("/")) rate /= in.real("compression rate");
  check(rate > 0 && rate <= 1, "the compression rate is {}, it must be above 0 and at most 1", rate);
  return rate;
}

/// The options behind a layer's first numbers, in any order, each at most once.
void parse_options(Scanner& in, LayerSpec& layer) {
  const bool window = layer.kind != Kind::fc, weight = layer.has_weight();
  bool stride = false, padding = false, bias = false, rate = false;
  const auto once = [](bool& seen, const char* what) {
    check(!seen, "{} is given twice", what);
    return seen = true;
  };
  for (;;) {
    if (window && in.take("s") && once(stride, "the stride")) {
      layer.stride = in.size("stride", 1);
    } else if (window && in.take("p") && once(padding, "the padding")) {
      layer.padding = in.size("padding", 0);
    } else if (layer.kind == Kind::conv && in.take("valid") && once(padding, "the padding")) {
      layer.padding = 0;
    } else if (weight && in.take("nb") && once(bias, "'nb' (no bias)")) {
      layer.bias = false;
    } else if (weight && in.take("@") && once(rate, "the compression rate")) {
      layer.rate = parse_rate(in);
    } else {
      return;
    }
  }
}

LayerSpec parse_pool(Scanner& in, Kind kind) {
  LayerSpec layer{.kind = kind, .kernel = in.size("pooling window", 1)};
  layer.stride = layer.kernel;
  parse_options(in, layer);
  return layer;
}

std::vector<double> parse_list(Scanner& in, const char* what) {
  std::vector<double> values;
  do values.push_back(in.real(what));
  while (in.take(","));
  return values;
}

LayerSpec parse_norm(Scanner& in) {
  LayerSpec layer{.kind = Kind::norm, .means = parse_list(in, "mean")};
  check(in.take(";"), "norm(means;deviations) needs a ';' between the two lists");
  layer.deviations = parse_list(in, "deviation");
  check(in.take(")"), "norm(means;deviations) needs its ')'");
  check(layer.means.size() == layer.deviations.size(), "{} means and {} deviations, as many are expected",
        layer.means.size(), layer.deviations.size());
  for (double d : layer.deviations) check(d > 0, "deviation {} must be above 0", d);
  return layer;
}

LayerSpec parse_layer(std::string_view token) {
  Scanner in(token);
  LayerSpec layer;
  if (in.take("conv")) {
    layer = {.kind = Kind::conv, .out = in.size("output channels", 1)};
    check(in.take("k"), "a convolution needs its kernel size, as in conv{}k3", layer.out);
    layer.kernel = in.size("kernel", 1);
    parse_options(in, layer);
  } else if (in.take("fc")) {
    layer = {.kind = Kind::fc, .out = in.size("output units", 1)};
    parse_options(in, layer);
  } else if (in.take("maxpool")) {
    layer = parse_pool(in, Kind::max_pool);
  } else if (in.take("avgpool")) {
    layer = parse_pool(in, Kind::avg_pool);
  } else if (in.take("dropout")) {
    layer = {.kind = Kind::dropout, .probability = in.real("dropout")};
    check(layer.probability > 0 && layer.probability < 1, "dropout {} must be above 0 and below 1",
          layer.probability);
  } else if (in.take("norm(")) {
    layer = parse_norm(in);
  } else if (in.take("bn")) {
    layer.kind = Kind::bn;
  } else if (in.take("relu")) {
    layer.kind = Kind::relu;
  } else if (in.take("gap")) {
    layer.kind = Kind::global_avg_pool;
  } else if (in.take("flatten")) {
    layer.kind = Kind::flatten;
  } else if (in.take("softmax")) {
    layer.kind = Kind::softmax;
  } else {
    fail("is not a layer; accepted: {}", accepted_tokens);
  }
  in.end();
  return layer;
}

Shape parse_input(std::string_view token) {
  try {
    Scanner in(token);
    const int64_t channels = in.size("channels", 1);
    check(in.take("x"), "'x' is missing");
    const int64_t height = in.size("height", 1);
    check(in.take("x"), "'x' is missing");
    const int64_t width = in.size("width", 1);
    check(in.at_end(), "characters are left over");
    check(channels * height <= most_values / width, "more than {} values", most_values);
    return {channels, height, width};
  } catch (const Error& error) {
    fail("{}; a spec begins with the input's channels x height x width, as in 1x28x28", error.what());
  }
}

std::vector<std::string_view> split(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  std::vector<std::string_view> tokens;
  for (size_t begin = text.find_first_not_of(space); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(space, begin), text.size());
    tokens.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(space, end);
  }
  return tokens;
}

/// A token as it can stand in a one-line message.
std::string shown(std::string_view token) {
  std::string out(token.substr(0, 40));
  for (char& c : out)
    if (c < ' ' || c > '~') c = '?';
  if (token.size() > 40) out += "...";
  return out;
}

/// Runs `f`; an Error in it is told again with the token (counted from 1) that it is about.
template <class F>
auto locate(size_t token, std::string_view text, F&& f) {
  try {
    return f();
  } catch (const Error& error) {
    fail("spec: token {} '{}': {}", token, shown(text), error.what());
  }
}

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

/// Number of windows along one side.
int64_t window_count(const LayerSpec& layer, int64_t size) {
  const int64_t padded = size + 2 * layer.padding;
  check(layer.kernel <= padded, "a window of {0}x{0} does not fit the image side of {1} with padding {2}",
        layer.kernel, size, layer.padding);
  return (padded - layer.kernel) / layer.stride + 1;
}

void check_image(const Shape& input) {
  check(input.rank() == 3, "takes images [C,H,W], the layer before gives {}", input);
}

std::string rate_text(double rate) {
  const double inverse = std::round(1 / rate);
  return inverse > 1 && 1 / inverse == rate ? fmt::format("1/{}", inverse) : fmt::format("{}", rate);
}

std::string window_text(const LayerSpec& layer, int64_t usual_stride) {
  std::string text;
  if (layer.padding != 0) text += fmt::format("p{}", layer.padding);
  if (layer.stride != usual_stride) text += fmt::format("s{}", layer.stride);
  return text;
}

std::string weight_text(const LayerSpec& layer) {
  const std::string rate = layer.hashed() ? fmt::format("@{}", rate_text(layer.rate)) : "";
  return fmt::format("{}{}", layer.bias ? "" : "nb", rate);
}

}  // namespace

Spec parse_spec(const std::string& text) {
  const std::vector<std::string_view> tokens = split(text);
  check(!tokens.empty(),
        "spec: is empty; expected something like '1x28x28 conv32k5p2 relu maxpool2 flatten fc10'");
  check(tokens.size() <= most_layers + 1, "spec: {} layers, at most {} are supported", tokens.size() - 1,
        most_layers);
  Spec spec{locate(1, tokens[0], [&] { return parse_input(tokens[0]); }), {}};
  for (size_t i = 1; i < tokens.size(); ++i)
    spec.layers.push_back(locate(i + 1, tokens[i], [&] { return parse_layer(tokens[i]); }));
  layer_shapes(spec);
  return spec;
}

std::string to_string(const LayerSpec& layer) {
  switch (layer.kind) {
    case Kind::conv:
      return fmt::format("conv{}k{}{}{}", layer.out, layer.kernel, window_text(layer, 1), weight_text(layer));
    case Kind::fc:
      return fmt::format("fc{}{}", layer.out, weight_text(layer));
    case Kind::bn:
      return "bn";
    case Kind::relu:
      return "relu";
    case Kind::max_pool:
      return fmt::format("maxpool{}{}", layer.kernel, window_text(layer, layer.kernel));
    case Kind::avg_pool:
      return fmt::format("avgpool{}{}", layer.kernel, window_text(layer, layer.kernel));
    case Kind::global_avg_pool:
      return "gap";
    case Kind::flatten:
      return "flatten";
    case Kind::dropout:
      return fmt::format("dropout{}", layer.probability);
    case Kind::softmax:
      return "softmax";
    case Kind::norm:
      break;
  }
  return fmt::format("norm({};{})", fmt::join(layer.means, ","), fmt::join(layer.deviations, ","));
}

std::string to_string(const Spec& spec) {
  std::string text = fmt::format("{}x{}x{}", spec.input[0], spec.input[1], spec.input[2]);
  for (const LayerSpec& layer : spec.layers) text.append(" ").append(to_string(layer));
  return text;
}

Shape output_shape(const LayerSpec& layer, const Shape& input) {
  switch (layer.kind) {
    case Kind::conv:
      check_image(input);
      return {layer.out, window_count(layer, input[1]), window_count(layer, input[2])};
    case Kind::max_pool:
    case Kind::avg_pool:
      check_image(input);
      check(2 * layer.padding <= layer.kernel, "padding {} is more than half of the window of {}",
            layer.padding, layer.kernel);
      return {input[0], window_count(layer, input[1]), window_count(layer, input[2])};
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
    case Kind::bn:
    case Kind::relu:
    case Kind::dropout:
      break;
  }
  return input;
}

std::vector<Shape> layer_shapes(const Spec& spec) {
  check(!spec.layers.empty(), "spec: '{}' has no layers; accepted: {}", to_string(spec), accepted_tokens);
  std::vector<Shape> shapes{spec.input};
  int64_t parameters = 0;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const LayerSpec& layer = spec.layers[i];
    shapes.push_back(locate(i + 2, to_string(layer), [&] {
      check(layer.kind != Kind::norm || i == 0, "normalises the input, so it must be the first layer");
      check(layer.kind != Kind::softmax || i + 1 == spec.layers.size(), "must be the last layer");
      const Shape shape = output_shape(layer, shapes.back());
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
  const int64_t window = layer.kind == Kind::conv ? multiply(layer.kernel, layer.kernel) : 1;
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
