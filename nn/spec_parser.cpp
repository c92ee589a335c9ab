#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>

#include "nn/spec.h"
#include "nn/spec_errors.h"

namespace hashgrad {
namespace {

using Kind = LayerSpec::Kind;

constexpr int64_t most_size = int64_t{1} << 20;  // channels, units, pixels of a side, kernel, stride
constexpr size_t most_layers = 1000;
constexpr size_t most_joined = 64;  // values of one cat
constexpr size_t longest_name = 100;

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

  /// A number that float32 does not turn into 0 or infinity.
  double real(const char* what) {
    double value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    check(error == std::errc{} && std::isfinite(value), "{}: a number is expected, not '{}'", what, rest_);
    using Limits = std::numeric_limits<float>;
    const double size = std::abs(value);
    check(value == 0 || (size >= Limits::min() && size <= Limits::max()),
          "{}: {} is out of the range of float32, {:.3g} to {:.3g}", what, value, Limits::min(),
          Limits::max());
    advance_to(end);
    return value;
  }

  /// Letters, digits, '_', '-' and '.'.
  std::string name(const char* what) {
    const auto in_names = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
             c == '-' || c == '.';
    };
    const char* end = std::find_if_not(rest_.data(), rest_.data() + rest_.size(), in_names);
    const std::string taken(rest_.data(), end);
    check(!taken.empty() && taken.size() <= longest_name,
          "{}: a name of 1 to {} letters, digits, '_', '-' and '.' is expected", what, longest_name);
    advance_to(end);
    return taken;
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

/// One number, or two as in 1x7.
Extent parse_extent(Scanner& in, const char* what, int64_t least) {
  const int64_t height = in.size(what, least);
  return {height, in.take("x") ? in.size(what, least) : height};
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
      layer.padding = weight ? parse_extent(in, "padding", 0) : in.size("padding", 0);
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

LayerSpec parse_conv(Scanner& in) {
  LayerSpec layer{.kind = Kind::conv, .out = in.size("output channels", 1)};
  check(in.take("k"), "a convolution needs its kernel size, as in conv{}k3", layer.out);
  layer.kernel = parse_extent(in, "kernel", 1);
  parse_options(in, layer);
  return layer;
}

template <Kind kind>
LayerSpec parse_pool(Scanner& in) {
  LayerSpec layer{.kind = kind, .kernel = in.size("pooling window", 1)};
  layer.stride = layer.kernel.height;
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

LayerSpec parse_bn(Scanner& in) {
  LayerSpec layer{.kind = Kind::bn};
  if (!in.take("(")) return layer;
  const bool eps = in.take("eps=");
  if (eps) layer.eps = in.real("eps");
  if (!eps || in.take(",")) {
    check(in.take("momentum="), "bn(eps=1e-5,momentum=0.1) is expected, or one of the two");
    layer.momentum = in.real("momentum");
  }
  check(in.take(")"), "bn(eps=1e-5,momentum=0.1) needs its ')'");
  check(layer.eps > 0, "eps {} must be above 0", layer.eps);
  check(layer.momentum > 0 && layer.momentum <= 1, "momentum {} must be above 0 and at most 1",
        layer.momentum);
  return layer;
}

LayerSpec parse_dropout(Scanner& in) {
  LayerSpec layer{.kind = Kind::dropout, .probability = in.real("dropout")};
  check(layer.probability > 0 && layer.probability < 1, "dropout {} must be above 0 and below 1",
        layer.probability);
  return layer;
}

LayerSpec parse_scale(Scanner& in) {
  LayerSpec layer{.kind = Kind::scale, .factor = in.real("scale")};
  check(layer.factor > 0, "scale {} must be above 0", layer.factor);
  return layer;
}

LayerSpec parse_concat(Scanner& in) {
  LayerSpec layer{.kind = Kind::concat};
  do layer.labels.push_back(in.name("cat"));
  while (in.take(","));
  check(in.take(")"), "cat(a,b) needs its ')'");
  check(layer.labels.size() >= 2 && layer.labels.size() <= most_joined,
        "joins {} values, 2 to {} are accepted", layer.labels.size(), most_joined);
  return layer;
}

LayerSpec parse_fc(Scanner& in) {
  LayerSpec layer{.kind = Kind::fc, .out = in.size("output units", 1)};
  parse_options(in, layer);
  return layer;
}

template <Kind kind>
LayerSpec parse_word(Scanner&) {
  return {.kind = kind};
}

template <Kind kind>
LayerSpec parse_label(Scanner& in) {
  return {.kind = kind, .labels = {in.name("label")}};
}

/// What a token begins with, and how the rest is read.
struct Token {
  std::string_view begin;
  LayerSpec (*parse)(Scanner& in);
};
constexpr Token known_tokens[] = {{"conv", parse_conv},
                                  {"fc", parse_fc},
                                  {"maxpool", parse_pool<Kind::max_pool>},
                                  {"avgpool", parse_pool<Kind::avg_pool>},
                                  {"dropout", parse_dropout},
                                  {"norm(", parse_norm},
                                  {"bn", parse_bn},
                                  {"relu", parse_word<Kind::relu>},
                                  {"gap", parse_word<Kind::global_avg_pool>},
                                  {"flatten", parse_word<Kind::flatten>},
                                  {"softmax", parse_word<Kind::softmax>},
                                  {"standardise", parse_word<Kind::standardise>},
                                  {"scale", parse_scale},
                                  {"=", parse_label<Kind::label>},
                                  {"+", parse_label<Kind::add>},
                                  {"<", parse_label<Kind::go_back>},
                                  {"cat(", parse_concat}};

LayerSpec parse_layer(std::string_view text) {
  Scanner in(text);
  for (const Token& token : known_tokens) {
    if (!in.take(token.begin)) continue;
    LayerSpec layer = token.parse(in);
    if (layer.has_parameters() && in.take(":")) layer.name = in.name("layer name");
    in.end();
    return layer;
  }
  fail("is not a layer; accepted: {}", accepted_tokens);
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

}  // namespace hashgrad
